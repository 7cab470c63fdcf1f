"""A folder of pictures: all of them below it, in zip files too, with the split and the labels of each."""

import codecs
import csv
import functools
import hashlib
import importlib.util
import io
import itertools
import json
import os
import posixpath
import re
import statistics
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image

from models import decoding
from models.images import read_pixels
from models.loading import one_line

from .labels import MOST_CLASSES, NO_LABELS, Labels, column_of, most_damaged, plain
from .settings import TrainingError, printable

HEIF_EXTENSIONS = {".heic", ".heif", ".hif"}
PACKED_EXTENSIONS = {".zip", ".parquet", ".arrow"}
ARCHIVE_EXTENSIONS = {".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"}

# Thumbnails, deleted files and parts of files, which systems leave in folders; names that begin with a dot are others.
LITTER = {"__MACOSX", "@eaDir", "$RECYCLE.BIN"}

# What a run and a cache of faces are made of. No training should see a run's own pictures.
OURS = {"run.json", "metrics.jsonl", "checkpoint.pt", "loss.png", "samples", "reconstructions", "interpolations"}
OURS |= {"snapshots", "model", "model.tmp", "faces.u8", "state.json", "lock"}

# Bytes of one picture that are taken into memory, some 50 megapixels.
MOST_BYTES = 100 * 2**20

# Names of splits. A folder's name may say more, as train2017, training_set and test-images do.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLITS = {name: split for split, names in SPLIT_NAMES.items() for name in names}
_SPLIT_FOLDER = re.compile(rf"({'|'.join(_SPLITS)})([-_ ]?(set|data|images?|pictures|faces|\d{{4}}))?(\.zip)?")

# CelebA's own list of splits, which has a line for each picture, with 0, 1 or 2; Kaggle's has commas.
PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")
PARTITION = {"0": "train", "1": "valid", "2": "test"}

# CelebA's own list of attributes: their names, and a line of -1 and 1 for each picture. One's own may hold words, and
# whatever separators a spreadsheet writes.
ATTRIBUTE_FILES = ("list_attr_celeba.txt", "list_attr_celeba.csv")

# The lists of the Hub's folders of images. Each names the pictures of its own folder and below.
METADATA_FILES = ("metadata.csv", "metadata.jsonl")

# Places of these files on CelebA's own site: beside the pictures' folder, or in folders beside it.
_PLACES = ("", "Eval", "Anno")


class UnknownSplit(TrainingError):
    """The data set has no split of that name."""


class Picture(NamedTuple):
    """A picture that is not decoded yet.

    Attributes:
        name: its path below the folder, or its row.
        file: a path, the bytes, a function that returns them, or None for an empty row.
        labels: (k,) int8, -1 or 1 for each of the source's labels.
        problem: why its labels are not known, in a few words; then it counts as damaged.
    """

    name: str
    file: str | Path | bytes | Callable[[], bytes] | None
    labels: np.ndarray = NO_LABELS
    problem: str | None = None

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
        if self.problem:
            raise ValueError(self.problem)
        return read_pixels(io.BytesIO(content) if isinstance(content, bytes) else content, _readable_formats())


# Pictures with their labels, the names of these, and why there are none or which columns are none.
Labelled = tuple[list[Picture], tuple[str, ...], str]


class File(NamedTuple):
    """A file of a folder, on its own or in a zip file.

    Attributes:
        name: its path below the folder.
        stamp: two numbers that change when it is rewritten.
        content: its path, or a function that returns its bytes.
    """

    name: str
    stamp: tuple[int, int]
    content: Path | Callable[[], bytes]

    @property
    def extension(self) -> str:
        return PurePosixPath(self.name).suffix.lower()

    @property
    def base(self) -> str:
        """Its name without folders, in lower case."""
        return posixpath.basename(self.name).lower()


class Folder(NamedTuple):
    """Some splits of a folder.

    Attributes:
        pictures: in an order that has nothing to do with their names.
        label_names: names of the labels that each picture has.
        note: why there are no labels, or which columns are none.
        fingerprint: changes when a picture is added, removed, rewritten or moved, or a list of splits or attributes is.
        description: what the whole folder holds, in a few words.
    """

    pictures: list[Picture]
    label_names: tuple[str, ...]
    note: str
    fingerprint: str
    description: str


def describe_left_out(left_out: Counter[str]) -> str:
    kinds = [f"{count:,} {kind}" for kind, count in left_out.most_common()]
    more = ["and others"] if len(kinds) > 8 else []
    return "; left out: " + ", ".join(kinds[:8] + more) if kinds else ""


