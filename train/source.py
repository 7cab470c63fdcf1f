"""Where pictures and their labels come from: a folder, or the tables of a data set on the Hub or in a folder.

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
from typing import Any, NamedTuple, Self, cast

import datasets
import fsspec
import httpx2
import numpy as np
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
from .folder import MOST_CLASSES, NO_LABELS, Folder, Picture, canonical, files_below, fingerprint, printable, scan
from .settings import DataSettings

# Seconds in which a Hub that is there has answered; left to its own retries, the client takes minutes to give up.
HUB_TIMEOUT = 10

# Rows of a table that are read at a time: row by row takes three times as long.
ROWS = 1024

TABLE_EXTENSIONS = (".parquet", ".arrow")

# Of what a cache holds and how: another version has caches of its own.
CACHE_VERSION = 2

# Pictures that may be damaged before a run stops: this share of them, and a few in any case.
MOST_DAMAGED, FEW_DAMAGED = 0.01, 5


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
        label_names: of the labels that its pictures have; known once the first of them is there.
        description: what a folder holds, in a few words; None where nobody counted.
    """

    size: int | None = None
    label_names: tuple[str, ...] = ()
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
            "version": CACHE_VERSION,
        }

    @property
    def cache_name(self) -> str:
        readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{Path(self.dataset).name[:60]}-{self.split[:20]}").strip("-")
        key = json.dumps(self.identity, sort_keys=True)
        return f"{readable}-{IMAGE_SIZE}px-{hashlib.sha256(key.encode()).hexdigest()[:16]}"

    @abstractmethod
    def pictures(self, start: int = 0) -> Iterator[Picture]:
        """All of them from one on, in an order that is always the same. `size` is set by then if it is ever known."""


class FolderSource(Source):
    """Picture files."""

    def __init__(self, settings: DataSettings, split: str, folder: Folder):
        super().__init__(settings, split, folder.fingerprint)
        self.description = folder.describe()
        names = _choose(split, list(folder.splits), self.dataset)
        self._pictures = list(itertools.chain.from_iterable(folder.splits[name] for name in names))
        self.size = len(self._pictures)
        labelled = {folder.label_names.get(name, ()) for name in names}
        if len(labelled) == 1:
            (self.label_names,) = labelled
        else:  # Where some have none, all have none.
            self._pictures = [picture._replace(labels=NO_LABELS) for picture in self._pictures]

    def pictures(self, start: int = 0) -> Iterator[Picture]:
        return iter(self._pictures[start:])


class TableSource(Source):
    """Tables with a column of images, which `datasets` reads.

    Labels are columns of booleans, of integers that are 0 and 1 or -1 and 1, and of classes, at most 50. What the
    integers are, and whether a column says enough to be a label, is seen in the first rows.
    """

    def pictures(self, start: int = 0) -> Iterator[Picture]:
        column, candidates, rows = self._with_images()
        tables = _tables(rows.cast_column(column, datasets.Image(decode=False)).skip(start))
        first = next(tables, None)
        if first is None:
            return
        # Wherever the stream goes on, its first rows are the data set's.
        head = next(_tables(self._load_alone(list(candidates)))) if start and candidates else first
        seen = (_LabelColumn.seen_in(head, name, feature) for name, feature in candidates.items())
        columns = [known for known in seen if known is not None]
        self.label_names = _names_of(columns)
        number = start
        for table in itertools.chain([first], tables):
            labels, problems = _read_labels(table, columns)
            for row, image in enumerate(table.column(column).to_pylist()):
                yield _picture(number, image)._replace(labels=labels[row], problem=problems.get(row))
                number += 1

    def _with_images(self) -> tuple[str, dict[str, Any], datasets.IterableDataset]:
        """The column of images, the features of those that may be labels, and the rows of these columns alone."""
        features, *others = [rows.features for rows in self._load(None)]
        column = self._image_column(features or {self.column: None})
        labels = {
            name: feature
            for name, feature in (features or {}).items()
            if _may_hold_labels(feature) and all((other or {}).get(name) == feature for other in others)
        }
        return column, labels, self._load_alone([column, *labels])

    def _load_alone(self, columns: list[str]) -> datasets.IterableDataset:
        """Where the format allows it, no other columns are read."""
        chosen = [rows.select_columns(columns) for rows in self._load(columns)]
        return chosen[0] if len(chosen) == 1 else datasets.concatenate_datasets(chosen)

    def _image_column(self, features: dict[str, Any]) -> str:
        if self.column in features:
            return self.column
        images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
        images = images or [name for name, feature in features.items() if _may_hold_images(feature)]
        if len(images) != 1:
            choices = f"those of images are {', '.join(images)}" if images else f"it has {', '.join(features)}"
            raise TrainingError(f"--image-column {self.column}: {self.dataset} has no such column; {choices}")
        if distributed.is_main():
            print(f"The images are taken from column {images[0]!r} of {self.dataset}, the only one that has any.")
        return images[0]

    def _load(self, columns: list[str] | None) -> list[datasets.IterableDataset]:
        """The rows of each of the splits that are meant."""
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
        return [splits[name] for name in names]

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


