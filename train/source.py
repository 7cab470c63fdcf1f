"""Where pictures come from: a folder of them, or the tables of a data set on the Hub or in a folder.

A source is one split of one revision, pinned, so that what is cached of it can be told from anything else.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import datasets
import fsspec
import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from models.images import IMAGE_SIZE

from . import distributed
from .errors import TrainingError
from .folder import Folder, Picture, canonical, files_below, fingerprint, scan
from .settings import DataSettings

# Seconds in which a Hub that is there has answered; left to its own retries, the client takes minutes to give up.
HUB_TIMEOUT = 10

# Rows of a table that are read at a time: row by row takes three times as long.
ROWS = 1024

TABLE_EXTENSIONS = (".parquet", ".arrow")


class UnknownSplit(TrainingError):
    """The data set has no split of that name."""


class Source(ABC):
    """One split of one revision of a data set.

    Args:
        settings: which data set, and how its pictures are cropped.
        split: of it; "train+valid" is both, "all" is all.
        revision: the commit on the Hub, or the fingerprint of a folder's files.

    Attributes:
        size: how many pictures there are, damaged ones among them; None as long as that is not known.
        description: what a folder holds, in a few words; None where nobody counted.
    """

    size: int | None = None
    description: str | None = None

    def __init__(self, settings: DataSettings, split: str, revision: str):
        self.dataset, self.split, self.revision = settings.dataset, split, revision
        self.column, self.config, self.crop = settings.image_column, settings.config, settings.crop

    @property
    def folder(self) -> Path | None:
        """Where a local data set lies."""
        folder = Path(self.dataset).expanduser()
        return folder if folder.is_dir() else None

    @property
    def identity(self) -> dict[str, Any]:
        """Differs whenever the cached bytes would."""
        return {
            "dataset": str(self.folder.resolve()) if self.folder else self.dataset,
            **{name: getattr(self, name) for name in ("revision", "split", "column", "config", "crop")},
            "image_size": IMAGE_SIZE,
        }

    @property
    def cache_name(self) -> str:
        readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{Path(self.dataset).name[:60]}-{self.split[:20]}").strip("-")
        key = json.dumps(self.identity, sort_keys=True)
        return f"{readable}-{IMAGE_SIZE}px-{hashlib.sha256(key.encode()).hexdigest()[:16]}"

    @abstractmethod
    def pictures(self, start: int = 0) -> Iterator[Picture]:
        """All of them from one on, in an order that is always the same. `size` is set by then if it is ever known."""

    def columns(self, names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """What a table says of each picture, in the same order: those of the columns that there are."""
        return iter(())


class FolderSource(Source):
    """Picture files."""

    def __init__(self, settings: DataSettings, split: str, folder: Folder):
        super().__init__(settings, split, folder.fingerprint)
        self.description = folder.describe()
        names = _choose(split, list(folder.splits), self.dataset)
        self._pictures = list(itertools.chain.from_iterable(folder.splits[name] for name in names))
        self.size = len(self._pictures)

    def pictures(self, start: int = 0) -> Iterator[Picture]:
        return iter(self._pictures[start:])


class TableSource(Source):
    """Tables with a column of images, which `datasets` reads."""

    def pictures(self, start: int = 0) -> Iterator[Picture]:
        column, rows = self._with_images()
        rows = rows.cast_column(column, datasets.Image(decode=False)).skip(start).with_format("arrow")
        number = start
        for table in rows.iter(ROWS):
            for image in table.column(column).to_pylist():
                yield _picture(number, image)
                number += 1

    def columns(self, names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        rows = self._load(None)
        names = tuple(name for name in names if name in (rows.column_names or ()))
        return iter(rows.select_columns(list(names)) if names else ())

    def _with_images(self) -> tuple[str, datasets.IterableDataset]:
        """The column of images and the rows, of which only that column is read where the format allows it."""
        rows = self._load([self.column])
        if rows.features is None or self.column in rows.features:
            return self.column, rows.select_columns([self.column])
        # There is no such column, and what was loaded has none at all.
        features = self._load(None).features or {}
        images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
        images = images or [name for name, feature in features.items() if _may_hold_images(feature)]
        if len(images) != 1:
            choices = f"those of images are {', '.join(images)}" if images else f"it has {', '.join(features)}"
            raise TrainingError(f"--image-column {self.column}: {self.dataset} has no such column; {choices}")
        if distributed.is_main():
            print(f"The images are taken from column {images[0]!r} of {self.dataset}, the only one that has any.")
        return images[0], self._load(images).select_columns(images)

    def _load(self, columns: list[str] | None) -> datasets.IterableDataset:
        if self.folder and _was_saved_to_disk(self.folder):
            saved = datasets.load_from_disk(str(self.folder))
            saved = saved if isinstance(saved, datasets.DatasetDict) else {str(saved.split or "train"): saved}
            splits = {name: table.to_iterable_dataset() for name, table in saved.items()}
            sizes: dict[str, int | None] = {name: len(table) for name, table in saved.items()}
        else:
            splits = self._stream(columns)
            infos = next(iter(splits.values())).info.splits or {}
            sizes = {name: infos[name].num_examples if name in infos else None for name in splits}
        names = _choose(self.split, list(splits), self.dataset)
        counts = [size for name in names if (size := sizes[name])]
        self.size = sum(counts) if len(counts) == len(names) else None
        chosen = [splits[name] for name in names]
        return chosen[0] if len(chosen) == 1 else datasets.concatenate_datasets(chosen)

    def _stream(self, columns: list[str] | None) -> datasets.IterableDatasetDict:
        where = str(self.folder or self.dataset)
        options: dict[str, Any] = {"name": self.config, "streaming": True}
        options |= {} if self.folder else {"revision": self.revision}
        try:
            try:
                return datasets.load_dataset(where, columns=columns, **options)
            except ValueError:  # A reader that does not choose columns, or a configuration that has to be chosen.
                return datasets.load_dataset(where, **options)
        except datasets.data_files.EmptyDatasetError as error:
            if self.folder and ("[" in str(self.folder.resolve()) or "::" in str(self.folder.resolve())):
                raise TrainingError(
                    f"--dataset {where}: tables cannot be read in a folder that has [ or :: in its path; rename it"
                ) from error
            raise
        except ValueError as error:
            message = str(error)
            if "Config name is missing" not in message and "BuilderConfig" not in message:
                raise
            choices = message.partition("[")[2].partition("]")[0].replace("'", "")
            problem = f"{self.config}: {where} has no such configuration" if self.config else f"is to name one: {where}"
            problem += "; it has " if self.config else " has several, "
            raise TrainingError(f"--config {problem}{choices}") from error


def find_source(settings: DataSettings, split: str) -> Source:
    """Pin a split of a data set to the revision that it has now.

    With the Hub out of reach, the last revision that was cached is used, so that a second run works offline.

    Raises:
        UnknownSplit: a folder of pictures that has no such split.
        TrainingError: no such folder or data set, or a Hub that does not answer and nothing cached.
    """
    dataset = settings.dataset
    try:
        folder = Path(dataset).expanduser()
        is_folder, exists = folder.is_dir(), folder.exists()
    except (OSError, RuntimeError, ValueError):  # Names that no file can have, folders that are closed, unknown users.
        is_folder = exists = False
    if dataset and is_folder:
        return _find_in_folder(settings, split, folder)
    if exists and dataset:
        raise TrainingError(f"--dataset {dataset} is a file: give the folder that it lies in")
    if not dataset or dataset.startswith((".", "/", "~")):
        raise TrainingError(f"--dataset {dataset or 'is empty'}: there is no such folder")
    try:
        commit = HfApi().dataset_info(dataset, revision=settings.revision, timeout=HUB_TIMEOUT).sha
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise TrainingError(f"--dataset {dataset}: neither a folder here nor a data set on the Hub") from error
    except RevisionNotFoundError as error:
        raise TrainingError(f"--revision {settings.revision}: {dataset} has none of that name") from error
    except (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled, OSError) as error:
        commit = _last_cached_revision(settings, split)
        if commit is None:
            reason = str(error).partition("\n")[0]
            raise TrainingError(
                f"--dataset {dataset}: the Hub cannot be reached ({reason}), and it is not cached"
            ) from error
        print(f"The Hub cannot be reached; using the cached revision {commit[:8]} of {dataset}.")
    return TableSource(settings, split, cast(str, commit))  # Of a single data set the Hub tells it.


def _find_in_folder(settings: DataSettings, split: str, folder: Path) -> Source:
    left_out: Counter[str] = Counter()
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise TrainingError(f"--dataset {settings.dataset} cannot be read: {error.strerror}") from error
    files = list(files_below(folder, left_out))
    tables = [path for _, path in files if path.suffix.lower() in TABLE_EXTENSIONS]
    if _was_saved_to_disk(folder) or any(map(_is_table_of_images, tables)):
        return TableSource(settings, split, fingerprint(files))
    found = scan(folder, files, left_out)
    if found.splits:
        return FolderSource(settings, split, found)
    if tables:  # Damaged ones, perhaps: the error names them.
        return TableSource(settings, split, fingerprint(files))
    raise TrainingError(
        f"--dataset {settings.dataset} holds no pictures (JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, in zip files too) "
        f"and no parquet or arrow files{found.describe_left_out()}"
    )


def _choose(split: str, available: list[str], dataset: str) -> list[str]:
    """The splits that are meant, by their own names or another of the same meaning."""
    if split == "all":
        return available
    chosen = []
    for name in split.split("+"):
        alike = [other for other in available if canonical(other) == canonical(name)]
        if name not in available and len(alike) != 1:
            raise UnknownSplit(f"{dataset} has no split {name!r}; it has {', '.join(available)}")
        chosen.append(name if name in available else alike[0])
    return chosen


def _was_saved_to_disk(folder: Path) -> bool:
    """By `Dataset.save_to_disk`."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file()
    )


