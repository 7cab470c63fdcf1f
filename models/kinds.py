"""What `from latent_faces import ...` gives.

`load` knows each kind of model that is imported here. A new kind is one import, and its name in the list.
"""

from .attribute_gan import AttributeDiscriminator, AttributeGenerator
from .autoencoder import Autoencoder
from .base import FaceModel
from .gan import Discriminator, Generator
from .latents import interpolate
from .perceptual import PerceptualAutoencoder

load = FaceModel.from_pretrained

__all__ = [
    "AttributeDiscriminator",
    "AttributeGenerator",
    "Autoencoder",
    "Discriminator",
    "FaceModel",
    "Generator",
    "PerceptualAutoencoder",
    "interpolate",
    "load",
]