def canonical(split: str) -> str:
    """One name for all names of a split: "valid" for "validation"."""
    return _SPLITS.get(split.lower(), split)


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


def files_below(folder: Path, left_out: Counter[str]) -> Iterator[File]:
    """All regular files below a folder, but for litter. Linked folders are entered once; what is left out is counted."""
    seen = {folder.resolve()}
    for where, folders, names in os.walk(
        folder, followlinks=True, onerror=lambda error: left_out.update(["folders that cannot be read"])
    ):
        kept = []
        litter = LITTER | OURS if "run.json" in names or "faces.u8" in names else LITTER
        for name in sorted(folders):
            if not _is_litter(name, litter) and (real := Path(where, name).resolve()) not in seen:
                seen.add(real)
                kept.append(name)
        folders[:] = kept
        below = Path(where).relative_to(folder)
        prefix = "" if below == Path() else f"{below.as_posix()}/"
        for name in sorted(names):
            if _is_litter(name, litter):
                continue
            path = Path(where, name)
            if os.path.isfile(path):
                file = _file(prefix + name, path)
                if _is_pointer(file):
                    left_out["Git LFS pointers (git lfs pull fetches the files)"] += 1
                else:
                    yield file
            elif not os.path.exists(path):
                left_out["broken links"] += 1
            else:  # A pipe would be waited for without end.
                left_out[f"{printable(prefix + name)} (no regular file)"] += 1


def _file(name: str, path: Path) -> File:
    status = path.stat()
    return File(name, (status.st_size, status.st_mtime_ns), path)


def _is_pointer(file: File) -> bool:
    """Whether Git LFS has left the address of a file in its place."""
    try:
        return file.stamp[0] < 200 and cast(Path, file.content).read_bytes().startswith(b"version https://git-lfs")
    except OSError:
        return False


def scan(folder: Path, files: list[File], left_out: Counter[str], split: str) -> Folder | None:
    """The pictures among the files of a folder that are of the wanted splits, with their labels; None without pictures.

    CelebA's own list of splits says what is train, valid and test, if it is among the files or beside a folder of
    CelebA's own naming. Otherwise folders of these names do, and all other pictures are train.

    Labels are the columns of CelebA's own list of attributes, or one like it, or of the metadata of the Hub's folders of
    images. Where these hold none, they are the names of the folders directly below a split's own, as train/cat and
    train/dog, if all pictures of the split lie in two to 50 of these.

    Pictures of a class, or of a person, have names that follow each other. So pictures are put in the order of a hash of
    their names, which is as good as random, and keeps its order when a picture is added or removed.

    Raises:
        UnknownSplit: the folder has no such split.
        TrainingError: a list cannot be read, or holds no splits or attributes.
    """
    files = list(_with_those_in_zips(files, left_out))
    partition, attributes = (_find_list(folder, files, names) for names in (PARTITION_FILES, ATTRIBUTE_FILES))
    metadata = [file for file in files if file.base in METADATA_FILES and not attributes]
    lists = [file for file in (partition, attributes, *metadata) if file]
    found = [file for file in files if file.extension in extensions()]
    found.sort(key=lambda file: hashlib.sha256(file.name.encode("utf-8", "surrogatepass")).digest())
    for file in files:
        if file.extension not in extensions() and file not in lists:
            left_out[_kind(file.extension)] += 1
    if partition is None:
        split_of = {file.name: _split_by_folders(file.name) for file in found}
    else:
        try:
            split_of = _split_by_list([file.name for file in found], partition, left_out)
        except ValueError as error:
            raise TrainingError(f"{error}: restore it, or move it away") from error
    splits: dict[str, list[Picture]] = {name: [] for name in SPLIT_NAMES}
    for file in found:
        if file.name in split_of:
            splits[split_of[file.name]].append(Picture(file.name, file.content))
    splits = {name: pictures for name, pictures in splits.items() if pictures}
    if not splits:
        return None
    chosen = choose(split, list(splits), str(folder))
    pictures = list(itertools.chain.from_iterable(splits[name] for name in chosen))
    metadata = [file for file in metadata if any(one.name.startswith(file.name[: -len(file.base)]) for one in pictures)]
    labelled: Labelled | None = None
    notes = []
    try:
        if attributes or metadata:
            labelled = _label_by_lists(pictures, [attributes] if attributes else metadata)
    except ValueError as error:
        if attributes:
            raise TrainingError(f"{error}: restore it, or move it away") from error
        notes.append(str(error))
    if labelled is None and partition:
        labelled = pictures, (), f"there is no {ATTRIBUTE_FILES[0]} beside {partition.name}"
    pictures, names, note = labelled or _label_by_classes(pictures, splits, chosen, folder.resolve().name)
    notes.append(note)
    total = sum(map(len, splits.values()))
    parts = ", ".join(f"{name} {len(its):,}" for name, its in splits.items())
    description = f"{total:,} picture{'s' * (total != 1)}{f' ({parts})' * (list(splits) != ['train'])}"
    stamp = fingerprint([*found, *lists])
    return Folder(pictures, names, "; ".join(filter(None, notes)), stamp, description + describe_left_out(left_out))