def _is_table_of_images(path: Path) -> bool:
    """Whether a file of tables may hold images; whether it is damaged is not known here."""
    try:
        if path.suffix.lower() == ".parquet":
            schema = pq.read_schema(path)
        else:
            with pa.memory_map(str(path)) as file:
                schema = _arrow_schema(file)
        features = datasets.Features.from_arrow_schema(schema)
    except (OSError, ValueError, pa.ArrowException):
        return False
    return any(map(_may_hold_images, features.values()))


def _arrow_schema(file: pa.MemoryMappedFile) -> pa.Schema:
    with contextlib.suppress(pa.ArrowInvalid):
        return pa.ipc.open_file(file).schema
    file.seek(0)
    return pa.ipc.open_stream(file).schema


def _may_hold_images(feature: Any) -> bool:
    """Of a column: images, as `datasets` keeps them or as bytes."""
    if isinstance(feature, dict):
        return "bytes" in feature
    return isinstance(feature, datasets.Image) or getattr(feature, "dtype", None) in ("binary", "large_binary")


def _picture(number: int, image: dict[str, Any] | None) -> Picture:
    path, content = (image["path"], image["bytes"]) if image else (None, None)
    name = f"row {number} ({os.path.basename(path)})" if path else f"row {number}"
    if content is None and path and "://" in path:
        return Picture(name, functools.partial(_fetch, path))
    return Picture(name, path if content is None else content)


def _fetch(url: str) -> bytes:
    with fsspec.open(url) as file:
        return file.read()


def _last_cached_revision(settings: DataSettings, split: str) -> str | None:
    wanted = TableSource(settings, split, "").identity
    for path in sorted(settings.cache_folder.glob("*/state.json"), key=os.path.getmtime, reverse=True):
        try:
            identity = json.loads(path.read_text())["source"]
            if {**identity, "revision": ""} == wanted and settings.revision in (None, identity["revision"]):
                return identity["revision"]
        except (OSError, ValueError, LookupError, TypeError):
            continue  # Of another version, or damaged.
    return None
