"""A folder of pictures: all of them below it, in zip files too, with the split and the labels of each."""

import functools
import hashlib
import itertools
import json
import os
import posixpath
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, cast

import numpy as np

from .labels import MOST_CLASSES, by_picture, finder, label_by_lists, read_list
from .settings import DataSettings, TrainingError, printable
from .source import SPLITS, Picture, Source, choose, extensions

# Files that are no pictures here, and what makes pictures of them.
HINTS = dict.fromkeys((".heic", ".heif", ".hif"), " (pip install pillow-heif reads them)")
HINTS |= dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"), " (unpack them)")

# Thumbnails, deleted files and parts of files, which systems leave in folders; names that begin with a dot are others.
LITTER = {"__MACOSX", "@eaDir", "$RECYCLE.BIN"}

# What a run and a cache of faces are made of. No training should see a run's own pictures.
OURS = {"run.json", "metrics.jsonl", "checkpoint.pt", "loss.png", "samples", "reconstructions", "interpolations"}
OURS |= {"snapshots", "model", "model.tmp", "faces.u8", "state.json", "lock"}

# A folder of a split may say more than its name, as train2017, training_set and test-images do.
_SPLIT_FOLDER = re.compile(rf"({'|'.join(SPLITS)})([-_ ]?(set|data|images?|pictures|faces|\d{{4}}))?(\.zip)?")

# CelebA's own list of splits, which has a line for each picture, with 0, 1 or 2; Kaggle's has commas.
PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")
PARTITION = {"0": "train", "1": "valid", "2": "test"} | SPLITS

# CelebA's own list of attributes: their names, and a line of -1 and 1 for each picture. One's own may hold words, and
# whatever separators a spreadsheet writes.
ATTRIBUTE_FILES = ("list_attr_celeba.txt", "list_attr_celeba.csv")

# The lists of the Hub's folders of images. Each names the pictures of its own folder and below.
METADATA_FILES = ("metadata.csv", "metadata.jsonl")


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

    def read(self) -> bytes:
        return self.content() if callable(self.content) else self.content.read_bytes()


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
        for name in sorted(name for name in names if not _is_litter(name, litter)):
            path, file = Path(where, name), (below / name).as_posix()
            if not os.path.exists(path):
                left_out["broken links"] += 1
            elif not os.path.isfile(path):  # A pipe would be waited for without end.
                left_out[f"{printable(file)} (no regular file)"] += 1
            elif _is_pointer(path):
                left_out["Git LFS pointers (git lfs pull fetches the files)"] += 1
            else:
                yield _file(file, path)


def _file(name: str, path: Path) -> File:
    status = path.stat()
    return File(name, (status.st_size, status.st_mtime_ns), path)


def _is_pointer(path: Path) -> bool:
    """Whether Git LFS has left the address of a file in its place."""
    is_small = path.stat().st_size < 200 and os.access(path, os.R_OK)
    return is_small and path.read_bytes().startswith(b"version https://git-lfs")


def _is_litter(name: str, litter: set[str] = LITTER) -> bool:
    return name.startswith(".") or name in litter


def fingerprint(files: list[File]) -> str:
    """Changes when a file is added, removed, resized or rewritten."""
    stamps = [(file.name, *file.stamp) for file in files]
    return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:40]


def describe_left_out(left_out: Counter[str]) -> str:
    kinds = [f"{count:,} {kind}" for kind, count in left_out.most_common()]
    more = ["and others"] if len(kinds) > 8 else []
    return "; left out: " + ", ".join(kinds[:8] + more) if kinds else ""


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
        if not member.is_dir() and not any(map(_is_litter, PurePosixPath(name).parts)):
            read = functools.partial(archive.read, member)
            yield File(f"{file.name}/{name}", (member.file_size, member.CRC), read)