def fingerprint(files: list[File]) -> str:
    """Changes when a file is added, removed, resized or rewritten."""
    stamps = [(file.name, *file.stamp) for file in files]
    return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:40]


def _is_litter(name: str, litter: set[str] = LITTER) -> bool:
    return name.startswith(".") or name in litter


def _kind(extension: str) -> str:
    if extension in HEIF_EXTENSIONS:
        return f"{extension} (pip install pillow-heif reads them)"
    if extension in ARCHIVE_EXTENSIONS:
        return f"{extension} (unpack them)"
    return printable(extension) or "without an ending"


def _with_those_in_zips(files: list[File], left_out: Counter[str]) -> Iterator[File]:
    for file in files:
        if file.extension != ".zip":
            yield file
        elif any(other.name.startswith(file.name[: -len(".zip")] + "/") for other in files):
            left_out[".zip (unpacked beside it)"] += 1
        else:
            yield from _in_zip(file, left_out)


def _in_zip(file: File, left_out: Counter[str]) -> Iterator[File]:
    try:
        archive = zipfile.ZipFile(cast(Path, file.content))
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        left_out[".zip (damaged)"] += 1
        return
    for member in archive.infolist():
        name = member.filename.replace("\\", "/")  # As some programs on Windows write it.
        parts = PurePosixPath(name)
        if member.is_dir() or any(map(_is_litter, parts.parts)):
            continue
        extension = parts.suffix.lower()
        if extension in PACKED_EXTENSIONS or extension in ARCHIVE_EXTENSIONS:
            left_out[f"{extension} in a zip file (unpack it)"] += 1
        elif member.flag_bits & 1:
            left_out["in a zip file with a password"] += 1
        elif member.file_size > MOST_BYTES:  # It would be unpacked into memory as a whole.
            left_out[f"of more than {MOST_BYTES >> 20} MB in a zip file"] += 1
        else:
            read = functools.partial(archive.read, member)
            yield File(f"{file.name}/{name}", (member.file_size, member.CRC), read)


def _split_by_folders(name: str) -> str:
    return next(filter(None, map(_split_of_folder, PurePosixPath(name).parts[:-1])), "train")


def _split_of_folder(folder: str) -> str | None:
    found = _SPLIT_FOLDER.fullmatch(folder.lower())
    return _SPLITS[found[1]] if found else None


def _find_list(folder: Path, files: list[File], names: tuple[str, ...]) -> File | None:
    """CelebA's list of one of these names; one in a zip file only where there is no other."""
    inside = [file for file in files if file.base in names]
    if inside:
        return min(inside, key=lambda file: callable(file.content))
    # The folder may be CelebA's pictures alone, named as by torchvision or on its own site, with the list outside.
    outside = []
    folder = folder.resolve()
    if folder.name == "Img" or folder.name.startswith("img_align_celeba"):
        outside = [above / place for above in (folder.parent, folder.parent.parent) for place in _PLACES]
    paths = (place / name for place in outside for name in names)
    return next((_file(str(path), path) for path in paths if path.is_file()), None)


def _key(name: str) -> str:
    """A picture's path as it is compared: lists may have other slashes, capitals, accents and extensions."""
    stem, extension = posixpath.splitext(unicodedata.normalize("NFC", name).replace("\\", "/").casefold())
    return stem if extension in extensions() else stem + extension


def _ends(name: str) -> list[str]:
    """A path's key, and the same without its first folder, its first two, and so on."""
    ends = [_key(name)]
    while "/" in ends[-1]:
        ends.append(ends[-1].partition("/")[2])
    return ends


