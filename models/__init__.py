"""Latent Faces: small networks whose latents make faces.

from latent_faces import load
faces = load("gan").generate(16, seed=0)
"""

import importlib
from typing import TYPE_CHECKING, Any

# Imported once they are asked for: what only reads files beside the models, such as the page, needs no PyTorch.
if TYPE_CHECKING:
    from .attribute_gan import AttributeDiscriminator, AttributeGenerator
    from .autoencoder import Autoencoder
    from .base import FaceModel
    from .gan import Discriminator, Generator
    from .latents import interpolate
    from .perceptual import PerceptualAutoencoder

    load = FaceModel.from_pretrained

__version__ = "0.1.0"

# The modules with the classes that a saved model may be of.
_KINDS = ("gan", "autoencoder", "attribute_gan", "perceptual")

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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # All kinds, so that `load` knows them.
    for module in [importlib.import_module(f".{module}", __name__) for module in ("base", "latents", *_KINDS)]:
        globals().update({key: value for key, value in vars(module).items() if key in __all__})
    globals()["load"] = globals()["FaceModel"].from_pretrained
    return globals()[name]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
