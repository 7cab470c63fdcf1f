"""What the endpoints draw: each function turns what a program chose into faces, by the models' networks.

Faces are (n, 64, 64, 3) uint8. Bad input raises ValueError with a sentence for whoever sent it.
"""

import math
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from models.alignment import Aligned, align
from models.images import IMAGE_SIZE, from_pil, open_image

from . import labels
from .catalog import MODELS, attributes_of, autoencoders
from .networks import decode, encode, load
from .pictures import diversity, pixels_of
from .recipe import MAX_FACES, MAX_SEED, MAX_TEMPERATURE, Recipe, sample
from .server import BUSY
from .story import EXPERIMENT, GONE, MAX_MEAN, MAX_STEPS, MODEL_KEY, RECIPE_KEY, SMOOTH_STEPS, Discrete, Way
from .values import number, whole

# A large JPEG decodes itself at a fraction of its size; at this one, small faces in it are still found.
PHOTO_SIDE = 1024

# One is looked at, which takes a second or more, while one waits: of sixteen in a queue the last would be answered after
# twenty seconds, and of several at once each keeps whoever wants faces drawn waiting.
_here, _looked_at = threading.BoundedSemaphore(2), threading.Lock()

# Mean grey levels by which a downloaded face may differ from the one that its recipe draws; two faces differ by some 50.
MOST_DIFFERENCE = 6


# Programs that ask for the same faces again need not wait.
@lru_cache(maxsize=16)
def generate(model: str, seed: int, count: int, temperature: float, bits: str = "", attributes: str = "") -> np.ndarray:
    """The first `count` faces of a seed; shared, so not to be written to."""
    faces = decode(model, _draw(model, seed, count, temperature, bits, attributes))
    faces.setflags(write=False)
    return faces


def bit_name(model: str, bit: int) -> str:
    """What a bit, from 1, is called: by its attribute if it has one."""
    names = load(model).attributes
    return labels.title(names[bit - 1]) if bit <= len(names) else f"bit {bit}"


def flip_bit(
    model: str,
    seed: int,
    count: int,
    temperature: float,
    bits: str,
    bit: int,
    attributes: str = "",
) -> tuple[np.ndarray, np.ndarray]:
    """The faces of `generate` with one bit at -1 and at +1.

    Args:
        bit: which, from 1.
    """
    network = load(model)
    if not network.discrete_size:
        raise ValueError(f"The {model} has no bits.")
    index = network.continuous_size + whole(bit, "The bit", 1, network.discrete_size) - 1
    z = _draw(model, seed, count, temperature, bits, attributes)
    is_on = z[:, index] > 0
    if (z[:, index].abs() == 1).all():  # Each face has its bit at one of the two values already.
        faces = generate(model, seed, count, temperature, bits, attributes)
    else:
        z[:, index] = torch.where(is_on, 1.0, -1.0)
        faces = decode(model, z)
    z[:, index] *= -1
    flipped = decode(model, z)
    on = is_on.numpy()[:, None, None, None]
    return np.where(on, flipped, faces), np.where(on, faces, flipped)


@dataclass(frozen=True)
class Walk:
    """A walk between two faces.

    Attributes:
        faces: from the first to the last.
        smooth_faces: the same walk in steps small enough to be watched.
        notes: what is to be said of the ends, such as that no face was found in a photograph.
    """

    faces: np.ndarray
    smooth_faces: np.ndarray
    notes: list[str]


def interpolate(
    model: str,
    ends: tuple[str, str],
    photographs: tuple[str | None, str | None],
    steps: int,
    way: Way,
    discrete: Discrete,
) -> Walk:
    """Walk between two latents.

    Args:
        ends: a recipe each, such as "7" or "7/3".
        photographs: paths of images, which take the place of a recipe.
    """
    network, notes = load(model), []
    latents = []
    for letter, text, photograph in zip("AB", ends, photographs):
        if photograph:
            z, note = _latent_of(model, photograph)
            notes.append(f"{letter}: {note}")
        else:
            recipe = Recipe.parse(text)
            z = recipe.latent(network)
        latents.append(z)
    steps = whole(steps, "The number of pictures", 2, MAX_STEPS)
    start, end = latents
    paths = [network.interpolate(start, end, n, way == "spherical", discrete) for n in (steps, SMOOTH_STEPS)]
    faces = decode(model, torch.cat(paths))
    return Walk(faces[:steps], faces[steps:], notes)


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
    if not Path(path).is_file():
        raise ValueError(GONE)
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
    model = image.info.get(MODEL_KEY)
    # The text is whatever its sender wrote, and the models may be others than they were: the picture decides, which the
    # page enlarges for downloads.
    if model in MODELS and image.width == image.height:
        with suppress(ValueError):
            recipe = Recipe.parse(image.info.get(RECIPE_KEY, ""))
            face = decode(model, recipe.latent(load(model))[None])[0]
            shown = pixels_of(image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX))
            if np.abs(face.astype(int) - shown).mean() <= MOST_DIFFERENCE:
                return model, recipe
    return None


