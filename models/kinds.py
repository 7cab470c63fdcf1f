"""What `from latent_faces import ...` gives. A new kind of model is one line here."""

from .attribute_gan import AttributeDiscriminator as AttributeDiscriminator, AttributeGenerator as AttributeGenerator
from .autoencoder import Autoencoder as Autoencoder
from .base import FaceModel as FaceModel
from .gan import Discriminator as Discriminator, Generator as Generator
from .latents import interpolate as interpolate
from .perceptual import PerceptualAutoencoder as PerceptualAutoencoder

load = FaceModel.from_pretrained
