"""What the page tells: each function turns what a visitor chose into faces and numbers.

Faces are (n, 64, 64, 3) uint8. Bad input raises ValueError with a sentence for whoever sent it.
"""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from models.alignment import Aligned, align
from models.history import History
from models.images import from_pil, open_image

from . import labels
from .pictures import diversity
from .recipe import MAX_FACES, MAX_SEED, MAX_TEMPERATURE, Recipe, sample
from .values import number, whole
from .zoo import attributes_of, autoencoders, decode, encode, load, load_all

EXPERIMENT = ("Plain autoencoder", "Shifted autoencoder")
MAX_STEPS, SMOOTH_STEPS = 21, 24
MAX_MEAN = 100.0
MAX_EPOCHS = 10_000

# How a path goes, and what bits do on the way.
Way = Literal["straight", "spherical"]
Discrete = Literal["relaxed", "switched", "held"]

# Uploads are removed in time, and when the page starts anew.
GONE = "This photograph is not here, or no longer: uploads are kept for an hour. Choose it again."

# A large JPEG decodes itself at a fraction of its size; at this one, small faces in it are still found.
PHOTO_SIDE = 1024

# How a recipe is found again in a face that was downloaded from the page.
RECIPE_KEY, MODEL_KEY = "latent-faces recipe", "latent-faces model"


def signature(model: str, recipe: Recipe) -> dict[str, str]:
    """What is written into the PNG of a generated face."""
    return {"Software": "Latent Faces", MODEL_KEY: model, RECIPE_KEY: str(recipe)}


# What several parts of a tab show of the same faces is decoded once.
@lru_cache(maxsize=16)
def generate(model: str, seed: int, count: int, temperature: float, bits: str = "", attributes: str = "") -> np.ndarray:
    """The first `count` faces of a seed; shared, so not to be written to."""
    faces = decode(model, _draw(model, seed, count, temperature, bits, attributes))
    faces.setflags(write=False)
    return faces


def bits_of(model: str, recipe: Recipe) -> str:
    """The bits of a face, "+" or "-" each; empty for a model without bits."""
    network = load(model)
    return "".join("+" if bit > 0 else "-" for bit in recipe.latent(network)[network.continuous_size :])


def in_code(model: str, seed: int, count: int, temperature: float, attributes: Mapping[str, float]) -> str:
    """How another program draws the faces of `generate`, in Python."""
    network = load(model)
    shown = {1: "True", -1: "False"}
    wishes = (
        f"{json.dumps(name, ensure_ascii=False)}: {shown[int(value)] if value in shown else f'{value:g}'}"
        for name, value in attributes.items()
    )
    others = f", variance={network.prior_variance * temperature**2:.6g}" if temperature != 1 else ""
    others += f", attributes={{{', '.join(wishes)}}}" if attributes else ""
    return f"model.generate({count}, seed={seed}{others})"


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
    most: int = MAX_FACES,
) -> tuple[np.ndarray, np.ndarray]:
    """The faces of `generate` with one bit at -1 and at +1.

    Args:
        bit: which, from 1.
        most: of the faces at most so many.
    """
    network = load(model)
    if not network.discrete_size:
        raise ValueError(f"The {model} has no bits.")
    index = network.continuous_size + whole(bit, "The bit", 1, network.discrete_size) - 1
    z = _draw(model, seed, count, temperature, bits, attributes)[:most]
    is_on = z[:, index] > 0
    if (z[:, index].abs() == 1).all():  # Each face has its bit at one of the two values already.
        faces = generate(model, seed, count, temperature, bits, attributes)[:most]
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
class Reconstruction:
    """What an autoencoder makes of a face.

    Attributes:
        faces: (2, 64, 64, 3): the reconstruction, and where it differs: the absolute difference, times `GAIN`.
        psnr: decibels.
        latent: (1, latent_size), of the face.
    """

    faces: np.ndarray
    psnr: float
    latent: torch.Tensor

    GAIN = 2


Reconstructions = tuple[Aligned, dict[str, Reconstruction]]

# A photograph is looked for a face once, not at every movement of a slider: so many of the last ones are remembered,
# each as the 64 x 64 pixels that the networks see and what they make of them.
_REMEMBERED, _MOST_REMEMBERED = dict[str, Reconstructions](), 32


def is_remembered(path: str) -> bool:
    """Whether `reconstruct` answers for this photograph without opening it."""
    return path in _REMEMBERED


def reconstruct(path: str) -> Reconstructions:
    """Bring a photograph to CelebA's framing; encode and decode it with each autoencoder, by its name."""
    if remembered := _REMEMBERED.get(path):
        return remembered
    aligned = align(_open(path))
    seen = pixels_of(aligned.image)
    x = from_pil(aligned.image)
    results = {}
    for name in autoencoders():
        latent = encode(name, x)
        face = decode(name, latent)[0]
        difference = np.abs(face.astype(np.int16) - seen)
        error = np.square(difference.astype(np.float64)).mean()
        shown = (Reconstruction.GAIN * difference).clip(0, 255).astype(np.uint8)
        psnr = 10 * math.log10(255**2 / error) if error else math.inf
        results[name] = Reconstruction(np.stack([face, shown]), psnr, latent)
    found = _REMEMBERED[path] = aligned, results
    for oldest in list(_REMEMBERED)[:-_MOST_REMEMBERED]:
        _REMEMBERED.pop(oldest, None)
    return found


