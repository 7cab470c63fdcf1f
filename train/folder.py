"""A folder of pictures: every one below it, in zip files too, the split that each belongs to, and its labels."""

import functools
import hashlib
import importlib.util
import io
import itertools
import json
import os
import statistics
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from models import decoding
from models.images import read_pixels
from models.loading import one_line

from .errors import TrainingError

HEIF_EXTENSIONS = {".heic", ".heif", ".hif"}
ARCHIVE_EXTENSIONS = {".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"}

# What systems leave in folders: thumbnails, deleted files, parts of files. So do names that begin with a dot.
LITTER = {"__MACOSX", "@eaDir", "$RECYCLE.BIN"}

# What the folders of splits are called.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLITS = {name: split for split, names in SPLIT_NAMES.items() for name in names}

# CelebA's own partition: a line for each picture, 0, 1 or 2; and as Kaggle has it, with commas.
PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")
PARTITION = {"0": "train", "1": "valid", "2": "test"}

# CelebA's own attributes: their names, and a line for each picture of -1 and 1; Kaggle's begins without the count.
ATTRIBUTE_FILES = ("list_attr_celeba.txt", "list_attr_celeba.csv")

# Where these files lie on CelebA's own site: beside the pictures' folder, or in folders beside it.
_PLACES = ("", "Eval", "Anno")

# Classes of more kinds are identities, or no classes at all.
MOST_CLASSES = 50

NO_LABELS = np.empty(0, np.int8)