class FolderSource(Source):
    """The pictures among the files of a folder. `size` is 0 where there are none.

    CelebA's own list of splits says what is train, valid and test, if it is among the files or beside a folder of
    CelebA's own naming. Otherwise folders of these names do, and all other pictures are train.

    Labels are the columns of CelebA's own list of attributes, or one like it, or of the metadata of the Hub's folders of
    images. Where these hold none, they are the names of the folders directly below a split's own, as train/cat and
    train/dog, if all pictures of the split lie in two to 50 of these.

    Pictures of a class, or of a person, have names that follow each other. So pictures are put in the order of a hash of
    their names, which is as good as random, and keeps its order when a picture is added or removed.

    Raises:
        UnknownSplit: the folder has no such split.
        TrainingError: the list of splits cannot be read.
    """

    def __init__(self, settings: DataSettings, split: str, files: list[File], left_out: Counter[str]):
        folder = cast(Path, settings.dataset_folder).resolve()
        files = list(_with_those_in_zips(files, left_out))
        partition, attributes = (_find_list(folder, files, names) for names in (PARTITION_FILES, ATTRIBUTE_FILES))
        lists = [attributes] if attributes else [file for file in files if file.base in METADATA_FILES]
        heeded = [file for file in (partition, *lists) if file]
        found = [file for file in files if file.extension in extensions()]
        found.sort(key=lambda file: hashlib.sha256(file.name.encode("utf-8", "surrogatepass")).digest())
        super().__init__(settings, split, fingerprint([*found, *heeded]))
        others = [file.extension for file in files if file.extension not in extensions() and file not in heeded]
        left_out.update(printable(its) + HINTS.get(its, "") or "without an ending" for its in others)
        names = [file.name for file in found]
        split_of = _by_list(names, partition, left_out) if partition else {name: _by_folders(name) for name in names}
        splits = {
            name: [file for file in found if split_of.get(file.name) == name] for name in dict.fromkeys(SPLITS.values())
        }
        splits = {name: its for name, its in splits.items() if its}
        chosen = choose(split, list(splits), self.dataset) if splits else []
        self._pictures = self._labelled([file for name in chosen for file in splits[name]], lists, splits)
        self.size, total = len(self._pictures), sum(map(len, splits.values()))
        parts = ", ".join(f"{name} {len(its):,}" for name, its in splits.items())
        self.description = f"{total:,} picture{'s' * (total != 1)}{f' ({parts})' * (list(splits) != ['train'])}"
        self.description += describe_left_out(left_out)

    def pictures(self, start: int = 0) -> Iterator[Picture]:
        return iter(self._pictures[start:])

    def _labelled(self, chosen: list[File], lists: list[File], splits: dict[str, list[File]]) -> list[Picture]:
        """The pictures of these files, and their labels. Sets what the labels are."""
        names, tables, note = [file.name for file in chosen], [], ""
        try:
            for file in lists:
                below = file.name[: -len(file.base)] if file.base in METADATA_FILES else ""
                if any(name.startswith(below) for name in names):
                    tables.append(by_picture(read_list(file.name, file.read), below))
            if tables:
                title = PurePosixPath(lists[0].name).name
                rows, self.label_names, self.label_note = label_by_lists(names, title, tables)
        except ValueError as error:
            note = f"{printable(str(error))}; "
        if not self.label_names:
            rows, self.label_names, reason = self._by_classes(names, splits)
            self.label_note = (note + reason).removesuffix("; ")
        return [Picture(file.name, file.content, row) for file, row in zip(chosen, rows)]

    def _by_classes(self, names: list[str], splits: dict[str, list[File]]) -> tuple[np.ndarray, tuple[str, ...], str]:
        """The labels of pictures by their folders, (n, k) int8, the classes, and why there are none.

        All classes are in the first split.
        """
        split, first = next(iter(splits.items()), ("train", []))
        # The folder of the data set may be that of a split itself.
        folder = cast(Path, self.folder).resolve().name
        found = [_class_folder(f"{folder}/{name}") for name in names]
        classes = sorted({its for file in first if (its := _class_folder(f"{folder}/{file.name}"))})
        places: dict[str | None, int] = {its: place for place, its in enumerate(classes)}
        outside = sorted(name for name, its in zip(names, found) if its not in places)
        reason = ""
        if outside:
            count = f"{len(outside):,} of {len(names):,} pictures"
            reason = f"{outside[0]} lies in no class folder, such as {split}/{[*classes, 'cat'][0]} ({count})"
        elif len(classes) == 1:
            reason = f"there is one class folder only: {split}/{classes[0]}"
        elif len(classes) > MOST_CLASSES:
            reason = f"there are {len(classes):,} folders in {split}, and {MOST_CLASSES} classes are the most"
        if reason or not names:
            return np.empty((len(names), 0), np.int8), (), printable(reason)
        rows = np.eye(len(classes), dtype=np.int8) * 2 - 1
        return rows[[places[its] for its in found]], tuple(map(printable, classes)), ""


def _find_list(folder: Path, files: list[File], names: tuple[str, ...]) -> File | None:
    """CelebA's list of one of these names; one in a zip file only where there is no other."""
    if inside := [file for file in files if file.base in names]:
        return min(inside, key=lambda file: callable(file.content))
    # The folder may be CelebA's pictures alone, named as by torchvision or on its own site, with the list outside.
    above = folder.parents[:2] if folder.name == "Img" or folder.name.startswith("img_align_celeba") else ()
    paths = [one / place / name for one in above for place in ("", "Eval", "Anno") for name in names]
    return next((_file(str(path), path) for path in paths if path.is_file()), None)


def _split_of_folder(folder: str) -> str | None:
    found = _SPLIT_FOLDER.fullmatch(folder.lower())
    return SPLITS[found[1]] if found else None


def _by_folders(name: str) -> str:
    """The split of a picture by the folders that it lies in."""
    return next(filter(None, map(_split_of_folder, PurePosixPath(name).parts[:-1])), "train")


def _by_list(names: list[str], partition: File, left_out: Counter[str]) -> dict[str, str]:
    """The split of each picture that a list of splits names."""
    try:
        rows = read_list(partition.name, partition.read, header=None).values.tolist()
        named = [(row[-2], split) for row in rows if len(row) > 1 and (split := PARTITION.get(row[-1].strip().lower()))]
        if not named:
            raise ValueError(f"{partition.name} has no line such as '000001.jpg 0'")
    except ValueError as error:
        raise TrainingError(f"{error}: restore it, or move it away") from error
    find = finder(name for name, _ in named)
    # A picture may be there twice, as JPEG and PNG or aligned and not: the aligned ones are CelebA's faces.
    chosen: dict[int, str] = {}
    for name in sorted(names, key=lambda name: ("img_align_celeba" not in name, name)):
        place = find(name)
        if place is None:
            left_out[f"that {PurePosixPath(partition.name).name} does not name"] += 1
        elif place in chosen:
            left_out["that are there twice"] += 1
        else:
            chosen[place] = name
    return {name: named[place][1] for place, name in chosen.items()}


def _class_folder(name: str) -> str | None:
    """The folder directly below the folder of a picture's split; None where there is none, or a zip file instead."""
    *folders, _ = PurePosixPath(name).parts
    for folder, below in itertools.pairwise(folders):
        if _split_of_folder(folder) and not _split_of_folder(below):
            return None if below.lower().endswith(".zip") else below
    return None