def _tables(rows: datasets.IterableDataset) -> Iterator[pa.Table]:
    return iter(rows.with_format("arrow").iter(ROWS))


def _may_hold_labels(feature: Any) -> bool:
    """Of a column, by its type alone."""
    if isinstance(feature, datasets.ClassLabel):
        return 2 <= feature.num_classes <= MOST_CLASSES
    return isinstance(feature, datasets.Value) and (
        pa.types.is_boolean(feature.pa_type) or pa.types.is_integer(feature.pa_type)
    )


class _LabelColumn(NamedTuple):
    """A column of labels.

    Attributes:
        column: its name.
        classes: one label each, but of two the second alone; empty where the column is the label.
        values: what it may hold.
        labels: of each value: (len(values), k) int8, -1 and 1.
    """

    column: str
    classes: tuple[str, ...]
    values: tuple[int, ...]
    labels: np.ndarray

    @classmethod
    def seen_in(cls, head: pa.Table, name: str, feature: Any) -> Self | None:
        """By the first rows. None if it is no label, or unknown of more pictures than may be damaged."""
        held = head.column(name).to_pylist()
        seen = set(held) - {None}
        if isinstance(feature, datasets.ClassLabel):
            labels = np.eye(feature.num_classes, dtype=np.int8) * 2 - 1
            labels = labels[:, 1:] if len(labels) == 2 else labels
            known = cls(name, tuple(feature.names[-labels.shape[1] :]), tuple(range(len(labels))), labels)
        elif pa.types.is_boolean(feature.pa_type) or seen in ({0, 1}, {-1, 1}, {-1}):
            # Integers that are all 0 or all 1 may be classes in their order, of which others follow.
            known = cls(name, (), (-1 if -1 in seen else 0, 1), np.array([[-1], [1]], np.int8))
        else:
            return None
        unknown = sum(value not in known.values for value in held)
        return known if unknown <= most_damaged(len(held)) and unknown < len(held) else None

    @property
    def names(self) -> tuple[str, ...]:
        return self.classes or (self.column,)

    def read(self, table: pa.Table) -> tuple[np.ndarray, dict[int, str]]:
        """The labels of its rows, (n, k), and what is wrong with those that have none, by row."""
        held = table.column(self.column).to_pylist()
        place_of = {value: place for place, value in enumerate(self.values)}
        problems = {row: self._problem(value) for row, value in enumerate(held) if value not in place_of}
        return self.labels[[place_of.get(value, 0) for value in held]], problems

    def _problem(self, value: int | None) -> str:
        if value is None:
            return f"Column {self.column!r} says nothing of it."
        choices = "a class" if self.classes else f"{self.values[0]} or 1 as in the first rows"
        return f"Column {self.column!r} holds {value}, which is not {choices}."


def _names_of(columns: list[_LabelColumn]) -> tuple[str, ...]:
    """Of all labels; a class that is called as another label is has its column's name before its own."""
    count = Counter(name for column in columns for name in column.names)
    return tuple(
        printable(f"{column.column} {name}" if column.classes and count[name] > 1 else name)
        for column in columns
        for name in column.names
    )


def _read_labels(table: pa.Table, columns: list[_LabelColumn]) -> tuple[np.ndarray, dict[int, str]]:
    """Of the rows of a table: (n, k) int8, and what is wrong with those that have none, by row."""
    labels, problems = [np.empty((len(table), 0), np.int8)], {}
    for column in columns:
        its_labels, its_problems = column.read(table)
        labels.append(its_labels)
        problems.update(its_problems)
    return np.concatenate(labels, axis=1), problems


def most_damaged(pictures: int) -> int:
    """How many of so many pictures may be damaged before a run stops."""
    return max(FEW_DAMAGED, int(MOST_DAMAGED * pictures))


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