class Picture(NamedTuple):
    """A picture that is not decoded yet.

    Attributes:
        name: what people know it by: its path below the folder, or its row.
        file: a path, the bytes, what returns them, or None for an empty row.
        labels: -1 or 1 for each of the source's labels: (k,) int8.
        problem: why its labels are not known, in a few words: it is as good as damaged.
    """

    name: str
    file: str | Path | bytes | Callable[[], bytes] | None
    labels: np.ndarray = NO_LABELS
    problem: str | None = None

    def pixels(self) -> torch.Tensor:
        """(1, 3, height, width) uint8, upright and opaque.

        Raises:
            ValueError: whatever is wrong with it, in a few words.
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


@dataclass
class Folder:
    """What a folder holds.

    Attributes:
        splits: pictures by split, sorted by name.
        label_names: of the labels that pictures have, by split; none of a split whose pictures have none.
        left_out: how many files of each kind are not among them.
        fingerprint: changes when a picture is added, removed, resized, rewritten, or put into another split, or when
            its labels change.
    """

    splits: dict[str, list[Picture]] = field(default_factory=dict)
    label_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    fingerprint: str = ""

    def describe(self) -> str:
        counts = {split: len(pictures) for split, pictures in self.splits.items()}
        parts = "" if counts.keys() <= {"train"} else f" ({', '.join(f'{s} {n:,}' for s, n in counts.items())})"
        plural = "" if sum(counts.values()) == 1 else "s"
        return f"{sum(counts.values()):,} picture{plural}{parts}{self.describe_left_out()}"

    def describe_left_out(self) -> str:
        common = self.left_out.most_common(8)
        if rest := len(self.left_out) - len(common):
            common.append((f"of {rest} other kinds", self.left_out.total() - sum(count for _, count in common)))
        return "; left out: " + ", ".join(f"{count:,} {kind}" for kind, count in common) if common else ""


def canonical(split: str) -> str:
    """One name for all names of a split: "valid" for "validation"."""
    return _SPLITS.get(split.lower(), split)


@functools.cache
def _readable_formats() -> tuple[str, ...]:
    """Those that Pillow reads here."""
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in (*decoding.FORMATS, "HEIF") if name in Image.OPEN)


@functools.cache
def extensions() -> frozenset[str]:
    """Of all files that are taken for pictures, in lower case."""
    formats = _readable_formats()
    return frozenset(extension for extension, name in Image.registered_extensions().items() if name in formats)


def files_below(folder: Path, left_out: Counter[str]) -> Iterator[tuple[str, Path]]:
    """All files, with their paths below the folder; linked folders are entered, each once, and litter is not."""
    seen = {folder.resolve()}
    for where, folders, names in os.walk(
        folder, followlinks=True, onerror=lambda error: left_out.update(["folders that cannot be read"])
    ):
        kept = []
        for name in sorted(folders):
            if not _is_litter(name) and (real := Path(where, name).resolve()) not in seen:
                seen.add(real)
                kept.append(name)
        folders[:] = kept
        below = Path(where).relative_to(folder)
        prefix = "" if below == Path() else f"{below.as_posix()}/"
        for name in sorted(names):
            if not _is_litter(name):
                yield prefix + name, Path(where, name)


def scan(folder: Path, files: list[tuple[str, Path]], left_out: Counter[str]) -> Folder:
    """Find the pictures among the files of a folder.

    Where CelebA's partition file is among them, or beside a folder of CelebA's own naming, it says what is train,
    valid and test. Otherwise folders of those names do, and all other pictures are train.

    Labels are CelebA's attributes, where its file of them is there too; otherwise, where all pictures of a split lie in
    two to 50 folders directly below the split's own, as train/cat and train/dog, the names of these.

    Raises:
        TrainingError: the partition file holds no partition, or the file of attributes no attributes.
    """
    found: list[tuple[str, tuple, Picture]] = []  # Name, what changes when it is rewritten, and the picture.
    partition_file = _find_list(folder, files, PARTITION_FILES)
    attribute_file = _find_list(folder, files, ATTRIBUTE_FILES)
    for name, path in files:
        extension = path.suffix.lower()
        if extension in extensions():
            try:
                status = path.stat()
            except OSError:
                left_out["broken links"] += 1
                continue
            found.append((name, (status.st_size, status.st_mtime_ns), Picture(name, path)))
        elif extension == ".zip":
            beside = name[: -len(extension)] + "/"
            if any(other.startswith(beside) for other, _ in files):
                left_out[".zip (unpacked beside it)"] += 1
            else:
                found.extend(_in_zip(name, path, left_out))
        elif path not in (partition_file, attribute_file):
            left_out[_kind(extension)] += 1
    found.sort(key=lambda entry: entry[0])
    split_of = (
        {name: split for name, _, _ in found if (split := _split_by_folders(name))}
        if partition_file is None
        else _split_by_partition([name for name, _, _ in found], partition_file, left_out)
    )
    result = Folder(left_out=left_out)
    digest = hashlib.sha256()
    for split in SPLIT_NAMES:
        its = [entry for entry in found if split_of.get(entry[0]) == split]
        if its:
            result.splits[split] = [picture for _, _, picture in its]
            digest.update(json.dumps([split, *((name, stamp) for name, stamp, _ in its)]).encode())
    if attribute_file is not None:
        _label_by_attributes(result, attribute_file)
    elif partition_file is None:
        _label_by_classes(result)
    for split, names in result.label_names.items():
        digest.update(json.dumps([split, names]).encode())
        digest.update(b"".join(picture.labels.tobytes() or b"?" for picture in result.splits[split]))
    result.fingerprint = digest.hexdigest()[:40]
    return result


def fingerprint(files: list[tuple[str, Path]]) -> str:
    """Changes when a file is added, removed, resized or rewritten."""
    stamps = [(name, *_stamp(path)) for name, path in files]
    return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:40]


def printable(name: str) -> str:
    """A file's name as any terminal takes it: names on Linux are bytes of any kind."""
    return name.encode("utf-8", "backslashreplace").decode()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:  # A link to nowhere.
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name in LITTER


def _kind(extension: str) -> str:
    if extension in HEIF_EXTENSIONS:
        return f"{extension} (pip install pillow-heif reads them)"
    if extension in ARCHIVE_EXTENSIONS:
        return f"{extension} (unpack them)"
    return printable(extension) or "without an ending"


def _in_zip(name: str, path: Path, left_out: Counter[str]) -> Iterator[tuple[str, tuple, Picture]]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        left_out[".zip (damaged)"] += 1
        return
    for member in archive.infolist():
        parts = PurePosixPath(member.filename)
        if member.is_dir() or any(map(_is_litter, parts.parts)):
            continue
        if parts.suffix.lower() not in extensions():
            left_out[_kind(parts.suffix.lower())] += 1
        elif member.flag_bits & 1:
            left_out["in a zip file with a password"] += 1
        else:
            inside = f"{name}/{member.filename}"
            read = functools.partial(archive.read, member)
            yield inside, (member.file_size, member.CRC), Picture(inside, read)


