"""Latent Faces: small networks whose latents make faces.

from models import Generator
faces = Generator.from_pretrained("weights/gan").generate(16, seed=0)
"""

from .attribute_gan import AttributeDiscriminator, AttributeGenerator
from .autoencoder import Autoencoder
from .base import FaceModel
from .gan import Discriminator, Generator
from .latents import interpolate
from .perceptual import PerceptualAutoencoder

__version__ = "0.1.0"

# Whichever class the model is of: load("weights/gan") is a Generator.
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