def with_attributes(results: Mapping[str, Reconstruction], attributes: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The reconstructions with other attributes, (64, 64, 3) each, by those autoencoders that know any.

    Args:
        attributes: how far to go in the direction of each; those that an autoencoder does not know stay as they are.
    """
    faces = {}
    for name, result in results.items():
        if known := attributes_of(name):
            moves = {attribute: value for attribute, value in attributes.items() if attribute in known}
            faces[name] = decode(name, load(name).with_attributes(result.latent, moves))[0]
    return faces


@dataclass(frozen=True)
class Draws:
    """Faces drawn around a mean.

    Attributes:
        distance: of the mean from the prior's, in the prior's standard deviations.
        diversity: grey levels between two faces.
        share: the diversity over that of the same noise at the prior's mean.
    """

    faces: np.ndarray
    distance: float
    diversity: float
    share: float


def out_of_distribution(model: str, mean: float, seed: int, count: int) -> Draws:
    """Draw from the prior moved to another mean, the noise held fixed. Of the GAN's latents the continuous half
    moves."""
    network = load(model)
    mean = number(mean, "The mean", -MAX_MEAN, MAX_MEAN)
    seed, count = whole(seed, "The seed", 0, MAX_SEED), whole(count, "The number of faces", 1, MAX_FACES)
    faces = decode(model, network.sample_latent(count, seed=seed, mean=mean))
    spread, at_prior = diversity(faces), _diversity_at_prior(model, seed, count)
    distance = abs(mean - network.prior_mean) / network.prior_variance**0.5
    return Draws(faces, distance, spread, spread / at_prior if at_prior else 1.0)


@lru_cache(maxsize=4096)
def _diversity_at_prior(model: str, seed: int, count: int) -> float:
    return diversity(decode(model, load(model).sample_latent(count, seed=seed)))


def history(model: str) -> History:
    """What training left of a model's way."""
    found = load_all()[model].history
    if found is None:
        raise ValueError(
            f"The {model} that is shown here came without a history of its training, or with a damaged one."
        )
    return found


def training(model: str, epoch: int) -> np.ndarray:
    """The same 16 latents as they were after an epoch, from 1; past the last, as they were after it."""
    found = history(model)
    epoch = min(whole(epoch, "The epoch", 1, MAX_EPOCHS), int(found.epochs))
    return np.stack([pixels_of(face) for face in found.faces_after(epoch)])


def in_words(mean: float, draws: dict[str, Draws]) -> str:
    """One sentence on what is seen at a mean: which models' faces vary there, and which have collapsed.

    Args:
        draws: by model.
    """
    inside = [name for name, drawn in draws.items() if drawn.distance <= 2]
    alike = [name for name, drawn in draws.items() if name not in inside and drawn.share < 0.25]
    between = [name for name in draws if name not in inside and name not in alike]
    parts = [
        f"{_listed(inside)} {'is' if len(inside) == 1 else 'are'} within two standard deviations of the prior"
        * bool(inside),
        f"{_listed(between)} {'has' if len(between) == 1 else 'have'} left the prior, and the faces still differ"
        * bool(between),
        f"{_listed(alike)} {'has' if len(alike) == 1 else 'have'} collapsed: whatever the noise, nearly one picture"
        * bool(alike),
    ]
    return f"At mean {mean:g}, " + "; ".join(part for part in parts if part) + "."


def _listed(names: list[str]) -> str:
    named = [f"the {in_a_sentence(name)}" for name in names]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}" if named else ""


def in_a_sentence(model: str) -> str:
    """A model's name within a sentence: "plain autoencoder", but "GAN"."""
    return model if model[:2].isupper() else model[:1].lower() + model[1:]


def pixels_of(image: Image.Image) -> np.ndarray:
    """An RGB image as (height, width, 3) uint8."""
    return np.asarray(image.convert("RGB"))


def experiment(seed: int, count: int = 16) -> dict[str, np.ndarray]:
    """The plain and the shifted autoencoder, both given the same draws from the shifted one's prior."""
    seed = whole(seed, "The seed", 0, MAX_SEED)
    z = load("Shifted autoencoder").sample_latent(count, seed=seed)
    return {name: decode(name, z) for name in EXPERIMENT}


def _draw(model: str, seed: int, count: int, temperature: float, bits: str, attributes: str) -> torch.Tensor:
    temperature = number(temperature, "The temperature", 0, MAX_TEMPERATURE)
    seed, count = whole(seed, "The seed", 0, MAX_SEED), whole(count, "The number of faces", 1, MAX_FACES)
    return sample(load(model), seed, count, temperature, bits, attributes)


def _open(path: str) -> Image.Image:
    if not Path(path).is_file():
        raise ValueError(GONE)
    return open_image(path, least_side=PHOTO_SIDE)


def _latent_of(model: str, path: str) -> tuple[torch.Tensor, str]:
    """The latent of a picture: its own, where it is a face that this model drew on this page; else encoded."""
    image = _open(path)
    if image.info.get(MODEL_KEY) == model:
        # The text is whatever its sender wrote, and the models may be others than they were: the picture decides.
        with suppress(ValueError):
            z = Recipe.parse(image.info.get(RECIPE_KEY, "")).latent(load(model))
            if _is_the_same(decode(model, z[None])[0], image):
                return z, "drawn by this model, so that its latent is known."
    if not load(model).encodes:
        raise ValueError(f"The {model} has no encoder, so it cannot start from a photograph: choose an autoencoder.")
    aligned = align(image)
    return encode(model, from_pil(aligned.image))[0], aligned.note


def _is_the_same(face: np.ndarray, image: Image.Image) -> bool:
    if image.size != (64, 64):
        return False
    return np.abs(face.astype(int) - pixels_of(image)).max() <= 3