def _finder(names: Iterable[str]) -> Callable[[str], int | None]:
    """A function that finds a picture's path among the names in a list: the name's place, or None.

    A list may name less of a path than there is, as CelebA's does, or more, as one from another machine. Names that stand
    there twice are not found.
    """
    whole: dict[str, int | None] = {}
    longer: dict[str, int | None] = {}
    for place, name in enumerate(names):
        first, *others = _ends(name)
        whole[first] = None if first in whole else place
        longer |= {end: None if end in longer else place for end in others}

    def find(name: str) -> int | None:
        ends = _ends(name)
        return next((whole[end] for end in ends if end in whole), longer.get(ends[0]))

    return find


def _split_by_list(names: list[str], file: File, left_out: Counter[str]) -> dict[str, str]:
    partition = [
        (words[-2], split)
        for words in _read_rows(file)
        if len(words) > 1 and (split := PARTITION.get(words[-1]) or _SPLITS.get(words[-1].lower()))
    ]
    if not partition:
        raise ValueError(f"{file.name} has no line such as '000001.jpg 0'")
    find = _finder(name for name, _ in partition)
    # A picture may be there twice, as JPEG and PNG or aligned and not: the aligned ones are CelebA's faces.
    chosen: dict[int, str] = {}
    for name in sorted(names, key=lambda name: ("img_align_celeba" not in name, name)):
        place = find(name)
        if place is None:
            left_out[f"that {PurePosixPath(file.name).name} does not name"] += 1
        elif place in chosen:
            left_out["that are there twice"] += 1
        else:
            chosen[place] = name
    return {name: partition[place][1] for place, name in chosen.items()}


def _label_by_lists(pictures: list[Picture], files: list[File]) -> Labelled:
    """The pictures with the labels of lists of attributes.

    Raises:
        ValueError: why there are no labels in the lists, in a few words.
    """
    paths: list[str] = []
    tables: list[dict[str, Sequence[Any]]] = []
    for file in files:
        header, rows = _read_attributes(file)
        named = _column_of_names(rows)
        folder = posixpath.dirname(file.name) if file.base in METADATA_FILES else ""
        paths += [posixpath.join(folder, str(row[named])) for row in rows]
        columns = list(zip(header, zip(*rows)))
        tables.append(dict(columns[:named] + columns[named + 1 :]))
    list_name = PurePosixPath(files[0].name).name
    labels, values = Labels(), {}
    for name in dict.fromkeys(itertools.chain.from_iterable(tables)):
        if not all(name in table for table in tables):
            labels.add(name, name, f"it is not in every {list_name}")
            continue
        column = [value for table in tables for value in table[name]]
        meaning = {value: plain(value) for value in set(column)}
        values[name] = [meaning[value] for value in column]
        labels.add(name, name, column_of(name, Counter(values[name]), is_whole=True))
    if not labels.columns:
        raise ValueError(f"{list_name} has no labels: {labels.note or 'it has no other columns'}")
    read, problems = labels.read(values, len(paths))
    find = _finder(paths)
    places = [find(picture.name) for picture in pictures]
    if places.count(None) > most_damaged(len(pictures)):
        raise ValueError(f"{list_name} has a line for {len(places) - places.count(None):,} of {len(places):,} pictures")
    labelled = []
    for picture, place in zip(pictures, places):
        if place is None:
            labelled.append(picture._replace(problem=f"{list_name} has no line of it, or several."))
        else:
            labelled.append(picture._replace(labels=read[place], problem=problems.get(place)))
    return labelled, labels.names, labels.note


def _read_attributes(file: File) -> tuple[list[str], list[list[Any]]]:
    """The names of a list's columns, and its rows, each with a value for every column.

    Raises:
        ValueError: it cannot be understood.
    """
    if file.extension == ".jsonl":
        lines = _read_lines(file)
        try:
            objects = [dict(json.loads(line)) for line in lines]
        except (ValueError, TypeError, RecursionError):
            objects = []
        if not (header := list(dict.fromkeys(itertools.chain.from_iterable(objects)))):
            raise ValueError(f"{file.name} does not hold a JSON object in each line")
        return header, [[plain(row.get(name)) for name in header] for row in objects]
    header, *rows = [row for row in _read_rows(file) if len(row) > 1 or not row[0].isdecimal()] or [[]]
    width = statistics.mode(map(len, rows)) if rows else 0
    if len(header) not in (width, width - 1) or width < 2:
        line = f"; its first line names {len(header)} columns, and others have {width}" if header and rows else ""
        raise ValueError(f"{file.name} has no names and no line such as '000001.jpg -1 1'{line}")
    names: list[str] = []
    for place, name in enumerate(["", *header][-width:], 1):  # Those that are missing, or there before, get a number.
        names.append(name if name and name not in names else f"{name or 'column'} {place}")
    return names, [row for row in rows if len(row) == width]


