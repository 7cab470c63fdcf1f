"""A folder of pictures: every one below it, in zip files too, and the split that each belongs to."""

import functools
import hashlib
import importlib.util
import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

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


class Picture(NamedTuple):
    """A picture that is not decoded yet.

    Attributes:
        name: what people know it by: its path below the folder, or its row.
        file: a path, the bytes, what returns them, or None for an empty row.
    """

    name: str
    file: str | Path | bytes | Callable[[], bytes] | None

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
        return read_pixels(io.BytesIO(content) if isinstance(content, bytes) else content, _readable_formats())


@dataclass
class Folder:
    """What a folder holds.

    Attributes:
        splits: pictures by split, sorted by name.
        left_out: how many files of each kind are not among them.
        fingerprint: changes when a picture is added, removed, resized, rewritten, or put into another split.
    """

    splits: dict[str, list[Picture]] = field(default_factory=dict)
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

    Raises:
        TrainingError: the partition file holds no partition.
    """
    found: list[tuple[str, tuple, Picture]] = []  # Name, what changes when it is rewritten, and the picture.
    partition_file = _find_partition(folder, files)
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
        elif path != partition_file:
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
    for part in PurePosixPath(name).parts[:-1]:
        if split := _SPLITS.get(part.lower().removesuffix(".zip")):
            return split
    return "train"


def _find_partition(folder: Path, files: list[tuple[str, Path]]) -> Path | None:
    for _, path in files:
        if path.name in PARTITION_FILES:
            return path
    # CelebA's pictures alone, named as torchvision and as its own site have them, with the file outside.
    outside = []
    folder = folder.resolve()
    if folder.name == "Img" or folder.name.startswith("img_align_celeba"):
        outside = [folder.parent, folder.parent / "Eval", folder.parent.parent, folder.parent.parent / "Eval"]
    paths = (place / name for place in outside for name in PARTITION_FILES)
    return next((path for path in paths if path.is_file()), None)


def _split_by_partition(names: list[str], file: Path, left_out: Counter[str]) -> dict[str, str]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise TrainingError(f"{file} cannot be read: {error.strerror}") from error
    words = [line.replace(",", " ").split() for line in lines]
    partition = {
        PurePosixPath(word[0]).stem: PARTITION[word[1]] for word in words if len(word) == 2 and word[1] in PARTITION
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
