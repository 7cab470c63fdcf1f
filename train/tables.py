"""Tables of pictures and their labels, of a data set on the Hub or in a folder, and the way from settings to a source.

`datasets` reads the tables.
"""

import base64
import binascii
import functools
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, cast

import datasets
import fsspec
import httpx2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

from models.hub import INVALID_TOKEN, one_line, rejects_token

from .distributed import say
from .folder import FolderSource, describe_left_out, files_below, fingerprint
from .labels import Labels, column_of, plain
from .settings import DataSettings, TrainingError
from .source import Picture, Source, choose, extensions

# Seconds that the Hub, or a server of pictures, has to answer. Without a limit the client gives up after minutes.
HUB_TIMEOUT = 10

# Rows of a table that are read at a time: row by row takes three times as long.
ROWS = 1024

# Files of tables. Those of text are read only where there is nothing else: beside pictures they may hold anything.
TABLE_EXTENSIONS, TEXT_EXTENSIONS = {".parquet", ".arrow"}, {".csv", ".jsonl"}

# Types of columns that may be labels, or whose lists may.
LABEL_TYPES = ("bool", "int", "uint", "float", "string", "large_string")

# Characters of a text that may be a path; a picture in base64 has more.
MOST_NAME = 500

# Pictures that are fetched from their addresses at the same time.
FETCHED_AT_ONCE = 16


class _Candidate(NamedTuple):
    """A column that may hold labels, or a field of a column of mappings, with the names of its classes if they are told."""

    column: str
    field: str | None
    classes: tuple[str, ...] | None

    def values(self, table: pa.Table) -> list[Any]:
        """The values of its rows, as `labels.plain` returns them."""
        held = table.column(self.column)
        return list(map(plain, (held if self.field is None else pc.struct_field(held, self.field)).to_pylist()))