def _split_by_folders(name: str) -> str:
    return next(filter(None, map(_split_of_folder, PurePosixPath(name).parts[:-1])), "train")


def _split_of_folder(folder: str) -> str | None:
    return _SPLITS.get(folder.lower().removesuffix(".zip"))


def _find_list(folder: Path, files: list[tuple[str, Path]], names: tuple[str, ...]) -> Path | None:
    """A file that says something of every picture, by its name."""
    for _, path in files:
        if path.name in names:
            return path
    # CelebA's pictures alone, named as torchvision and as its own site have them, with the file outside.
    outside = []
    folder = folder.resolve()
    if folder.name == "Img" or folder.name.startswith("img_align_celeba"):
        outside = [above / place for above in (folder.parent, folder.parent.parent) for place in _PLACES]
    paths = (place / name for place in outside for name in names)
    return next((path for path in paths if path.is_file()), None)


def _split_by_partition(names: list[str], file: Path, left_out: Counter[str]) -> dict[str, str]:
    partition = {
        PurePosixPath(words[0]).stem: PARTITION[words[1]]
        for words in _read_list(file)
        if len(words) == 2 and words[1] in PARTITION
    }
    if not partition:
        raise TrainingError(f"{file} has no line such as '000001.jpg 0': restore it, or move it away")
    # The same pictures may be there twice, as JPEG and PNG or aligned and not: the aligned ones are CelebA's faces.
    chosen: dict[str, str] = {}
    for name in sorted(names, key=lambda name: ("img_align_celeba" not in name, name)):
        stem = PurePosixPath(name).stem
        if stem not in partition:
            left_out[f"that {file.name} does not name"] += 1
        elif stem in chosen:
            left_out["that are there twice"] += 1
        else:
            chosen[stem] = name
    return {name: partition[stem] for stem, name in chosen.items()}


def _label_by_attributes(found: Folder, file: Path) -> None:
    lines = [words for words in _read_list(file) if len(words) > 1 or not words[0].isdecimal()]
    names, rows = (lines[0], lines[1:]) if lines else ([], [])
    if rows and len(names) == statistics.mode(map(len, rows)):  # With a name for the column of pictures.
        names = names[1:]
    attributes = {
        PurePosixPath(words[0]).stem: np.array([word == "1" for word in words[1:]], np.int8) * 2 - 1
        for words in rows
        if len(words) == len(names) + 1 and {"-1", "0", "1"}.issuperset(words[1:])
    }
    if not names or not attributes:
        raise TrainingError(f"{file} has no names and no line such as '000001.jpg -1 1': restore it, or move it away")
    problem = f"{file.name} has no line of it, or a damaged one."
    for split, pictures in found.splits.items():
        found.label_names[split] = tuple(names)
        for number, picture in enumerate(pictures):
            labels = attributes.get(PurePosixPath(picture.name).stem)
            pictures[number] = picture._replace(problem=problem) if labels is None else picture._replace(labels=labels)


def _label_by_classes(found: Folder) -> None:
    classes = {split: [_class_folder(picture.name) for picture in found.splits[split]] for split in found.splits}
    names: list[str] = []
    for split, its in classes.items():
        known = {name for name in its if name is not None}
        if None in its or not (known.issubset(names) if names else 2 <= len(known) <= MOST_CLASSES):
            continue
        names = names or sorted(known)
        found.label_names[split] = tuple(map(printable, names))
        labels = dict(zip(names, np.eye(len(names), dtype=np.int8) * 2 - 1))
        found.splits[split] = [
            picture._replace(labels=labels[name]) for picture, name in zip(found.splits[split], its) if name is not None
        ]


def _class_folder(name: str) -> str | None:
    """The folder directly below that of a picture's split; None where there is none, or a zip file instead."""
    *folders, _ = PurePosixPath(name).parts
    for folder, below in itertools.pairwise(folders):
        if _split_of_folder(folder):
            return None if below.lower().endswith(".zip") else below
    return None


def _read_list(file: Path) -> list[list[str]]:
    """The words of its lines, whether blanks or commas are between them; empty lines left out."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise TrainingError(f"{file} cannot be read: {error.strerror}") from error
    return [words for line in lines if (words := line.replace(",", " ").split())]
