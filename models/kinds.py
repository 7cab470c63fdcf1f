"""Each kind of model, and what else `from latent_faces import ...` gives; `__all__` of the package names them.

`load` knows the kinds that are imported here.
"""

# ruff: noqa: PLC0414 (Type checkers export a name only if it is imported as itself.)

from .attribute_gan import AttributeDiscriminator as AttributeDiscriminator
from .attribute_gan import AttributeGenerator as AttributeGenerator
from .autoencoder import Autoencoder as Autoencoder
from .base import FaceModel as FaceModel
from .gan import Discriminator as Discriminator
from .gan import Generator as Generator
from .latents import interpolate as interpolate
from .perceptual import PerceptualAutoencoder as PerceptualAutoencoder

load = FaceModel.from_pretrained