class TableSource(Source):
    """Tables with a column of images.

    Columns that labels.py understands are labels; a mapping is a column for each of its fields. The first rows tell what
    a column holds, or all rows do where classes may follow that are not among the first.
    """

    _configuration: str | None = None
    _reads_all_columns = False

    def pictures(self, start: int = 0) -> Iterator[Picture]:
        labels = Labels()
        column, candidates = self._columns(labels)
        names = sorted({candidate.column for candidate in candidates.values()})
        stream = self._rows([column, *names]).cast_column(column, datasets.Image(decode=False))
        tables = _tables(stream.skip(start))
        first = next(tables, None)
        if first is None:
            return
        # The first rows of the data set tell what labels there are, also for a stream that starts later.
        self._find_labels(labels, candidates, next(_tables(self._rows(names))) if start and names else first)
        self.label_names = labels.names
        self.label_note = labels.note or "there are no columns but that of the images" * (not labels.names)
        numbers, fetchers = itertools.count(start), ThreadPoolExecutor(FETCHED_AT_ONCE)
        try:
            for table in itertools.chain([first], tables):
                rows = labels.read({name: candidates[name].values(table) for name in labels.columns}, len(table))
                for image, row in zip(table.column(column).to_pylist(), rows):
                    yield Picture(*self._content(next(numbers), image, column, fetchers), row)
        finally:
            fetchers.shutdown(wait=False, cancel_futures=True)

    def _columns(self, labels: Labels) -> tuple[str, dict[str, _Candidate]]:
        """The column of images, and columns that may be labels; `labels` is told which others are none, and why."""
        first, *others = self._load(None)
        features: dict[str, Any] = first.features or {}
        image, candidates = self._image_column(features, first), {}
        for column, feature in features.items():
            if column == image or _holds_bytes(feature):
                continue
            if any((other.features or {}).get(column) != feature for other in others):
                labels.add(column, "it is not in every split")
                continue
            for field, its in feature.items() if isinstance(feature, dict) else [(None, feature)]:
                its = getattr(its, "feature", its)  # The type of a list's members.
                name, kind = field or column, getattr(its, "dtype", type(its).__name__)
                if name in candidates:
                    labels.add(name, "a column before it has that name")
                elif kind.startswith(LABEL_TYPES):
                    classes = tuple(its.names or ()) if isinstance(its, datasets.ClassLabel) else None
                    candidates[name] = _Candidate(column, field, classes)
                else:
                    labels.add(name, f"it is of type {kind}")
        return image, candidates

    def _image_column(self, features: dict[str, Any], rows: datasets.IterableDataset) -> str:
        """The column of images: the first, or the one that is called "image", of the first kind that there is."""
        found = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
        found = found or [name for name, feature in features.items() if _holds_bytes(feature)]
        if not found:
            row: dict[str, Any] = next(iter(rows), {})
            found = [name for name, value in row.items() if name == "image" or _names_a_picture(value)]
        if not found:
            raise TrainingError(f"--dataset {self.dataset}: no column holds images; it has {', '.join(features)}")
        column = "image" if "image" in found else found[0]
        if column != "image":
            others = f"; {', '.join(found[1:])} may hold images too" if len(found) > 1 else ""
            say(f"The images are taken from column {column!r} of {self.dataset}{others}.")
        return column

    def _find_labels(self, labels: Labels, candidates: dict[str, _Candidate], head: pa.Table) -> None:
        """Tell `labels` what each candidate holds, or why it is no label."""
        # Columns of a data set on the Hub are read twice only where they can be read without the pictures.
        is_whole = len(head) == self.size or (self._reads_all_columns and self.folder is None)
        counts = {name: Counter(its.values(head)) for name, its in candidates.items()}
        known = {name: column_of(name, counts[name], is_whole, its.classes) for name, its in candidates.items()}
        unclear: dict[str, Counter[Any]] = {name: Counter() for name, column in known.items() if column is None}
        if unclear:
            say(f"Columns of {self.dataset} that may name classes are read first, of all rows.")
            for table in _tables(self._rows(sorted({candidates[name].column for name in unclear}))):
                for name, count in unclear.items():
                    count.update(candidates[name].values(table))
            known |= {name: column_of(name, count, True, candidates[name].classes) for name, count in unclear.items()}
        for name, column in known.items():
            labels.add(name, column)

    def _content(
        self, number: int, image: dict[str, Any] | None, column: str, fetchers: ThreadPoolExecutor
    ) -> tuple[str, bytes | Callable[[], bytes] | None]:
        """The name of a row's picture, and its bytes or what returns them."""
        path, content = (image["path"], image["bytes"]) if image else (None, None)
        name = f"row {number}"
        if path and len(path) < MOST_NAME and not path.startswith("data:"):
            name += f" ({os.path.basename(path)})"
        if content is not None or not path:
            return name, content
        if path.startswith(("http://", "https://")):
            return name, fetchers.submit(_fetch, path).result
        return name, functools.partial(_read_text, path, column, self.folder)

    def _rows(self, columns: list[str]) -> datasets.IterableDataset:
        """Some columns of all splits that are meant; the others are not read where the format allows it."""
        chosen = [rows.select_columns(columns) for rows in self._load(columns)]
        return chosen[0] if len(chosen) == 1 else datasets.concatenate_datasets(chosen)

    def _load(self, columns: list[str] | None) -> list[datasets.IterableDataset]:
        """The rows of each of the splits that are meant. Sets `size`."""
        if self.folder and _was_saved_to_disk(self.folder):
            saved = datasets.load_from_disk(str(self.folder))
            saved = saved if isinstance(saved, datasets.DatasetDict) else {str(saved.split or "train"): saved}
            splits = {name: table.to_iterable_dataset() for name, table in saved.items()}
            sizes: dict[str, int | None] = {name: len(table) for name, table in saved.items()}
        else:
            splits = self._stream(columns)
            infos = next(iter(splits.values())).info.splits or {}
            sizes = {name: infos[name].num_examples if name in infos else None for name in splits}
        names = choose(self.split, list(splits), self.dataset)
        counts = [size for name in names if (size := sizes[name])]
        self.size = sum(counts) if len(counts) == len(names) else None
        return [_with_features(splits[name]) for name in names]

    def _stream(self, columns: list[str] | None) -> datasets.IterableDatasetDict:
        where, revision = str(self.folder or self.dataset), None if self.folder else self.revision
        try:
            builder = datasets.load_dataset_builder(where, self._configuration, revision=revision)
        except ValueError as error:
            if "Config name is missing" not in str(error):
                raise
            names = datasets.get_dataset_config_names(where, revision=revision)
            self._configuration = names[0]
            say(f"{where} has several configurations, {', '.join(names)}: {names[0]} is taken.")
            return self._stream(columns)
        self._reads_all_columns = not hasattr(builder.config, "columns")
        if not self._reads_all_columns:
            builder.config.columns = columns
        return builder.as_streaming_dataset()


