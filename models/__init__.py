"""Latent Faces: small networks whose latents make faces.

from latent_faces import load
faces = load("gan").generate(16, seed=0)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .kinds import *

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a class, `load` or `interpolate` when it is first asked for.

    Until then there is no PyTorch: the page reads the files beside the models only.
    """
    if name[0].isupper() or name in ("interpolate", "load"):
        return getattr(importlib.import_module(".kinds", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
