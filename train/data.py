"""Faces, from wherever they are: streamed once, decoded once, kept as 64 x 64 bytes.

A background thread reads a source, decodes and crops its pictures, and appends them to a cache file: a row for each face,
12,288 bytes and a byte for each label. Training reads the rows behind it: the first epoch draws from those that have
come, later ones need neither network nor decoder. state.json counts the rows that are safely on disk. A cache that was cut
short is filled again.
"""

import itertools
import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple, Self, cast

import numpy as np
import torch
from filelock import FileLock, Timeout

from models.hub import one_line
from models.images import IMAGE_SIZE, resize_and_crop

from . import distributed
from .distributed import say
from .labels import most_damaged
from .record import write_whole
from .settings import DataSettings, Settings, TrainingError, printable
from .source import SPLITS, Picture, Source, UnknownSplit, canonical
from .tables import find_source

FACE_SHAPE = (3, IMAGE_SIZE, IMAGE_SIZE)
FACE_BYTES = 3 * IMAGE_SIZE * IMAGE_SIZE

# Pictures that are decoded and written together: 12 MB, small beside memory, large beside the cost of an fsync.
CHUNK = 1024

# CelebA's aligned pictures, as published and halved, and the share of their width that the literature keeps: 140 of 178
# pixels, x from 19 to 159 and y from 39 to 179.
CELEBA_SIZES = ((178, 218), (89, 109))
CELEBA_CROP = 140 / 178

# In the first epoch, batch n waits for LEAD * n batches' worth of faces and draws from them, since tables are often sorted
# by class. Training does not wait for a stream that is at least 4 times as fast.
LEAD = 4

# Damaged pictures, and labels, that are told by name.
TOLD = 10


@dataclass(frozen=True)
class State:
    """The contents of a cache.

    Attributes:
        crop: the share of the shorter side of each picture that is seen; None before the first.
        label_names: the names of each face's labels.
        label_note: why there are no labels, or which columns are none.
        expected: pictures in the source, where that is known.
        complete: whether the source has ended.
        pictures: of the source that the faces were made of, damaged ones included.
        count: how many faces there are.
        skipped: pairs of the name of a damaged picture and what is wrong with it.
    """

    crop: float | None = None
    label_names: tuple[str, ...] = ()
    label_note: str = ""
    expected: int | None = None
    complete: bool = False
    pictures: int = 0
    count: int = 0
    skipped: tuple[Sequence[str], ...] = ()

    @property
    def row_bytes(self) -> int:
        return FACE_BYTES + len(self.label_names)


class Batch(NamedTuple):
    """Faces and their labels.

    Attributes:
        pixels: (n, 3, 64, 64) uint8.
        labels: (n, k) int8, -1 or 1; k is 0 where the data set has none.
    """

    pixels: torch.Tensor
    labels: torch.Tensor