@dataclass(frozen=True)
class Reconstruction:
    """What an autoencoder makes of a face.

    Attributes:
        face: (64, 64, 3).
        psnr: decibels.
    """

    face: np.ndarray
    psnr: float


def reconstruct(seen: Seen) -> dict[str, Reconstruction]:
    """Each autoencoder's version of a photograph, by its name."""
    results = {}
    for name, latent in seen.latents.items():
        face = decode(name, latent)[0]
        error = np.square(face.astype(np.float64) - pixels_of(seen.aligned.image)).mean()
        results[name] = Reconstruction(face, 10 * math.log10(255**2 / error) if error else math.inf)
    return results


def with_attributes(latents: Mapping[str, torch.Tensor], attributes: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Reconstructions with other attributes, (64, 64, 3) each, by those autoencoders that know any.

    Args:
        latents: by autoencoder.
        attributes: how far to go in the direction of each; those that an autoencoder does not know stay as they are.
    """
    faces = {}
    for name, latent in latents.items():
        if known := attributes_of(name):
            moves = {attribute: value for attribute, value in attributes.items() if attribute in known}
            faces[name] = decode(name, load(name).with_attributes(latent, moves))[0]
    return faces


@dataclass(frozen=True)
class Draws:
    """Faces drawn around a mean.

    Attributes:
        distance: of the mean from the prior's, in the prior's standard deviations.
        diversity: grey levels between two faces.
    """

    faces: np.ndarray
    distance: float
    diversity: float


def out_of_distribution(model: str, mean: float, seed: int, count: int) -> Draws:
    """Draw from the prior moved to another mean, the noise held fixed. Of the GAN's latents the continuous half
    moves."""
    network = load(model)
    mean = number(mean, "The mean", -MAX_MEAN, MAX_MEAN)
    seed, count = whole(seed, "The seed", 0, MAX_SEED), whole(count, "The number of faces", 1, MAX_FACES)
    faces = decode(model, network.sample_latent(count, seed=seed, mean=mean))
    distance = abs(mean - network.prior_mean) / network.prior_variance**0.5
    return Draws(faces, distance, diversity(faces))


def experiment(seed: int, count: int = 16) -> dict[str, np.ndarray]:
    """The plain and the shifted autoencoder, both given the same draws from the shifted one's prior."""
    seed = whole(seed, "The seed", 0, MAX_SEED)
    z = load("Shifted autoencoder").sample_latent(count, seed=seed)
    return {name: decode(name, z) for name in EXPERIMENT}


def _draw(model: str, seed: int, count: int, temperature: float, bits: str, attributes: str) -> torch.Tensor:
    temperature = number(temperature, "The temperature", 0, MAX_TEMPERATURE)
    seed, count = whole(seed, "The seed", 0, MAX_SEED), whole(count, "The number of faces", 1, MAX_FACES)
    return sample(load(model), seed, count, temperature, bits, attributes)


def _latent_of(model: str, path: str) -> tuple[torch.Tensor, str]:
    """The latent of a picture: its own, where it is a face that this model drew on this page; else encoded."""
    seen = see(path)
    if seen.drawn and seen.drawn[0] == model:
        return seen.drawn[1].latent(load(model)), "drawn by this model, so that its latent is known."
    if model not in seen.latents:
        raise ValueError(f"The {model} has no encoder, so it cannot start from a photograph: choose an autoencoder.")
    return seen.latents[model][0], seen.aligned.note
