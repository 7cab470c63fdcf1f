"""Faces, from wherever they are: streamed once, decoded once, kept as 64 x 64 bytes.

A background thread reads a source, decodes, crops and appends to a cache file, 12,288 bytes a face, and to another
beside it the face's labels, a byte each. Training reads the files behind it: the first epoch draws from what has come,
later ones touch neither network nor decoder. A state file beside them counts the faces that are safely on disk, so that a
fill that was cut short goes on where it stopped, and keeps a checksum of each chunk of them, so that a disk that does
not keep its word is noticed.
"""

import itertools
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self, cast

import numpy as np
import torch
from filelock import FileLock, Timeout

from models.images import IMAGE_SIZE, resize_and_crop

from . import distributed
from .folder import SPLIT_NAMES, Picture, canonical
from .labels import most_damaged
from .settings import DataSettings, Settings, TrainingError, printable
from .source import Source, UnknownSplit, find_source

FACE_SHAPE = (3, IMAGE_SIZE, IMAGE_SIZE)
FACE_BYTES = 3 * IMAGE_SIZE * IMAGE_SIZE

# Pictures decoded, written and counted at a time: 12 MB, small beside memory, large beside the cost of an fsync.
CHUNK = 1024

# CelebA's aligned pictures, as published and halved, and the share of their width that the literature keeps of them:
# 140 of 178 pixels, x from 19 to 159 and y from 39 to 179.
CELEBA_SIZES = ((178, 218), (89, 109))
CELEBA_CROP = 140 / 178

# In the first epoch a batch is drawn once so many times the faces are there that have been asked for until then. Tables
# are often sorted by class, and this shows how far ahead of training a stream can be without keeping it waiting.
LEAD = 4

# Damaged pictures that are told by name, and labels.
TOLD = 10

# Of a chunk: pictures of the source, faces made of them, and the checksum of these and their labels.
Chunk = tuple[int, int, int]

# A damaged picture: its number in the source, its name, and what is wrong.
Skipped = tuple[int, str, str]


