"""Latent Faces: five small networks whose latents make faces.

from models import Generator
faces = Generator.from_pretrained("weights/gan").generate(16, seed=0)
"""

from .autoencoder import Autoencoder
from .gan import Discriminator, Generator
from .latents import interpolate

__all__ = ["Autoencoder", "Discriminator", "Generator", "interpolate"]
