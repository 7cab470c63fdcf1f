"""Latent Faces: small networks that make faces of latents.

from latent_faces import load
faces = load("gan").generate(16, seed=0)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .kinds import *

__version__ = "0.1.0"

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
    """Import a public name when it is first asked for.

    Until then there is no PyTorch: the page reads the files beside the models only.
    """
    if name in __all__:
        return getattr(importlib.import_module(".kinds", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
