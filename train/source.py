"""Where pictures and their labels come from: a folder, or the tables of a data set on the Hub or in a folder.

A source is one split of one revision, pinned, so that what is cached of it can be told from anything else.
"""

import base64
import binascii
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

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
from .folder import Folder, Picture, canonical, files_below, fingerprint, scan
from .labels import MOST_CLASSES, NO_LABELS, Labels, column_of, plain
from .settings import DataSettings, TrainingError

# Seconds in which a Hub that is there has answered; left to its own retries, the client takes minutes to give up.
HUB_TIMEOUT = 10

# Rows of a table that are read at a time: row by row takes three times as long.
ROWS = 1024

TABLE_EXTENSIONS = (".parquet", ".arrow")

# Of what a cache holds and how: another version has caches of its own.
CACHE_VERSION = 3

# Characters of a text that may be a path; a picture in base64 has more.
MOST_NAME = 500

# Bytes of a picture that is fetched from an address, some 50 megapixels, and how many are fetched at the same time.
MOST_FETCHED, FETCHED_AT_ONCE = 100 * 2**20, 16


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
        label_note: why there are none, or which columns are none; known then too.
        description: what a folder holds, in a few words; None where nobody counted.
    """

    size: int | None = None
    label_names: tuple[str, ...] = ()
    label_note: str = ""
    description: str | None = None

    def __init__(self, settings: DataSettings, split: str, revision: str):
        self.dataset, self.split, self.revision = settings.dataset, split, revision
        self.column, self.config, self.crop = settings.image_column, settings.config, settings.crop
        self.folder = settings.dataset_folder

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
        notes = [f"{name}: {note}" if len(names) > 1 else note for name in names if (note := folder.notes.get(name))]
        self.label_note = "; ".join(dict.fromkeys(notes))
        if len(labelled) == 1:
            (self.label_names,) = labelled
        else:  # Where some have none, all have none.
            self._pictures = [picture._replace(labels=NO_LABELS) for picture in self._pictures]

    def pictures(self, start: int = 0) -> Iterator[Picture]:
        return iter(self._pictures[start:])


class TableSource(Source):
    """Tables with a column of images, which `datasets` reads.

    Labels are columns whose meaning is plain (see labels.py); a mapping is as many columns. What a column holds is seen
    in its first rows or, where classes may follow that are not among them, in all.
    """

    _reads_all_columns = False

    def pictures(self, start: int = 0) -> Iterator[Picture]:
        labels = Labels()
        column, candidates, rows = self._with_images(labels)
        tables = _tables(rows.cast_column(column, datasets.Image(decode=False)).skip(start))
        first = next(tables, None)
        if first is None:
            return
        # Wherever the stream goes on, its first rows are the data set's.
        names = sorted({candidate.column for candidate in candidates})
        self._find_labels(labels, candidates, next(_tables(self._load_alone(names))) if start and candidates else first)
        self.label_names = labels.names
        self.label_note = labels.note or "there are no columns but that of the images" * (not labels.names)
        number, fetchers = start, ThreadPoolExecutor(FETCHED_AT_ONCE)
        try:
            for table in itertools.chain([first], tables):
                values = {candidate: candidate.values(table) for candidate in labels.columns}
                its, problems = labels.read(values, len(table))
                for row, image in enumerate(table.column(column).to_pylist()):
                    picture = _picture(number, image, column, self.folder, fetchers)
                    yield picture._replace(labels=its[row], problem=problems.get(row))
                    number += 1
        finally:
            fetchers.shutdown(wait=False, cancel_futures=True)

    def _with_images(self, labels: Labels) -> tuple[str, list["_Candidate"], datasets.IterableDataset]:
        """The column of images, columns that may be labels, and the rows of both; other columns are refused."""
        features, *others = [rows.features for rows in self._load(None)]
        column = self._image_column(features or {self.column: None})
        candidates = []
        for name, feature in (features or {}).items():
            if name == column or _may_hold_images(feature):
                continue
            if any((other or {}).get(name) != feature for other in others):
                labels.add(name, name, "it is not in every split")
                continue
            for field, its in feature.items() if isinstance(feature, dict) else [(None, feature)]:
                if candidate := _Candidate.of(name, field, its):
                    candidates.append(candidate)
                else:
                    labels.add(name, field or name, f"it is of type {getattr(its, 'dtype', type(its).__name__)}")
        return column, candidates, self._load_alone([column, *{candidate.column for candidate in candidates}])

    def _find_labels(self, labels: Labels, candidates: list["_Candidate"], head: pa.Table) -> None:
        """What each of them holds, or why it is no label."""
        # On the Hub, nothing is read twice but columns that can be read alone.
        is_whole = len(head) == self.size or (self._reads_all_columns and self.folder is None)
        counts = {candidate: Counter(candidate.values(head)) for candidate in candidates}
        known = {one: column_of(one.name, count, is_whole, one.classes) for one, count in counts.items()}
        unclear = {candidate: Counter[Any]() for candidate, column in known.items() if column is None}
        if unclear:
            if self.folder is None and distributed.is_main():
                print(f"Columns of {self.dataset} that may name classes are read first, of all rows.", flush=True)
            for table in _tables(self._load_alone(sorted({candidate.column for candidate in unclear}))):
                for candidate, count in unclear.items():
                    if len(count) <= 2 * MOST_CLASSES:  # More are no classes, whatever follows.
                        count.update(candidate.values(table))
        for candidate, count in unclear.items():
            known[candidate] = column_of(candidate.name, count, True, candidate.classes)
        for candidate, column in known.items():
            labels.add(candidate, candidate.name, column)

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
                self._reads_all_columns = True
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
    dataset, folder = settings.dataset, settings.dataset_folder
    if folder is not None:
        return _find_in_folder(settings, split, folder)
    try:
        commit = HfApi().dataset_info(dataset, revision=settings.revision, timeout=HUB_TIMEOUT).sha
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise TrainingError(f"--dataset {dataset}: neither a folder here nor a data set on the Hub") from error
    except RevisionNotFoundError as error:
        raise TrainingError(f"--revision {settings.revision}: {dataset} has none of that name") from error
    except (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled, OSError, ImportError, ValueError) as error:
        # The last two of a proxy that is set and cannot be used.
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
    tables = [file for file in files if file.extension in TABLE_EXTENSIONS]
    if _was_saved_to_disk(folder) or any(_is_table_of_images(folder / file.name) for file in tables):
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
    return list(dict.fromkeys(chosen))


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


class _Candidate(NamedTuple):
    """A column that may hold labels, or a field of one that holds mappings.

    Attributes:
        column: of the table.
        field: of the mapping.
        classes: their names, where the data set tells them.
    """

    column: str
    field: str | None
    classes: tuple[str, ...] | None

    @classmethod
    def of(cls, column: str, field: str | None, feature: Any) -> Self | None:
        """By its type; None if that can be none."""
        feature = getattr(feature, "feature", feature)  # Of a list.
        if isinstance(feature, datasets.ClassLabel):
            return cls(column, field, tuple(feature.names or ()))
        readable = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_string)
        if isinstance(feature, datasets.Value) and any(
            is_of(feature.pa_type) for is_of in (*readable, pa.types.is_large_string)
        ):
            return cls(column, field, None)
        return None

    @property
    def name(self) -> str:
        return self.field or self.column

    def values(self, table: pa.Table) -> list[Any]:
        """Of its rows, as `labels.plain` has them."""
        held = table.column(self.column).to_pylist()
        if self.field is not None:
            held = [row and row.get(self.field) for row in held]
        return [plain(value) if self.classes is None else self._named(value) for value in held]

    def _named(self, value: Any) -> Any:
        if isinstance(value, list):
            return tuple(map(self._named, value))
        classes = cast(tuple[str, ...], self.classes)
        return classes[value] if isinstance(value, int) and 0 <= value < len(classes) else None


def _picture(
    number: int, image: dict[str, Any] | None, column: str, folder: Path | None, fetchers: ThreadPoolExecutor
) -> Picture:
    path, content = (image["path"], image["bytes"]) if image else (None, None)
    name = f"row {number}"
    if path and len(path) < MOST_NAME and not path.startswith("data:"):
        name += f" ({os.path.basename(path)})"
    if content is None and path and path.startswith(("http://", "https://")):
        return Picture(name, fetchers.submit(_fetch, path).result)
    if content is None and path:
        return Picture(name, functools.partial(_read_text, path, column, folder))
    return Picture(name, content)


def _read_text(text: str, column: str, folder: Path | None) -> bytes:
    """The picture that a text is, in base64, or that it names, by its path in the data set's folder."""
    if "://" in text[:MOST_NAME]:
        with fsspec.open(text) as file:
            return file.read()
    if len(text) < MOST_NAME:
        path = Path(folder or "", text)
        if path.is_file():
            return path.read_bytes()
        if not text.startswith("data:"):
            raise ValueError(
                f"Column {column!r} holds neither an address nor a picture, and there is no file {text!r}."
            )
    encoded = "".join(text.rpartition(",")[2].split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        raise ValueError(f"Column {column!r} holds a text that is no picture in base64: {text[:20]!r}.") from None


def _fetch(url: str) -> bytes:
    with _client().stream("GET", url) as response:
        if response.status_code != 200:
            raise ValueError(f"Its server answers {response.status_code} {response.reason_phrase}.")
        content = b""
        for part in response.iter_bytes():
            content += part
            if len(content) > MOST_FETCHED:
                raise ValueError(f"Its server sends more than {MOST_FETCHED >> 20} MB.")
    return content


@functools.cache
def _client() -> httpx2.Client:
    return httpx2.Client(timeout=HUB_TIMEOUT, follow_redirects=True)


def _last_cached_revision(settings: DataSettings, split: str) -> str | None:
    wanted = TableSource(settings, split, "").identity
    for path in sorted(settings.cache_folder.glob("*/state.json"), key=os.path.getmtime, reverse=True):
        try:
            identity = json.loads(path.read_bytes())["source"]
            if {**identity, "revision": ""} == wanted and settings.revision in (None, identity["revision"]):
                return identity["revision"]
        except (OSError, ValueError, LookupError, TypeError):
            continue  # Of another version, or damaged.
    return None
