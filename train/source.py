"""What sources of pictures have in common. A source is one split of one revision of a data set, in a folder or on the Hub.

The faces of each source have a cache of their own.
"""

import functools
import hashlib
import importlib.util
import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from models import decoding
from models.hub import one_line
from models.images import IMAGE_SIZE, read_pixels

from .settings import DataSettings, TrainingError

# Changes with what caches hold and how, so that caches of other versions are left alone.
CACHE_VERSION = 5

# Names of splits, and the usual ones for them.
SPLITS = dict.fromkeys(("train", "training"), "train")
SPLITS |= dict.fromkeys(("valid", "val", "validation", "dev"), "valid") | dict.fromkeys(("test", "testing"), "test")


class UnknownSplit(TrainingError):
    """The data set has no split of that name."""


def canonical(split: str) -> str:
    """One name for all names of a split: "valid" for "validation"."""
    return SPLITS.get(split.lower(), split)


def choose(split: str, available: list[str], dataset: str) -> list[str]:
    """The splits that are meant, by their own names or by others of the same meaning: "train+valid" is both.

    Raises:
        UnknownSplit: one of them is not available.
    """
    if split == "all":
        return available
    chosen = []
    for name in split.split("+"):
        alike = [other for other in available if canonical(other) == canonical(name)]
        if name not in available and len(alike) != 1:
            raise UnknownSplit(f"{dataset} has no split {name!r}; it has {', '.join(available)}")
        chosen.append(name if name in available else alike[0])
    return list(dict.fromkeys(chosen))


@functools.cache
def _readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that it reads here."""
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in (*decoding.FORMATS, "PPM", "HEIF") if name in Image.OPEN)


@functools.cache
def extensions() -> frozenset[str]:
    """Extensions of all files that are taken for pictures, in lower case."""
    formats = _readable_formats()
    return frozenset(extension for extension, name in Image.registered_extensions().items() if name in formats)


class Picture(NamedTuple):
    """A picture that is not decoded yet.

    Attributes:
        name: its path below the folder, or its row.
        file: a path, the bytes, a function that returns them, or None for an empty row.
        labels: (k,) int8, -1 or 1 for each of the source's labels, 0 where it is not known.
    """

    name: str
    file: Path | bytes | Callable[[], bytes] | None
    labels: np.ndarray

    def pixels(self) -> torch.Tensor:
        """(1, 3, height, width) uint8, upright and opaque.

        Raises:
            ValueError: what is wrong with it, in a few words.
        """
        try:
            content = self.file() if callable(self.file) else self.file
        except Exception as error:  # Archives and networks have their own ways to fail.
            raise ValueError(getattr(error, "strerror", None) or one_line(error)) from error
        if not content:
            raise ValueError("It is empty.")
        return read_pixels(io.BytesIO(content) if isinstance(content, bytes) else content, _readable_formats())


class Source(ABC):
    """One split of one revision of a data set.

    Args:
        settings: which data set, and how its pictures are cropped.
        split: of it; "train+valid" is both, "all" is all.
        revision: the commit on the Hub, or the fingerprint of a folder's files.

    Attributes:
        size: how many pictures there are, damaged ones included; None where that is not known.
        label_names: of the labels that each picture has; known once the first picture has come.
        label_note: why there are no labels, or which columns are none; known then too.
        description: what a folder holds, in a few words; None for tables alone.
    """

    size: int | None = None
    label_names: tuple[str, ...] = ()
    label_note: str = ""
    description: str | None = None

    def __init__(self, settings: DataSettings, split: str, revision: str):
        self.dataset, self.folder, self.crop = settings.dataset, settings.dataset_folder, settings.crop
        self.split, self.revision = split, revision
        self._caches = settings.cache_folder

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the cached faces depend on."""
        return {
            "dataset": str(self.folder.resolve()) if self.folder else self.dataset,
            **{name: getattr(self, name) for name in ("revision", "split", "crop")},
            "image_size": IMAGE_SIZE,
            "version": CACHE_VERSION,
        }

    @property
    def cache_folder(self) -> Path:
        """The folder of the cache of its faces."""
        readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{Path(self.dataset).name[:60]}-{self.split[:20]}").strip("-")
        key = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]
        return self._caches / f"{readable}-{IMAGE_SIZE}px-{key}"

    @abstractmethod
    def pictures(self, start: int = 0) -> Iterator[Picture]:
        """All pictures but the first `start`, in an order that is always the same."""
