"""The models that the page shows. Their files are read once, without PyTorch."""

import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import ModelCard

from models.history import History, load_history
from models.index import read_index
from models.loading import CONFIG_FILE, WEIGHTS_FILE, read_config, read_header

from . import labels
from .values import number

ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "weights"

CARD_FILE = "README.md"

# The browser reads weights in parts, and checks the blocks that hold them.
BLOCK_BYTES = 2**18

# The name on the page of each model by its folder, in the order of the page; and the folder by the name.
TITLES = read_index(WEIGHTS)
MODELS = {title: folder for folder, title in TITLES.items()}


@dataclass(frozen=True)
class ShownModel:
    """What the files of a model tell.

    Attributes:
        folder: where its files are.
        origin: where they came from, such as "user/latent-faces-gan at 0123456". It may hold a stranger's words.
        kind: its class, as config.json names it.
        history: how it was trained; None if the model came without, or with a damaged one. The bundled model's history
            is not used instead: its faces are another model's.
        areas: how well its attributes work, for those that were measured.
        faces_from: the data set that it learned from, as its card tells.
    """

    folder: Path
    origin: str
    kind: str
    latent_size: int
    discrete_size: int
    attributes: tuple[str, ...]
    prior_mean: float
    prior_variance: float
    components: int
    encodes: bool
    encoding_steps: int
    history: History | None
    areas: Mapping[str, float]
    faces_from: str | None

    @property
    def prior(self) -> str:
        """In words."""
        normal = f"N({self.prior_mean:g}, {self.prior_variance:g})"
        if self.discrete_size:
            named = f", {len(self.attributes)} of them attributes" if self.attributes else ""
            return f"{self.latent_size - self.discrete_size} numbers from {normal}, {self.discrete_size} bits{named}"
        if self.components:
            return f"{self.latent_size} numbers from a mixture of {self.components} Gaussians, as a whole like {normal}"
        return f"{self.latent_size} numbers from {normal}"


def describe(folder: Path, origin: str) -> ShownModel:
    """What the files in a model's folder tell.

    Raises:
        ValueError: config.json or the weights are damaged, or there are no weights, in a sentence.
        OSError: there is no config.json.
    """
    config = read_config(folder / CONFIG_FILE, "the model")

    def value(name: str, least: float, most: float) -> float:
        return number(config.get(name), f"{name} in the model's {CONFIG_FILE}", least, most)

    def size(name: str, default: int | None = None, most: int = 10_000) -> int:
        return int(number(config.get(name, default), f"{name} in the model's {CONFIG_FILE}", 0, most, whole=True))

    try:
        tensors = read_header(folder / WEIGHTS_FILE)
    except (OSError, ValueError) as error:
        raise ValueError(f"the model's {WEIGHTS_FILE} is missing or damaged") from error
    history = None
    with suppress(ValueError):  # A model is worth showing without it.
        history = load_history(folder)
    kind = str(config.get("model_type"))
    return ShownModel(
        folder=folder,
        origin=origin,
        kind=kind,
        latent_size=size("latent_size"),
        discrete_size=size("discrete_size", 0, most=size("latent_size")),
        attributes=_attributes(config),
        prior_mean=value("prior_mean", -1e6, 1e6),
        prior_variance=value("prior_variance", 0, 1e6),
        components=size("components", 0),
        encodes=any(name.startswith("encoder.") for name in tensors),
        encoding_steps=size("encoding_steps", 0, most=100),
        history=history,
        areas=labels.read_areas(folder / labels.ATTRIBUTES_FILE),
        faces_from=_data_set(folder / CARD_FILE),
    )


def _attributes(config: dict[str, Any]) -> tuple[str, ...]:
    names = config.get("attributes") or []
    if not isinstance(names, list) or not all(isinstance(name, str) and 0 < len(name) <= 100 for name in names):
        raise ValueError(f"attributes in the model's {CONFIG_FILE} are no list of names of at most 100 characters each")
    return tuple(names)


def _data_set(path: Path) -> str | None:
    """The data set that a card names, where that is the name of a data set."""
    try:
        data = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict()
        for name in data.get("datasets") or []:
            return name if re.fullmatch(r"[\w.-]{1,100}(/[\w.-]{1,100})?", name, re.ASCII) else None
        return "CelebA" if "celeba" in (data.get("tags") or []) else None
    except Exception:  # A stranger's file, of any types.
        return None


def _bundled(folder: str) -> ShownModel:
    try:
        return describe(WEIGHTS / folder, "bundled")
    except (ValueError, OSError) as error:
        raise ValueError(f"weights/{folder}: {error}") from error


@cache
def load_all() -> dict[str, ShownModel]:
    """The models by their names on the page.

    LATENT_FACES_HUB is "namespace" or "namespace@revision" on the Hub. Its models take the place of those in the folder
    `weights` if they arrive in time.

    Raises:
        ValueError: a model in `weights` is damaged.
    """
    models = {folder: _bundled(folder) for folder in TITLES}
    if hub := os.environ.get("LATENT_FACES_HUB"):
        from .hub import from_hub  # Takes a moment to import, and is needed here alone.

        models = from_hub(models, hub)
    return {name: models[folder] for name, folder in MODELS.items()}


class Hashes(NamedTuple):
    """SHA-256 of a file and of each of its blocks, in hexadecimal digits. The last block is shorter."""

    whole: str
    blocks: list[str]


@cache
def hashes(path: Path) -> Hashes:
    whole, blocks = hashlib.sha256(), []
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            whole.update(block)
            blocks.append(hashlib.sha256(block).hexdigest())
    return Hashes(whole.hexdigest(), blocks)


def load(name: str) -> ShownModel:
    return load_all()[name]


def autoencoders() -> list[str]:
    """The models that can start from a photograph."""
    return [name for name in MODELS if load(name).encodes]


def attributes_of(name: str) -> list[str]:
    """The attributes that a model knows, those that work best first."""
    areas = load(name).areas
    return sorted(labels.names_of(load(name)), key=lambda attribute: -areas.get(attribute, -1))