def _column_of_names(rows: list[list[Any]]) -> int:
    """The column of a list that names pictures: the first, unless another holds names of files."""
    is_name = [[PurePosixPath(str(value)).suffix.lower() in extensions() for value in row] for row in rows[:100]]
    counts = [sum(column) for column in zip(*is_name)]
    return counts.index(max(counts)) if counts else 0


def _label_by_classes(
    pictures: list[Picture], splits: dict[str, list[Picture]], chosen: list[str], folder: str
) -> Labelled:
    """The pictures of the chosen splits with the labels of their folders; without labels where these are no classes."""
    names: list[str] = []
    reasons: dict[str, str] = {}
    # The folder of the data set may be that of a split itself.
    class_of = {one.name: _class_folder(f"{folder}/{one.name}") for its in splits.values() for one in its}
    for split, its in splits.items():
        classes = {picture.name: class_of[picture.name] for picture in its}
        if reason := _no_classes(split, classes, names):
            reasons[split] = f"{split}: {reason}" if len(chosen) > 1 else reason
        else:
            names = names or sorted({name for name in classes.values() if name is not None})
    if notes := [reasons[split] for split in chosen if split in reasons]:
        return pictures, (), "; ".join(notes)
    labels = dict(zip(names, np.eye(len(names), dtype=np.int8) * 2 - 1))
    labelled = [picture._replace(labels=labels[str(class_of[picture.name])]) for picture in pictures]
    return labelled, tuple(map(printable, names)), ""


def _no_classes(split: str, classes: dict[str, str | None], known: list[str]) -> str | None:
    """Why the folders of a split are no classes, None if they are.

    Args:
        classes: the class folder of each picture.
        known: the classes of a split before it.
    """
    here = {name for name in classes.values() if name is not None}
    outside = [picture for picture, name in classes.items() if name is None]
    if not here:
        folders = sorted({PurePosixPath(name).parts[0] for name in outside if "/" in name})
        move = (
            f": if {' and '.join(folders[:2])} are classes, move them into a folder {split}" if len(folders) > 1 else ""
        )
        return printable(f"no picture lies in a class folder, such as {split}/cat{move}")
    if outside:
        count = f"{len(outside):,} pictures lie" if len(outside) > 1 else "1 picture lies"
        return printable(f"{count} in no class folder, as the others do: {min(outside)}")
    if known and not here.issubset(known):
        others = ", ".join(sorted(here.difference(known))[:3])
        return printable(f"{split} holds a class that no split before it has: {others}")
    if not known and len(here) == 1:
        return printable(f"there is one class folder only: {split}/{here.pop()}")
    if len(here) > MOST_CLASSES:
        return f"there are {len(here):,} folders in {split}, and {MOST_CLASSES} classes are the most"
    return None


def _class_folder(name: str) -> str | None:
    """The folder directly below the folder of a picture's split; None where there is none, or a zip file instead."""
    *folders, _ = PurePosixPath(name).parts
    for folder, below in itertools.pairwise(folders):
        if _split_of_folder(folder) and not _split_of_folder(below):
            return None if below.lower().endswith(".zip") else below
    return None


def _read_lines(file: File) -> list[str]:
    """The lines of a list that are not blank."""
    try:
        content = file.content() if callable(file.content) else file.content.read_bytes()
    except Exception as error:  # Archives have their own ways to fail.
        raise ValueError(f"{file.name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    encoding = "utf-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:  # As Excel writes it in the West.
        text = content.decode("cp1252", "replace")
    return [line for line in text.splitlines() if line.strip()]


def _read_rows(file: File) -> list[list[str]]:
    """The words of each line that has any, whatever separates them."""
    lines = _read_lines(file)
    # Other lines may hold remarks. CelebA's first line is the count of the others.
    header = next((line for line in lines if not line.strip().isdecimal()), "")
    delimiter = max(",;\t", key=header.count)
    if delimiter not in header:  # Blanks, as in CelebA's own.
        return [line.split() for line in lines]
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        return [[word.strip() for word in row] for row in reader]
    except csv.Error as error:
        raise ValueError(f"{file.name}, line {reader.line_num}, cannot be read: {error}") from error
