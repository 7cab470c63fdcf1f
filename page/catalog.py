"""The models that the page shows, as their files tell: read once, without PyTorch, and the same for every visitor."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import safetensors
from huggingface_hub import ModelCard

from models.history import History, load_history
from models.index import read_index

from . import labels

ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "weights"

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "model.safetensors", "README.md"

# Of config.json, of the list of tensors in the weights, and of a card: ours take 1, 3 and 15 kB.
MOST_CONFIG_BYTES, MOST_HEADER_BYTES, MOST_CARD_BYTES = 100_000, 1_000_000, 200_000

# The browser reads weights in parts; it checks the blocks that hold them.
BLOCK_BYTES = 2**18

# The folder of each model by its name on the page, in the order of the page.
MODELS = {title: folder for folder, title in read_index(WEIGHTS).items()}


@dataclass(frozen=True)
class ShownModel:
    """A model and where it came from.

    Attributes:
        folder: of its files.
        origin: a phrase for people, such as "user/latent-faces-gan at 0123456"; plain text, in parts a stranger's.
        kind: of its class, as config.json names it.
        architecture: what it shares with the models whose networks a browser computes by the same graph.
        history: of its training. None where there is none, or none that could be had in time: another model's, such
            as the bundled one's, would show faces that this model never made.
        areas: how well its attributes work, of those of which that was measured.
        faces_from: the data set that it learned from, as its card tells.
    """

    folder: Path
    origin: str
    kind: str
    architecture: str
    latent_size: int
    discrete_size: int
    attributes: tuple[str, ...]
    prior_mean: float
    prior_variance: float
    components: int
    encodes: bool
    encoding_steps: int
    shapes: Mapping[str, list[int]]
    history: History | None
    areas: Mapping[str, float]
    faces_from: str | None

    @property
    def continuous_size(self) -> int:
        return self.latent_size - self.discrete_size

    @property
    def prior(self) -> str:
        """In words."""
        normal = f"N({self.prior_mean:g}, {self.prior_variance:g})"
        if self.discrete_size:
            named = f", {len(self.attributes)} of them attributes" if self.attributes else ""
            return f"{self.continuous_size} numbers from {normal}, {self.discrete_size} bits{named}"
        if self.components:
            return f"{self.latent_size} numbers from a mixture of {self.components} Gaussians, as a whole like {normal}"
        return f"{self.latent_size} numbers from {normal}"


def describe(folder: Path, origin: str) -> ShownModel:
    """
    Raises:
        ValueError: config.json or the weights are missing or damaged, in a sentence.
    """
    try:
        config = _read_config(folder / CONFIG_FILE)
        shapes = _read_shapes(folder / WEIGHTS_FILE)
        kind = str(config["model_type"])
        sizes = (
            config["latent_size"],
            *(config.get(name, 0) for name in ("discrete_size", "components", "encoding_steps")),
        )
        latent_size, discrete_size, components, encoding_steps = map(_whole, sizes)
        prior_mean, prior_variance = _number(config["prior_mean"]), _number(config["prior_variance"])
        attributes = _names(config.get("attributes") or [])
    except KeyError as error:
        raise ValueError(f"its {CONFIG_FILE} lacks {error.args[0]}") from error
    history, problem = _read_history(folder)
    return ShownModel(
        folder,
        origin + problem,
        kind,
        kind + "-affine" * (config.get("affine") is True),
        latent_size,
        discrete_size,
        attributes,
        prior_mean,
        prior_variance,
        components,
        any(name.startswith("encoder.") for name in shapes),
        encoding_steps,
        shapes,
        history,
        labels.read_areas(folder / labels.ATTRIBUTES_FILE),
        _data_set(folder / CARD_FILE),
    )


def _read_config(path: Path) -> dict[str, Any]:
    config = None
    if path.is_file() and path.stat().st_size <= MOST_CONFIG_BYTES:
        try:
            config = json.loads(path.read_bytes().decode("utf-8-sig"))
        except (ValueError, RecursionError):
            pass  # As below.
    if not isinstance(config, dict):
        raise ValueError(f"its {CONFIG_FILE} is missing or damaged")
    return config


def _read_shapes(path: Path) -> dict[str, list[int]]:
    """Of the tensors in a file of weights, by name."""
    try:
        with open(path, "rb") as file:
            if int.from_bytes(file.read(8), "little") > MOST_HEADER_BYTES:
                raise ValueError("its header is too long")
        with safetensors.safe_open(path, "numpy") as weights:
            return {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    except (OSError, ValueError, OverflowError, safetensors.SafetensorError) as error:
        raise ValueError(f"its {WEIGHTS_FILE} is missing or damaged") from error


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 100_000:
        raise ValueError(f"its {CONFIG_FILE} holds a size that is no whole number")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not -1e6 < value < 1e6:
        raise ValueError(f"its {CONFIG_FILE} holds a prior that is no number")
    return float(value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) and 0 < len(name) <= 100 for name in value):
        raise ValueError(f"its {CONFIG_FILE} holds attributes that are no names")
    return tuple(value)


def _read_history(folder: Path) -> tuple[History | None, str]:
    """A model is worth showing without its history, whatever keeps that away."""
    try:
        return load_history(folder), ""
    except ValueError as error:
        return None, f", without its history: {error}"


def _data_set(path: Path) -> str | None:
    try:
        if path.stat().st_size > MOST_CARD_BYTES:
            return None
        data = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict()
        names, tags = data.get("datasets") or [], data.get("tags") or []
        if names:
            return names[0] if re.fullmatch(r"[\w.-]{1,100}(/[\w.-]{1,100})?", names[0], re.ASCII) else None
        return "CelebA" if "celeba" in tags else None
    except Exception:  # A stranger's file, of any types.
        return None


def load_models(names: Iterable[str], folder: Path, hub: str | None = None) -> dict[str, ShownModel]:
    """Models by the names of their folders, those of a namespace on the Hub where it has any to offer in time.

    Args:
        folder: holds a model under each name.
        hub: "namespace" or "namespace@revision".
    """
    bundled = {name: describe(folder / name, "bundled") for name in names}
    if not hub:
        return bundled
    from .hub import from_hub  # Takes a moment to import, and is needed here alone.

    return from_hub(bundled, hub)


@cache
def load_all() -> dict[str, ShownModel]:
    """The models by their names on the page."""
    loaded = load_models(MODELS.values(), WEIGHTS, os.environ.get("LATENT_FACES_HUB"))
    return {name: loaded[folder] for name, folder in MODELS.items()}


@dataclass(frozen=True)
class Hashes:
    """SHA-256 in hexadecimal digits, of a whole file and of each of its blocks, the last of which is shorter."""

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


def with_attributes() -> list[str]:
    """The models that know attributes."""
    return [name for name in MODELS if labels.names_of(load(name))]


def attributes_of(name: str) -> list[str]:
    """The attributes that a model knows, those that work best first."""
    return labels.best_first(labels.names_of(load(name)), load(name).areas)


def directions() -> list[str]:
    """The attributes that a photograph can be given, by whichever of the autoencoders, those that work best first."""
    return list(dict.fromkeys(attribute for name in autoencoders() for attribute in attributes_of(name)))
