"""What the endpoints draw with the models' networks, and the tests of the page compare with what a browser draws.

Faces are (n, 64, 64, 3) uint8. Controls have checked the arguments; what only a model can tell raises ValueError with a
sentence for whoever sent it.
"""

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image

from models.alignment import Aligned, align
from models.images import IMAGE_SIZE, from_pil, open_image

from .catalog import MODELS, autoencoders
from .networks import decode, encode, load
from .pictures import SMOOTH_STEPS, pixels_of
from .recipe import MODEL_KEY, RECIPE_KEY, Recipe, sample
from .server import BUSY
from .values import number

# A large JPEG decodes itself at a fraction of its size; at this one, small faces in it are still found.
PHOTO_SIDE = 1024

# One photograph is looked at, which takes a second or more, while one waits. The last of a longer queue would wait for
# long, and several at once would keep whoever wants faces drawn waiting.
_here, _looked_at = threading.BoundedSemaphore(2), threading.Lock()

# Mean grey levels by which a downloaded face may differ from the one that its recipe draws; two faces differ by some 50.
MOST_DIFFERENCE = 6


def generate(model: str, seed: int, count: int, temperature: float, bits: str = "", attributes: str = "") -> np.ndarray:
    """The first `count` faces of a seed."""
    return decode(model, sample(load(model), seed, count, temperature, bits, attributes))


def flip_bit(
    model: str, seed: int, count: int, temperature: float, bits: str, bit: int, attributes: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """The faces of `generate` with one bit at -1, and at +1.

    Args:
        bit: its number, from 1.
    """
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
    """A walk between two faces.

    Attributes:
        faces: from the first to the last.
        smooth_faces: the same walk in steps small enough to be watched.
        notes: on the photographs at its ends, such as that no face was found.
    """

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
        if photograph:
            z, note = _latent_of(model, photograph)
            notes.append(f"{letter}: {note}")
        else:
            z = Recipe.parse(text).latent(network)
        latents.append(z)
    start, end = latents
    paths = [network.interpolate(start, end, n, way == "spherical", discrete) for n in (steps, SMOOTH_STEPS)]
    faces = decode(model, torch.cat(paths))
    return Walk(faces[:steps], faces[steps:], notes)


def _latent_of(model: str, path: str) -> tuple[torch.Tensor, str]:
    """The latent of a picture: its own, where it is a face that this model drew on this page; else encoded."""
    seen = see(path)
    if seen.drawn and seen.drawn[0] == model:
        return seen.drawn[1].latent(load(model)), "drawn by this model, so that its latent is known."
    if model not in seen.latents:
        raise ValueError(f"The {model} has no encoder, so it cannot start from a photograph: choose an autoencoder.")
    return seen.latents[model][0], seen.aligned.note


@dataclass(frozen=True)
class Seen:
    """A photograph as the networks see it.

    Attributes:
        aligned: 64 x 64, in CelebA's framing.
        latents: (1, latent_size) of each autoencoder, by its name.
        drawn: the model and the recipe, where it is a face that was drawn on this page.
    """

    aligned: Aligned
    latents: dict[str, torch.Tensor]
    drawn: tuple[str, Recipe] | None


def see(path: str) -> Seen:
    """Bring a photograph to CelebA's framing, and encode it with each autoencoder."""
    if not _here.acquire(blocking=False):
        raise ValueError(BUSY)
    try:
        with _looked_at:
            image = open_image(path, least_side=PHOTO_SIDE)
            aligned = align(image)
            x = from_pil(aligned.image)
            return Seen(aligned, {name: encode(name, x) for name in autoencoders()}, _drawn(image))
    finally:
        _here.release()


def _drawn(image: Image.Image) -> tuple[str, Recipe] | None:
    """The model and the recipe that a picture names, if it is the face that they draw, enlarged or not."""
    model = image.info.get(MODEL_KEY)
    if model in MODELS and image.width == image.height:
        with suppress(ValueError):
            recipe = Recipe.parse(image.info.get(RECIPE_KEY, ""))
            face = decode(model, recipe.latent(load(model))[None])[0]
            shown = pixels_of(image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX))
            # The text is whatever its sender wrote, and the models may be others than they were.
            if np.abs(face.astype(int) - shown).mean() <= MOST_DIFFERENCE:
                return model, recipe
    return None


def out_of_distribution(model: str, mean: float, seed: int, count: int) -> np.ndarray:
    """Faces from the prior moved to another mean, the noise held fixed. Of a GAN's latent the continuous half moves."""
    return decode(model, load(model).sample_latent(count, seed=seed, mean=mean))
