"""Latent Faces: small networks whose latents make faces.

from models import Generator
faces = Generator.from_pretrained("weights/gan").generate(16, seed=0)
"""

from .autoencoder import Autoencoder
from .base import FaceModel
from .gan import Discriminator, Generator
from .latents import interpolate

__version__ = "0.1.0"

# Whichever class the model is of: load("weights/gan") is a Generator.
load = FaceModel.from_pretrained

__all__ = ["Autoencoder", "Discriminator", "FaceModel", "Generator", "interpolate", "load"]