class Faces:
    """The faces of a source and their labels, readable while a background thread still fills their cache.

    Use as a context: its end stops the thread. Cached faces stay, and the next run goes on from there. `crop` and
    `label_names` are known once the first face has come.

    Args:
        source: where they come from.
        limit: use the first `limit` faces only.
        skip: leave out the first `skip` of those.
        fill: fill the cache where faces are missing; otherwise wait for another process of this machine to do it.

    Attributes:
        state: what the cache holds so far.

    Raises:
        TrainingError: here, or from any method that waits: the source cannot be read, too much of it is damaged,
            another process is filling the same cache, or the cache cannot be written.
    """

    def __init__(self, source: Source, limit: int | None = None, skip: int = 0, fill: bool = True):
        self.source, self.skip, self.limit = source, skip, sys.maxsize if limit is None else limit
        self._folder = source.cache_folder
        self._rows_path, self._state_path = self._folder / "faces.u8", self._folder / "state.json"
        self._rows = np.empty((0, FACE_BYTES), np.uint8)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._filler: threading.Thread | None = None
        self.state = self._read_state()
        self._crop = source.crop or self.state.crop
        if fill and not self._is_enough():
            self._filler = threading.Thread(target=self._fill, name="faces", daemon=True)
            self._filler.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._filler is not None:
            self._filler.join(timeout=5)

    def __len__(self) -> int:
        """How many there are; waits for the end of the stream. Prefer `size_if_known`."""
        return self.wait_for(None)

    @property
    def crop(self) -> float:
        """The share of the shorter side of each picture that is seen."""
        return cast(float, self.state.crop)  # None only where there are no faces at all.

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels that every face has, none where the data set has none."""
        return self.state.label_names

    @property
    def is_cached(self) -> bool:
        """Whether all of them were there before."""
        return self._filler is None

    def size_if_known(self) -> int | None:
        """How many there are or, while the stream runs, how many there will be by the data set's own account."""
        if self._is_enough():
            return self._available(self.state.count)
        expected = self.state.expected
        return None if expected is None else self._available(expected - len(self.state.skipped))

    def wait_for(self, count: int | None) -> int:
        """Wait until `count` faces have come (None: all of them), or the stream ends; returns how many have."""
        with self._changed:
            while not self._is_enough() and (count is None or self._available(self.state.count) < count):
                if self._failure is not None:
                    raise self._failure
                # With a timeout, since a wait without one would keep Ctrl-C waiting too.
                self._changed.wait(timeout=0.2)
                if self._filler is None:
                    self.state = self._read_state()
            return self._available(self.state.count)

    def __getitem__(self, index: slice | np.ndarray) -> Batch:
        """Some of the faces that have come, and their labels; a slice without an end waits for all."""
        if isinstance(index, slice) and index.stop is None:
            self.wait_for(None)
        rows = torch.from_numpy(np.array(self._rows_that_came()[index]))
        return Batch(rows[:, :FACE_BYTES].unflatten(1, FACE_SHAPE), rows[:, FACE_BYTES:].view(torch.int8))

    def all_labels(self) -> torch.Tensor:
        """The labels (n, k) of all faces, -1 or 1; waits for all to come."""
        self.wait_for(None)
        return torch.from_numpy(np.array(self._rows_that_came()[:, FACE_BYTES:])).view(torch.int8)

    def _rows_that_came(self) -> np.ndarray:
        """The bytes of each face that has come, and its labels; on disk."""
        state = self.state
        end = self.skip + self._available(state.count)
        if end > max(self.skip, len(self._rows)):
            self._rows = np.memmap(self._rows_path, np.uint8, mode="r", shape=(state.count, state.row_bytes))
        return self._rows[self.skip : end]

    def sample(self, count: int, seed: int) -> Batch:
        """At most `count` faces at random from all, since the first ones may be of one class; waits for all to come."""
        return self[np.random.default_rng(seed).permutation(len(self))[:count]]

    def batches(self, epoch: int, batch_size: int, seed: int, start: int = 0) -> Iterator[Batch]:
        """One epoch's batches, each of `batch_size` faces, on the CPU; faces left over at the end make no batch.

        Each of several processes gets its rows of every batch. The first epoch draws from the faces that have come,
        later ones from all. Either depends on `seed` and `epoch` alone: the batches are the same whether the faces were
        cached before or not.

        Args:
            start: leave out so many batches at the beginning, for a run that resumes.
        """
        chosen = self._as_they_come(batch_size, seed) if epoch == 1 else self._at_random(epoch, batch_size, seed)
        for rows in itertools.islice(chosen, start, None):
            yield self[distributed.mine(rows)]

    def _at_random(self, epoch: int, batch_size: int, seed: int) -> Iterator[np.ndarray]:
        """The faces of each batch of a later epoch."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        for first in range(0, len(order) - batch_size + 1, batch_size):
            yield order[first : first + batch_size]

    def _as_they_come(self, batch_size: int, seed: int) -> Iterator[np.ndarray]:
        """The faces of each batch of the first epoch, each face once."""
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

    def _available(self, count: int) -> int:
        """How many of the first `count` faces of the source are within the limit and not left out."""
        return max(0, min(count, self.limit) - self.skip)

    def _is_enough(self) -> bool:
        return self.state.complete or self.state.count >= self.limit

    def _read_state(self) -> State:
        """What the cache holds; nothing if there is none, or if it is damaged or of another version."""
        try:
            described = json.loads(self._state_path.read_bytes())
            described |= {name: tuple(described[name]) for name in ("label_names", "skipped")}
            state = State(**{field.name: described[field.name] for field in fields(State)})
            return state if self._rows_path.stat().st_size >= state.count * state.row_bytes else State()
        except (OSError, ValueError, LookupError, TypeError):
            return State()

    def _fill(self) -> None:
        failure: Exception
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / "lock", timeout=0):
                self.state = self._read_state()
                self._append_stream()
            return
        except Timeout:
            failure = TrainingError(f"another process is filling the cache {self._folder}: start again when it is done")
        except OSError as error:
            reason = error.strerror or error
            failure = TrainingError(f"--cache-dir: the cache {self._folder} cannot be written: {reason}")
        except Exception as error:
            failure = error
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def _append_stream(self) -> None:
        pictures = self.source.pictures(self.state.pictures)
        # Whatever follows the rows of the state was half written, and is overwritten.
        with (
            open(self._rows_path, "r+b" if self._rows_path.exists() else "w+b") as file,
            ThreadPoolExecutor(1) as decoder,
        ):
            file.seek(self.state.count * self.state.row_bytes)
            batch = self._read(pictures)
            while not self._stop.is_set() and not self._is_enough():
                # One thread decodes, while this one reads what follows. Small pictures are decoded in such short turns
                # that more threads would wait for the interpreter's lock.
                decoding = decoder.submit(self._decode, batch)
                following = self._read(pictures)
                rows, skipped = decoding.result()
                self._check_skipped(skipped)
                file.write(rows.tobytes())
                file.flush()
                os.fsync(file.fileno())
                before = self.state
                state = State(
                    crop=self._crop,
                    label_names=self.source.label_names,
                    label_note=self.source.label_note,
                    expected=self.source.size or before.expected,
                    complete=not following,
                    pictures=before.pictures + len(batch),
                    count=before.count + len(rows),
                    skipped=(*before.skipped, *skipped),
                )
                write_whole(self._state_path, json.dumps({"source": self.source.identity, **asdict(state)}))
                with self._changed:
                    self.state = state
                    self._changed.notify_all()
                batch = following

    def _read(self, pictures: Iterator[Picture]) -> list[Picture]:
        """The next pictures, at most a chunk, or as many as are missing."""
        try:
            return list(itertools.islice(pictures, min(CHUNK, self.limit - self.state.count)))
        except TrainingError:
            raise
        except Exception as error:  # Whatever a reader of somebody's files raises is about those files.
            which = f"split {self.source.split!r} of {self.source.dataset}"
            raise TrainingError(f"cannot read {which}: {one_line(error)}") from error

    def _decode(self, pictures: list[Picture]) -> tuple[np.ndarray, list[tuple[str, str]]]:
        """The rows of pictures (n, row bytes) and, of each damaged one, the name and what is wrong with it."""
        rows = np.empty((len(pictures), FACE_BYTES + len(self.source.label_names)), np.uint8)
        count, skipped = 0, []
        for picture in pictures:
            try:
                pixels = picture.pixels()
                for name, label in zip(self.source.label_names, picture.labels):
                    if not label:
                        raise ValueError(f"Its label {name!r} is not known.")
            except ValueError as error:
                skipped.append((printable(picture.name), printable(str(error))))
                continue
            if self._crop is None:
                self._crop = crop_by_itself(pixels)
            rows[count, :FACE_BYTES] = resize_and_crop(pixels, self._crop).flatten().numpy()
            rows[count, FACE_BYTES:] = picture.labels.view(np.uint8)
            count += 1
        return rows[:count], skipped

    def _check_skipped(self, skipped: list[tuple[str, str]]) -> None:
        """Tell of damaged pictures, and raise TrainingError if there are too many of them."""
        told = len(self.state.skipped)
        for number, (name, reason) in enumerate(skipped, told + 1):
            if number <= TOLD:
                more = "; further ones are counted only" if number == TOLD else ""
                say(f"{name} cannot be read and is left out: {reason}{more}")
        most = most_damaged(self.source.size or self.state.pictures + CHUNK)
        if told + len(skipped) > most:
            name, reason = skipped[-1]
            raise TrainingError(
                f"{self.source.dataset}: more than {most} pictures cannot be read, the last of them {name}: {reason}; "
                "mend or remove them"
            )


class HeldOut(NamedTuple):
    """Faces that training must not see.

    Attributes:
        faces: (n, 3, 64, 64) uint8.
        split: their split.
        crop: the share of the shorter side of each picture that is seen.
        skip: how many faces at the start of the training split are held out, for training to skip; 0 where they have a
            split of their own.
    """

    faces: torch.Tensor
    split: str
    crop: float
    skip: int


def open_faces(settings: Settings, skip: int = 0, labels_for: str | None = None) -> Faces:
    """The faces that a command trains on, once the first has come. Use as a context.

    Args:
        labels_for: the command, if it can do nothing without labels.

    Raises:
        TrainingError: as `open_split`; or there are no labels.
    """
    faces = open_split(settings, settings.split, settings.limit, skip)
    if labels_for and not faces.label_names:
        faces.__exit__()
        raise TrainingError(
            f"{labels_for} needs labels, and {settings.dataset} has none: {faces.state.label_note}. Labels are columns of a "
            "table, a file metadata.csv beside the pictures, with their names in a column file_name, or class folders below "
            "the folder of their split, as in train/cat/1.jpg and train/dog/2.jpg"
        )
    if faces.source.description:
        say(f"{settings.dataset} holds {faces.source.description}.")
    if (skipped := faces.state.skipped) and faces.is_cached:  # Otherwise they are told as they come.
        say(f"{len(skipped)} that cannot be read are left out, the first of them {skipped[0][0]}.")
    names, note = faces.label_names, faces.state.label_note
    told = ", ".join(names[:TOLD]) + " ..." * (len(names) > TOLD)
    say(f"Labels ({len(names)}): {told}.{f' No labels: {note}.' if note else ''}" if names else f"No labels: {note}.")
    say(f"Seen of each picture: {describe_crop(faces.crop)}{'' if settings.crop else ' (--crop sets it)'}.")
    return faces


def open_held_out(settings: DataSettings, split: str, count: int) -> HeldOut:
    """The first faces of a split, at most `count`.

    If there is no such split, "valid" is taken. If that is missing too, or the split is trained on, the first faces of the
    training split are taken, at most a tenth of it.

    Raises:
        UnknownSplit: there is no such split, and its name is none of the usual ones.
        TrainingError: there are fewer than two faces to hold out.
    """
    reason = f"There is no split {split!r}"
    for name in dict.fromkeys((split, "valid")):
        if _overlap(name, settings.split):
            reason = f"{name!r} is trained on"
            break
        try:
            with open_split(settings, name, count) as faces:
                found = HeldOut(faces[: faces.wait_for(count)].pixels, name, faces.crop, 0)
        except UnknownSplit:
            if canonical(split) not in SPLITS:
                raise
            continue
        if len(found.faces) < 2:
            raise TrainingError(f"split {name!r} of {settings.dataset} holds 1 face: two are the least to be held out")
        if name != split:
            say(f"{reason}: faces of {name!r} are held out.")
        return found
    # Counted, not by `size_if_known`: damaged pictures would make a resumed run hold out other faces.
    with open_split(settings, settings.split, 10 * count) as faces:
        available = faces.wait_for(10 * count)
        held_out = min(count, max(2, available // 10))
        if available < held_out + 2:
            raise TrainingError(f"{settings.dataset} holds {available} faces: 4 are the least, 2 of them held out")
        share = "" if held_out == count else f", a tenth of {available},"
        say(f"{reason}: the first {held_out} faces{share} of {settings.split!r} are held out.")
        return HeldOut(faces[:held_out].pixels, settings.split, faces.crop, held_out)


def _overlap(split: str, other: str) -> bool:
    """Whether two splits have faces in common."""
    mine, its = (set(map(canonical, name.split("+"))) for name in (split, other))
    return "all" in mine | its or not mine.isdisjoint(its)


def open_split(settings: DataSettings, split: str, limit: int | None = None, skip: int = 0) -> Faces:
    """The faces of any split, once the first has come. Use as a context.

    Args:
        limit, skip: use the first `limit` faces after the first `skip`.

    Raises:
        UnknownSplit: there is none of that name.
        TrainingError: it cannot be read, or holds nothing.
    """
    with ExitStack() as stack:
        its_limit = limit and limit + skip
        faces = stack.enter_context(Faces(find_source(settings, split), its_limit, skip, distributed.is_first_here()))
        if not faces.wait_for(1) and not skip:
            damaged = "".join(f": {name}: {reason}" for name, reason in faces.state.skipped[:1])
            raise TrainingError(f"split {split!r} of {settings.dataset} holds no picture that can be read{damaged}")
        stack.pop_all()
    return faces


def crop_by_itself(pixels: torch.Tensor) -> float:
    """The share of the shorter side of a picture (1, 3, height, width) that is seen where no --crop is given."""
    return CELEBA_CROP if pixels.shape[:1:-1] in CELEBA_SIZES else 1.0


def describe_crop(crop: float) -> str:
    """A crop in words."""
    if crop == 1:
        return "the centre square, as wide as the shorter side"
    share = "140/178" if crop == CELEBA_CROP else f"{crop:g}"
    return f"the centre square, {share} of the shorter side wide"
