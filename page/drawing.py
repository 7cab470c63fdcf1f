"""Draws what the endpoints answer, with the models' networks. Tests compare it with what a browser draws.

Faces are (n, 64, 64, 3) uint8. Controls have checked the arguments; what only a model can tell raises ValueError with a
sentence for whoever sent it.
"""

import threading
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
import torch

from models.alignment import Aligned, align
from models.images import from_pil, open_image

from .catalog import autoencoders
from .networks import decode, encode, load
from .pictures import SMOOTH_STEPS
from .recipe import Recipe, sample
from .server import BUSY
from .values import number

# A large JPEG decodes itself at a fraction of its size; at this one, small faces in it are still found.
PHOTO_SIDE = 1024

# One photograph is processed, in a second or more, while one waits. In a longer queue the last would wait too long, and
# several at once would delay everybody who wants faces drawn.
_here, _looked_at = threading.BoundedSemaphore(2), threading.Lock()


def generate(model: str, seed: int, count: int, temperature: float, bits: str = "", attributes: str = "") -> np.ndarray:
    """The first `count` faces of a seed."""
    return decode(model, sample(load(model), seed, count, temperature, bits, attributes))


def flip_bit(
    model: str, seed: int, count: int, temperature: float, bits: str, bit: int, attributes: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """The faces of `generate` with one bit, counted from 1, at -1, and at +1."""
    network = load(model)
    if not network.discrete_size:
        raise ValueError(f"The {model} has no bits.")
    index = network.continuous_size + int(number(bit, "The bit", 1, network.discrete_size, whole=True)) - 1
    z = sample(network, seed, count, temperature, bits, attributes)
    z[:, index] = -1
    off = decode(model, z)
    z[:, index] = 1
    return off, decode(model, z)


class Walk(NamedTuple):
    """A walk between two faces, the same in steps small enough to be watched, and notes on the photographs at its ends."""

    faces: np.ndarray
    smooth_faces: np.ndarray
    notes: list[str]


def interpolate(
    model: str,
    ends: tuple[str, str],
    photographs: tuple[str | None, str | None],
    steps: int,
    way: Literal["straight", "spherical"],
    discrete: Literal["relaxed", "switched", "held"],
) -> Walk:
    """Walk between two latents.

    Args:
        ends: a recipe each, such as "7" or "7/3".
        photographs: paths of images, which take the place of a recipe.
    """
    network, latents, notes = load(model), [], []
    for letter, text, photograph in zip("AB", ends, photographs):
        if not photograph:
            latents.append(Recipe.parse(text).latent(network))
        elif model in autoencoders():
            aligned, z = see(photograph, [model])
            latents.append(z[model][0])
            notes.append(f"{letter}: {aligned.note}")
        else:
            raise ValueError(
                f"The {model} has no encoder, so it cannot start from a photograph: choose an autoencoder."
            )
    start, end = latents
    paths = [network.interpolate(start, end, n, way == "spherical", discrete) for n in (steps, SMOOTH_STEPS)]
    faces = decode(model, torch.cat(paths))
    return Walk(faces[:steps], faces[steps:], notes)


def see(path: str, models: Iterable[str]) -> tuple[Aligned, dict[str, torch.Tensor]]:
    """The face in a photograph in CelebA's framing, and its latents (1, latent_size) by each of some autoencoders."""
    if not _here.acquire(blocking=False):
        raise ValueError(BUSY)
    try:
        with _looked_at:
            aligned = align(open_image(path, least_side=PHOTO_SIDE))
            x = from_pil(aligned.image)
            return aligned, {name: encode(name, x) for name in models}
    finally:
        _here.release()