@dataclass(frozen=True)
class State:
    """What the cache of a source holds.

    Attributes:
        crop: how the pictures are cropped; None before the first.
        label_names: of the labels that each face has.
        label_note: why there are none, or which columns are none.
        chunks: as they were appended.
        skipped: the damaged pictures among those of the source.
        expected: pictures in the source, where that is known.
        complete: whether the source has ended.
    """

    crop: float | None = None
    label_names: tuple[str, ...] = ()
    label_note: str = ""
    chunks: tuple[Chunk, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    expected: int | None = None
    complete: bool = False

    @property
    def pictures(self) -> int:
        return sum(pictures for pictures, _, _ in self.chunks)

    @property
    def count(self) -> int:
        return sum(faces for _, faces, _ in self.chunks)

    def on_disk(self, faces: int) -> Self:
        """What is left of it in a file of so many faces."""
        chunks = self.chunks
        while sum(count for _, count, _ in chunks) > faces:
            chunks = chunks[:-1]
        if chunks == self.chunks:
            return self
        left = replace(self, chunks=chunks, complete=False)
        return replace(left, skipped=tuple(entry for entry in self.skipped if entry[0] < left.pictures))


class Batch(NamedTuple):
    """Faces and what is known of them.

    Attributes:
        pixels: (n, 3, 64, 64) uint8.
        labels: (n, k) int8, -1 or 1; k is 0 where the data set has none.
    """

    pixels: torch.Tensor
    labels: torch.Tensor


class Faces:
    """The faces of a source and their labels as tensors, readable while a background thread still fills the cache.

    Args:
        source: where they come from.
        cache_dir: folder of all caches.
        limit: use the first `limit` faces only.
        skip: leave out the first `skip` of those.
        fill: fill the cache where faces are missing; otherwise wait for another process of this machine to do it.
        strict: stop at the first damaged picture rather than leave it out.

    Raises:
        TrainingError: here or from any method that waits or reads: the source cannot be read, or too much of it is
            damaged, or another process is filling the same cache, or it cannot be written.
    """

    def __init__(
        self,
        source: Source,
        cache_dir: Path,
        limit: int | None = None,
        skip: int = 0,
        fill: bool = True,
        strict: bool = False,
    ):
        self.source, self.limit, self.skip, self.strict = source, limit, skip, strict
        self._folder = Path(cache_dir).expanduser() / source.cache_name
        self._pixels_path, self._labels_path = self._folder / "faces.u8", self._folder / "labels.i8"
        self._state_path = self._folder / "state.json"
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._filler: threading.Thread | None = None
        self._map, self._labels_map = np.empty((0, *FACE_SHAPE), np.uint8), np.empty((0, 0), np.int8)
        self._held: Batch | None = None
        self._checked: set[int] = set()  # The chunks whose checksums were right.
        self._state = self._read_state()
        self._crop = source.crop or self._state.crop
        if strict and self._state.skipped:
            raise TrainingError(_strictly(source, self._state.skipped[0]))
        if fill and not self._is_enough():
            self._filler = threading.Thread(target=self._fill, name="faces", daemon=True)
            self._filler.start()

    def __len__(self) -> int:
        """How many there are; waits for the end of the stream. Prefer `size_if_known`."""
        self.wait_for(None)
        return self._available()

    @property
    def crop(self) -> float:
        """The share of the shorter side of each picture that is seen; waits for the first."""
        self.wait_for(1)
        return cast(float, self._state.crop)  # None only where there are no faces at all.

    @property
    def label_names(self) -> tuple[str, ...]:
        """Of the labels that every face has, none where the data set has none; waits for the first face."""
        self.wait_for(1)
        return self._state.label_names

    @property
    def label_note(self) -> str:
        """Why there are no labels, or which columns of the data set are none; waits for the first face."""
        self.wait_for(1)
        return self._state.label_note

    @property
    def is_cached(self) -> bool:
        """Whether all of them were there before."""
        return self._filler is None

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The damaged pictures so far."""
        return self._state.skipped

    def size_if_known(self) -> int | None:
        """How many there are or, while the stream runs, will be by the data set's own account."""
        with self._changed:
            if self._is_enough():
                return self._available()
            expected = self._state.expected
            if expected is None:
                return None
            expected -= len(self._state.skipped)
            return max(0, min(expected, self.limit or expected) - self.skip)

    def wait_for(self, count: int | None) -> int:
        """Wait until `count` faces are there (None: all of them), or the stream ends; returns how many are."""
        with self._changed:
            while not self._is_enough() and (count is None or self._available() < count):
                if self._failure is not None:
                    raise self._failure
                # A timeout, since a wait without one would keep Ctrl-C waiting too.
                self._changed.wait(timeout=0.2)
                if self._filler is None:
                    self._state = self._read_state()
            return self._available()

    def __getitem__(self, index: slice | np.ndarray) -> torch.Tensor:
        """Faces that are there already, (n, 3, 64, 64) uint8; a slice without an end waits for all."""
        there = self._checked_range(index)
        return torch.from_numpy(np.array(self._map[there][index]))

    def labels(self, index: slice | np.ndarray) -> torch.Tensor:
        """Those of the same faces: (n, len(label_names)) int8, -1 or 1."""
        there = self._checked_range(index)
        return torch.from_numpy(np.array(self._labels_map[there][index]))

    def sample(self, count: int, seed: int) -> Batch:
        """So many faces and their labels, drawn at random from all of them, which it waits for; all where there are fewer.

        The first ones may be of one class.
        """
        chosen = np.random.default_rng(seed).permutation(len(self))[:count]
        return Batch(self[chosen], self.labels(chosen))

    def _checked_range(self, index: slice | np.ndarray) -> slice:
        """Of the mapped files, where the faces are that are there already; the indexed ones are as they were written."""
        if isinstance(index, slice) and index.stop is None:
            self.wait_for(None)
        with self._changed:
            state, count = self._state, self._available()
        first, end = (self.skip, self.skip + count) if count else (0, 0)
        if end > len(self._map):
            self._map = np.memmap(self._pixels_path, np.uint8, mode="r", shape=(state.count, *FACE_SHAPE))
            self._labels_map = np.empty((state.count, 0), np.int8)
            if state.label_names:  # An empty file cannot be mapped.
                shape = (state.count, len(state.label_names))
                self._labels_map = np.memmap(self._labels_path, np.int8, mode="r", shape=shape)
        if len(self._checked) < len(state.chunks):
            within = range(first, end)[index] if isinstance(index, slice) else range(first, end)
            self._check(state, within)
        return slice(first, end)

    def hold(self, device: torch.device) -> bool:
        """Wait for all faces and keep them in the device's memory, from where `batches` then takes them.

        Of a GPU's memory they may take half of what is free; where that is not enough, nothing happens.

        Returns:
            Whether they are there.
        """
        if self._held is None:
            count = len(self)
            if device.type == "cuda" and count * FACE_BYTES > torch.cuda.mem_get_info(device)[0] / 2:
                return False
            held = torch.empty((count, *FACE_SHAPE), dtype=torch.uint8, device=device)
            for first in range(0, count, CHUNK):
                held[first : first + CHUNK] = self[first : first + CHUNK].to(device)
            self._held = Batch(held, self.labels(slice(count)).to(device))
        return True

    def batches(self, epoch: int, batch_size: int, seed: int, start: int = 0) -> Iterator[Batch]:
        """One epoch's batches, the last short one left out, each of batch_size faces and their labels, on the CPU
        unless another device holds them; of several processes, each gets its rows of every batch.

        Epoch 1 draws from the faces that have come, since others may still be on their way; every later one from all.
        Either depends on `seed` and `epoch` alone: the batches are the same whether the faces were cached before or not.

        Args:
            start: batches to leave out at the beginning, for a run that resumes.
        """
        if epoch == 1:
            for chosen in itertools.islice(self._as_they_come(batch_size, seed), start, None):
                mine = distributed.mine(chosen)
                yield Batch(self[mine], self.labels(mine))
            return
        order: np.ndarray | torch.Tensor = np.random.default_rng([seed, epoch]).permutation(len(self))
        held = self._held
        if held is not None:
            order = torch.from_numpy(order).to(held.pixels.device)
        for first in range(start * batch_size, len(order) - batch_size + 1, batch_size):
            mine = distributed.mine(order[first : first + batch_size])
            if held is None:
                yield Batch(self[mine], self.labels(mine))
            else:
                yield Batch(held.pixels[mine], held.labels[mine])

    def _as_they_come(self, batch_size: int, seed: int) -> Iterator[np.ndarray]:
        """Which faces are in each batch of the first epoch, every face once."""
        random, came, waiting = np.random.default_rng([seed, 1]), 0, np.empty(0, np.int64)
        for number in itertools.count(1):
            wanted = number * batch_size * LEAD
            here = min(wanted, self.wait_for(wanted))
            waiting = np.concatenate([waiting, np.arange(came, here)])
            came = here
            if len(waiting) < batch_size:
                return
            chosen = random.choice(len(waiting), batch_size, replace=False)
            yield waiting[chosen]
            waiting = np.delete(waiting, chosen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop filling. What is cached stays, and the next run goes on from there."""
        self._stop.set()
        if self._filler is not None:
            self._filler.join(timeout=5)

    def _available(self) -> int:
        count = self._state.count
        return max(0, min(count, self.limit or count) - self.skip)

    def _is_enough(self) -> bool:
        return self._state.complete or (self.limit is not None and self._state.count >= self.limit)

    # The state.

    def _read_state(self) -> State:
        try:
            described = json.loads(self._state_path.read_bytes())
            if described.pop("checksum") != _checksum(described):
                return State()
            del described["source"]
            for name in ("chunks", "skipped"):
                described[name] = tuple(map(tuple, described[name]))
            described["label_names"] = tuple(described["label_names"])
            state = State(**described)
            # Faces past the count may be half written; of a file shorter than its count, the end is filled again.
            faces = self._pixels_path.stat().st_size // FACE_BYTES
            if state.label_names:
                faces = min(faces, self._labels_path.stat().st_size // len(state.label_names))
            return state.on_disk(faces)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return State()  # Nothing there, or of another version, or damaged.

    def _save_state(self, change: Callable[[State], State]) -> None:
        with self._changed:
            state = change(self._state)
            described = json.loads(json.dumps({"source": self.source.identity, **asdict(state)}))
            described["checksum"] = _checksum(described)
            temporary = self._state_path.with_suffix(".tmp")
            with self._writing():
                temporary.write_text(json.dumps(described), encoding="utf-8")
                os.replace(temporary, self._state_path)
            self._state = state
            self._changed.notify_all()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Timeout:
            raise TrainingError(
                f"another process is filling the cache {self._folder}: start again when it is done"
            ) from None
        except OSError as error:
            reason = error.strerror or error
            raise TrainingError(f"--cache-dir: the cache {self._folder} cannot be written: {reason}") from error

    # Filling.

    def _fill(self) -> None:
        try:
            with self._writing():
                self._folder.mkdir(parents=True, exist_ok=True)
                lock = FileLock(self._folder / "lock")
                lock.acquire(timeout=0)
            try:
                with self._changed:
                    self._state = self._read_state()
                self._append_stream()
            finally:
                lock.release()
        except Exception as error:
            with self._changed:
                self._failure = self._in_words(error)
                self._changed.notify_all()

    def _append_stream(self) -> None:
        pictures = self.source.pictures(self._state.pictures)
        with (
            self._writing(),
            _open_to_append(self._pixels_path, self._state.count * FACE_BYTES) as pixels_file,
            _open_to_append(self._labels_path, self._state.count * len(self._state.label_names)) as labels_file,
            # One thread: small pictures are decoded in such short turns that more of them wait for the interpreter's
            # lock. While it decodes one chunk, this one writes the chunk before.
            ThreadPoolExecutor(1) as decoder,
        ):
            arrived = self._state.pictures
            batch: list[Picture] = []
            decoding = decoder.submit(self._decode, batch, arrived)
            while not self._stop.is_set() and not self._is_enough():
                before, decoded = batch, decoding
                left = CHUNK if self.limit is None else self.limit - self._state.count - len(before)
                wanted = max(0, min(CHUNK, left))
                batch = self._read(pictures, wanted)
                decoding = decoder.submit(self._decode, batch, arrived)
                arrived += len(batch)
                faces, labels, skipped = decoded.result()
                self._check_skipped(skipped)
                _write(pixels_file, faces)
                _write(labels_file, labels)
                complete = wanted > 0 and not batch
                if before or complete:
                    chunk = (len(before), len(faces), _checksum_of(faces, labels))
                    self._save_state(partial(self._extended, chunk=chunk, skipped=skipped, complete=complete))

    def _extended(self, state: State, chunk: Chunk, skipped: list[Skipped], complete: bool) -> State:
        return State(
            self._crop,
            *(
                (state.label_names, state.label_note)
                if state.chunks
                else (self.source.label_names, self.source.label_note)
            ),
            (*state.chunks, chunk),
            (*state.skipped, *skipped),
            self.source.size or state.expected,
            complete,
        )

    def _read(self, pictures: Iterator[Picture], count: int) -> list[Picture]:
        try:
            read = list(itertools.islice(pictures, count))
        except Exception as error:
            raise self._in_words(error) from error
        if read and self._state.chunks and self.source.label_names != self._state.label_names:
            raise TrainingError(f"the cache {self._folder} holds other labels than {self.source.dataset}: delete it")
        return read

    def _in_words(self, error: Exception) -> TrainingError:
        if isinstance(error, TrainingError):
            return error
        # Whatever a reader of somebody's files raises is about those files.
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        return TrainingError(f"cannot read split {self.source.split!r} of {self.source.dataset}: {reason}")

    def _decode(self, pictures: list[Picture], first: int) -> tuple[np.ndarray, np.ndarray, list[Skipped]]:
        faces = np.empty((len(pictures), *FACE_SHAPE), np.uint8)
        labels = np.empty((len(pictures), len(self.source.label_names)), np.int8)
        count, skipped = 0, []
        for number, picture in enumerate(pictures, first):
            try:
                pixels = picture.pixels()
            except ValueError as error:
                skipped.append((number, printable(picture.name), printable(str(error))))
                continue
            if self._crop is None:
                self._crop = crop_by_itself(pixels)
            faces[count], labels[count] = resize_and_crop(pixels, self._crop)[0].numpy(), picture.labels
            count += 1
        return faces[:count], labels[:count], skipped

    def _check_skipped(self, skipped: list[Skipped]) -> None:
        """Tell of damaged pictures, and raise TrainingError if there are too many of them."""
        told = len(self._state.skipped)
        if skipped and self.strict:
            raise TrainingError(_strictly(self.source, skipped[0]))
        for number, (_, name, reason) in enumerate(skipped, told + 1):
            if number <= TOLD and distributed.is_main():
                more = "; further ones are counted only" if number == TOLD else ""
                print(f"{name} cannot be read and is left out: {reason}{more}", flush=True)
        pictures = self.source.size or self._state.pictures + CHUNK
        most = most_damaged(pictures)
        if told + len(skipped) > most:
            raise TrainingError(
                f"{self.source.dataset}: more than {most} pictures cannot be read, the last of them {skipped[-1][1]}: "
                f"{skipped[-1][2]}; mend or remove them"
            )

    # What a disk did to it.

    def _check(self, state: State, within: range) -> None:
        """Compare the checksums of the chunks in a range of faces, once, and decode damaged ones again."""
        face = picture = 0
        for number, (pictures, faces, checksum) in enumerate(state.chunks):
            if number not in self._checked and face < within.stop and within.start < face + faces:
                there = slice(face, face + faces)
                if _checksum_of(self._map[there], self._labels_map[there]) != checksum:
                    self._decode_again(state, number, face, picture)
                self._checked.add(number)
            face, picture = face + faces, picture + pictures

    def _decode_again(self, state: State, number: int, face: int, picture: int) -> None:
        pictures, faces, checksum = state.chunks[number]
        self._crop = state.crop
        print(f"Faces {face} to {face + faces - 1} of the cache {self._folder} are damaged: decoding them again.")
        decoded, labels, _ = self._decode(self._read(self.source.pictures(picture), pictures), picture)
        if len(decoded) != faces:
            raise TrainingError(
                f"the cache {self._folder} is damaged, and {self.source.dataset} holds other pictures now: delete it"
            )
        with self._writing(), open(self._pixels_path, "r+b") as file:
            file.seek(face * FACE_BYTES)
            _write(file, decoded)
        with self._writing(), open(self._labels_path, "r+b") as file:
            file.seek(face * len(state.label_names))
            _write(file, labels)
        if _checksum_of(decoded, labels) != checksum:  # Another version of a decoder may differ by a grey level.
            chunk = (pictures, faces, _checksum_of(decoded, labels))
            self._save_state(lambda now: replace(now, chunks=(*now.chunks[:number], chunk, *now.chunks[number + 1 :])))


class HeldOut(NamedTuple):
    """Faces that training must not see.

    Attributes:
        faces: (n, 3, 64, 64) uint8.
        split: the one that they are of.
        crop: how they were cropped.
        skip: how many faces at the start of the training split they are, for training to skip: 0 where they have a
            split of their own.
    """

    faces: torch.Tensor
    split: str
    crop: float
    skip: int


def open_faces(settings: Settings, skip: int = 0, labels_for: str | None = None) -> Faces:
    """The faces that a command trains on, at least one of which is there. Use as a context.

    Args:
        labels_for: the command, if it can do nothing without labels.

    Raises:
        TrainingError: as `open_split`; or there are no labels, and where they belong.
    """
    faces = open_split(settings, settings.split, settings.limit, skip)
    if labels_for and not faces.label_names:
        faces.__exit__()
        raise TrainingError(
            f"{labels_for} needs labels, and {settings.dataset} has none: {faces.label_note}. Labels are columns of a "
            "table, a file list_attr_celeba.csv beside the pictures, or class folders below the folder of their split, "
            "as in train/cat/1.jpg and train/dog/2.jpg"
        )
    if distributed.is_main():
        if faces.source.description:
            print(f"{settings.dataset} holds {faces.source.description}.")
        if faces.skipped and faces.is_cached:  # Otherwise they are told as they come.
            names = ", ".join(name for _, name, _ in faces.skipped[:3])
            print(f"{len(faces.skipped)} that cannot be read are left out: {names}{' ...' * (len(faces.skipped) > 3)}")
        print(describe_labels(faces.label_names, faces.label_note))
        print(f"Seen of each picture: {describe_crop(faces.crop)}{'' if settings.crop else ' (--crop sets it)'}.")
    return faces


def open_held_out(settings: DataSettings, split: str, count: int) -> HeldOut:
    """The first faces of a split, at most `count`. Where there is none of that name those of the split "valid", and
    where there is neither, or they are trained on, the first of the training split, at most a tenth of it.

    Raises:
        UnknownSplit: a split that is neither there nor called by one of the usual names.
        TrainingError: there are fewer than two of them.
    """
    reason = f"There is no split {split!r}"
    for name in dict.fromkeys((split, "valid")):
        if _overlap(name, settings.split):
            reason = f"{name!r} is trained on"
            break
        try:
            with open_split(settings, name, count) as faces:
                found = HeldOut(faces[: faces.wait_for(count)], name, faces.crop, 0)
        except UnknownSplit:
            if canonical(split) not in SPLIT_NAMES:
                raise
            continue
        if len(found.faces) < 2:
            raise TrainingError(f"split {name!r} of {settings.dataset} holds 1 face: two are the least to be held out")
        if name != split and distributed.is_main():
            print(f"{reason}: faces of {name!r} are held out.")
        return found
    # Known exactly, lest a run that resumes hold out others: of `size_if_known` damaged pictures may be lacking.
    with open_split(settings, settings.split, 10 * count) as faces:
        available = faces.wait_for(10 * count)
        held_out = min(count, max(2, available // 10))
        if available < held_out + 2:
            raise TrainingError(f"{settings.dataset} holds {available} faces: 4 are the least, 2 of them held out")
        if distributed.is_main():
            share = "" if held_out == count else f", a tenth of {available},"
            print(f"{reason}: the first {held_out} faces{share} of {settings.split!r} are held out.")
        return HeldOut(faces[:held_out], settings.split, faces.crop, held_out)


def _overlap(split: str, other: str) -> bool:
    """Whether two splits have faces in common."""
    mine, its = (set(map(canonical, name.split("+"))) for name in (split, other))
    return "all" in mine | its or not mine.isdisjoint(its)


def open_split(settings: DataSettings, split: str, limit: int | None = None, skip: int = 0) -> Faces:
    """Faces of any split, at least one of which is there. Use as a context.

    Raises:
        UnknownSplit: there is none of that name.
        TrainingError: it cannot be read, or holds nothing.
    """
    source = find_source(settings, split)
    faces = Faces(
        source, settings.cache_dir, limit and limit + skip, skip, distributed.is_first_here(), settings.strict
    )
    try:
        if not faces.wait_for(1) and not skip:
            reason = (
                f"of which none can be read: {': '.join(faces.skipped[0][1:])}" if faces.skipped else "which is empty"
            )
            raise TrainingError(f"{settings.dataset} has a split {split!r} {reason}")
    except BaseException:
        faces.__exit__()
        raise
    return faces


def crop_by_itself(pixels: torch.Tensor) -> float:
    """What share of the shorter side of a picture (1, 3, height, width) is kept, unless --crop says otherwise."""
    return CELEBA_CROP if pixels.shape[:1:-1] in CELEBA_SIZES else 1.0


def describe_labels(names: tuple[str, ...], note: str) -> str:
    """Labels in words, and why there are none or no others."""
    if not names:
        return f"No labels: {note}."
    told = ", ".join(names[:TOLD]) + " ..." * (len(names) > TOLD)
    return f"Labels ({len(names)}): {told}.{f' No labels: {note}.' if note else ''}"


def describe_crop(crop: float) -> str:
    """A crop in words."""
    if crop == 1:
        return "the centre square, as wide as the shorter side"
    share = "140/178" if crop == CELEBA_CROP else f"{crop:g}"
    return f"the centre square, {share} of the shorter side wide"


@contextmanager
def _open_to_append(path: Path, size: int) -> Iterator[BinaryIO]:
    """A file, there or not, of which all but the first bytes is cut off."""
    with open(path, "r+b" if path.exists() else "w+b") as file:
        file.truncate(size)
        file.seek(0, os.SEEK_END)
        yield file


def _write(file: BinaryIO, rows: np.ndarray) -> None:
    """Until it is on disk."""
    if rows.size:
        file.write(rows.data)
        file.flush()
        os.fsync(file.fileno())


def _checksum_of(faces: np.ndarray, labels: np.ndarray) -> int:
    return zlib.crc32(labels.tobytes(), zlib.crc32(faces.data))


def _checksum(described: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(described, sort_keys=True).encode())


def _strictly(source: Source, skipped: Skipped) -> str:
    _, name, reason = skipped
    return f"--strict: {name} of {source.dataset} cannot be read: {reason}"