def find_source(settings: DataSettings, split: str) -> Source:
    """A split of a data set, in the revision that it has now.

    Where the Hub does not answer it is the last revision that was cached, so that a second run works offline.

    Raises:
        UnknownSplit: a folder of pictures has no such split.
        TrainingError: there is no such folder or data set, or the Hub does not answer and nothing is cached.
    """
    dataset, folder = settings.dataset, settings.dataset_folder
    if folder is not None:
        return _find_in_folder(settings, split, folder)
    try:
        commit = HfApi().dataset_info(dataset, revision=settings.revision, timeout=HUB_TIMEOUT).sha
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise TrainingError(
            f"--dataset {dataset}: neither a folder here nor a data set on the Hub, user/name; for a private one, log in "
            "(hf auth login)"
        ) from error
    except RevisionNotFoundError as error:
        raise TrainingError(f"--revision {settings.revision}: {dataset} has none of that name") from error
    except Exception as error:  # Networks and proxies have many ways to fail.
        if isinstance(error, HfHubHTTPError) and rejects_token(error):
            raise TrainingError(f"--dataset {dataset}: {INVALID_TOKEN}") from error
        commit = _last_cached_revision(settings, split)
        if commit is None:
            reason = f"the Hub cannot be reached ({one_line(error)}), and it is not cached"
            raise TrainingError(f"--dataset {dataset}: {reason}") from error
        say(f"The Hub cannot be reached; using the cached revision {commit[:8]} of {dataset}.")
    return TableSource(settings, split, cast(str, commit))  # The Hub tells it when asked for one data set.


def _find_in_folder(settings: DataSettings, split: str, folder: Path) -> Source:
    left_out: Counter[str] = Counter()
    files = list(files_below(folder, left_out))
    kinds = {file.extension for file in files} - {".md"}
    are_tables = _was_saved_to_disk(folder) or any(
        file.extension == ".parquet" and _is_table_of_images(folder / file.name) for file in files
    )
    if not are_tables and (pictures := FolderSource(settings, split, files, left_out)).size:
        return pictures
    # They hold images, or texts that name images, or they are damaged and the error names them.
    if are_tables or kinds & TABLE_EXTENSIONS or (kinds and kinds <= TEXT_EXTENSIONS):
        source = TableSource(settings, split, fingerprint(files))
        if beside := sum(file.extension in extensions() for file in files):
            source.description = f"tables of images; left out: {beside:,} pictures beside them"
        return source
    raise TrainingError(
        f"--dataset {settings.dataset} holds no pictures (JPEG, PNG, WebP, GIF, BMP, TIFF, PPM or AVIF, in zip files too) "
        f"and no tables (parquet, arrow, csv or jsonl){describe_left_out(left_out)}"
    )


def _was_saved_to_disk(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` wrote a folder."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file()
    )


def _is_table_of_images(path: Path) -> bool:
    """Whether a column of a file may hold images."""
    try:
        features = datasets.Features.from_arrow_schema(pq.read_schema(path))
    except (OSError, ValueError, pa.ArrowException):
        return False  # The reader of the table says later what is wrong with it.
    return any(map(_holds_bytes, features.values()))


def _holds_bytes(feature: Any) -> bool:
    """Whether a column holds files, as images or as bytes."""
    if isinstance(feature, dict):
        return "bytes" in feature
    return isinstance(feature, datasets.Image) or getattr(feature, "dtype", None) in ("binary", "large_binary")


def _names_a_picture(value: Any) -> bool:
    """Whether a value is the address or the path of a picture, or a long text, which may be one in base64."""
    if not isinstance(value, str) or len(value) >= MOST_NAME:
        return isinstance(value, str) and " " not in value
    return value.startswith(("http://", "https://", "data:image/")) or Path(value).suffix.lower() in extensions()


def _with_features(rows: datasets.IterableDataset) -> datasets.IterableDataset:
    """The same rows with types of columns: where the reader tells none, as for CSV, the types in the first rows."""
    head = None if rows.features else next(_tables(rows), None)
    return rows if head is None else rows.cast(datasets.Features.from_arrow_schema(head.schema))


def _tables(rows: datasets.IterableDataset) -> Iterator[pa.Table]:
    return iter(rows.with_format("arrow").iter(ROWS))


def _read_text(text: str, column: str, folder: Path | None) -> bytes:
    """The bytes of a picture that is given by a text: a file's address on the Hub, its path in the folder, or base64."""
    if "hf://" in text[:MOST_NAME]:
        with fsspec.open(text) as file:
            return file.read()
    if folder and len(text) < MOST_NAME and (folder / text).is_file():
        return (folder / text).read_bytes()
    encoded = "".join(text.rpartition(",")[2].split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        raise ValueError(
            f"Column {column!r} holds no address, no file's path and no picture in base64: {text[:40]!r}."
        ) from None


def _fetch(url: str) -> bytes:
    response = _client().get(url)
    if response.status_code != 200:
        raise ValueError(f"Its server answers {response.status_code} {response.reason_phrase}.")
    return response.content


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
            continue  # It is from another version, or damaged.
    return None
