"""Faces from the Hub or a folder: streamed once, decoded once, kept as 64 x 64 bytes.

A background thread streams the data set, decodes, crops and appends to a cache file, 12,288 bytes a face. Training
reads the file behind it: the first epoch follows the stream, later ones touch neither network nor decoder. A state
file beside it counts the faces that are safely on disk, so that a fill that was cut short goes on where it stopped.
"""

import errno
import hashlib
import io
import itertools
import json
import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import datasets
import httpx2
import numpy as np
import torch
from filelock import FileLock, Timeout
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from PIL import Image

from models.images import IMAGE_SIZE, crop

from . import distributed
from .errors import TrainingError
from .settings import Settings

FACE_SHAPE = (3, IMAGE_SIZE, IMAGE_SIZE)
FACE_BYTES = 3 * IMAGE_SIZE * IMAGE_SIZE

# Faces decoded, written and counted at a time: 12 MB, small beside memory, large beside the cost of an fsync.
CHUNK = 1024

# Seconds in which a Hub that is there has answered; left to its own retries, the client takes minutes to give up.
HUB_TIMEOUT = 10


@dataclass(frozen=True)
class Source:
    """One column of one split of one revision of a data set.

    Attributes:
        dataset: a Hub id or a local folder.
        revision: the commit on the Hub, or the fingerprint of a folder's files.
    """

    dataset: str
    revision: str
    split: str
    column: str = "image"

    @property
    def is_local(self) -> bool:
        return Path(self.dataset).is_dir()

    @property
    def cache_name(self) -> str:
        """Differs whenever the cached bytes would: by data set, revision, split, column and size."""
        readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{Path(self.dataset).name}-{self.split}").strip("-")
        dataset = str(Path(self.dataset).resolve()) if self.is_local else self.dataset
        key = json.dumps([dataset, self.revision, self.split, self.column, IMAGE_SIZE])
        return f"{readable}-{IMAGE_SIZE}px-{hashlib.sha256(key.encode()).hexdigest()[:16]}"

    def rows(self) -> datasets.IterableDataset:
        """The stream, with undecoded images; only their column is read where the format allows it."""
        options = {} if self.is_local else {"revision": self.revision}
        try:
            rows = datasets.load_dataset(
                self.dataset, split=self.split, streaming=True, columns=[self.column], **options
            )
        except ValueError as error:
            if "doesn't have a 'columns' key" not in str(error):
                raise
            # A folder of image files, whose reader does not choose columns.
            rows = datasets.load_dataset(self.dataset, split=self.split, streaming=True, **options)
            rows = rows.select_columns([self.column])
        return rows.cast_column(self.column, datasets.Image(decode=False))


def find_source(dataset: str, split: str, column: str, revision: str | None, cache_dir: Path) -> Source:
    """Pin a data set to the revision that it has now.

    With the Hub out of reach, the last revision that was cached is used, so that a second run works offline.

    Raises:
        TrainingError: no such folder or data set, or a Hub that does not answer and nothing cached.
    """
    folder = Path(dataset).expanduser()
    if folder.is_dir():
        return Source(str(folder), _fingerprint(folder), split, column)
    if folder.exists() or dataset.startswith((".", "/", "~")):
        raise TrainingError(f"--dataset {dataset}: there is no such folder")
    try:
        commit = HfApi().dataset_info(dataset, revision=revision, timeout=HUB_TIMEOUT).sha
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise TrainingError(f"--dataset {dataset}: neither a folder here nor a data set on the Hub") from error
    except RevisionNotFoundError as error:
        raise TrainingError(f"--revision {revision}: {dataset} has none of that name") from error
    except (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled, OSError) as error:
        commit = _last_cached_revision(dataset, revision, split, column, cache_dir)
        if commit is None:
            reason = str(error).partition("\n")[0]
            raise TrainingError(
                f"--dataset {dataset}: the Hub cannot be reached ({reason}), and it is not cached"
            ) from error
        print(f"The Hub cannot be reached; using the cached revision {commit[:8]} of {dataset}.")
    return Source(dataset, commit, split, column)


class UnknownSplit(TrainingError):
    """The data set has no split of that name."""


class Faces:
    """The faces of a source as uint8 tensors, readable while a background thread still fills the cache.

    Args:
        source: where they come from.
        cache_dir: folder of all caches.
        limit: use the first `limit` faces only.
        skip: leave out the first `skip` of those.
        fill: fill the cache where faces are missing; otherwise wait for another process of this machine to do it.

    Raises:
        TrainingError: here or from any method that waits: the source cannot be read, or another process is
            filling the same cache.
    """

    def __init__(self, source: Source, cache_dir: Path, limit: int | None = None, skip: int = 0, fill: bool = True):
        self.source, self.limit, self.skip = source, limit, skip
        self._folder = Path(cache_dir).expanduser() / source.cache_name
        self._pixels_path, self._state_path = self._folder / "faces.u8", self._folder / "state.json"
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._filler: threading.Thread | None = None
        self._expected: int | None = None
        self._map = np.empty((0, *FACE_SHAPE), np.uint8)
        self._held: torch.Tensor | None = None
        self._count, self._complete = self._read_state()
        if fill and not self._is_enough():
            self._filler = threading.Thread(target=self._fill, name="faces", daemon=True)
            self._filler.start()

    def __len__(self) -> int:
        """How many there are; waits for the end of the stream. Prefer `size_if_known`."""
        self.wait_for(None)
        return self._available()

    def size_if_known(self) -> int | None:
        """How many there are or, while the stream runs, will be by the data set's own account."""
        with self._changed:
            if self._is_enough():
                return self._available()
            if self._expected is None:
                return None
            return max(0, min(self._expected, self.limit or self._expected) - self.skip)

    def wait_for(self, count: int | None) -> int:
        """Wait until `count` faces are there (None: all of them), or the stream ends; returns how many are."""
        with self._changed:
            while not self._is_enough() and (count is None or self._available() < count):
                if self._failure is not None:
                    raise self._failure
                # A timeout, since a wait without one would keep Ctrl-C waiting too.
                self._changed.wait(timeout=0.2)
                if self._filler is None:
                    self._count, self._complete = self._read_state()
            return self._available()

    def __getitem__(self, index: slice | np.ndarray) -> torch.Tensor:
        """Faces that are there already: (n, 3, 64, 64) uint8."""
        with self._changed:
            end, count = self.skip + self._available(), len(self._map)
        if count < end:
            self._map = np.memmap(self._pixels_path, np.uint8, mode="r", shape=(end, *FACE_SHAPE))
        return torch.from_numpy(np.array(self._map[self.skip : end][index]))

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
            self._held = held
        return True

    def batches(self, epoch: int, batch_size: int, seed: int, start: int = 0) -> Iterator[torch.Tensor]:
        """One epoch's batches, the last short one left out, each (batch_size, 3, 64, 64) uint8, on the CPU unless
        another device holds the faces; of several processes, each gets its rows of every batch.

        Epoch 1 follows the data set's own order, because it may still be arriving; every later one is shuffled by
        `seed` and `epoch` alone. The batches are the same whether the faces were cached before or not.

        Args:
            start: batches to leave out at the beginning, for a run that resumes.
        """
        if epoch == 1:
            for first in itertools.count(start * batch_size, batch_size):
                if self.wait_for(first + batch_size) < first + batch_size:
                    return
                yield self[first + distributed.rank() : first + batch_size : distributed.size()]
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        faces = self
        if self._held is not None:
            faces, order = self._held, torch.from_numpy(order).to(self._held.device)
        for first in range(start * batch_size, len(order) - batch_size + 1, batch_size):
            yield faces[distributed.mine(order[first : first + batch_size])]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop filling. What is cached stays, and the next run goes on from there."""
        self._stop.set()
        if self._filler is not None:
            self._filler.join(timeout=5)

    def _available(self) -> int:
        return max(0, min(self._count, self.limit or self._count) - self.skip)

    def _is_enough(self) -> bool:
        return self._complete or (self.limit is not None and self._count >= self.limit)

    def _read_state(self) -> tuple[int, bool]:
        try:
            state = json.loads(self._state_path.read_text())
            on_disk = self._pixels_path.stat().st_size // FACE_BYTES
        except (OSError, ValueError):
            return 0, False
        # Faces past the count may be half written; a file shorter than its count was cut, and is filled again.
        return (state["count"], state["complete"]) if on_disk >= state["count"] else (0, False)

    def _fill(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / "lock", timeout=0):
                self._append_stream()
        except Timeout:
            self._fail(
                TrainingError(f"another process is filling the cache {self._folder}: start again when it is done")
            )
        except TrainingError as error:
            self._fail(error)
        except Exception as error:  # Whatever a reader of somebody's files raises is about those files.
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            kind = UnknownSplit if "split" in reason.lower() and isinstance(error, ValueError) else TrainingError
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
                reason = f"the cache {self._folder} cannot be written: {error.strerror}"
            self._fail(kind(f"cannot read split {self.source.split!r} of {self.source.dataset}: {reason}"))

    def _append_stream(self) -> None:
        rows = self.source.rows()
        splits = rows.info.splits or {}
        if self.source.split in splits:
            self._expected = splits[self.source.split].num_examples
        tables = rows.skip(self._count).with_format("arrow").iter(CHUNK)  # Row by row takes three times as long.
        with (
            open(self._pixels_path, "r+b" if self._pixels_path.exists() else "w+b") as file,
            # One thread: small pictures are decoded in such short turns that more of them wait for the interpreter's
            # lock. While it decodes one chunk, this one writes the chunk before.
            ThreadPoolExecutor(1) as decoder,
        ):
            file.truncate(self._count * FACE_BYTES)
            file.seek(0, os.SEEK_END)
            arrived = self._count
            decoding = decoder.submit(self._decode, [], arrived)
            while not self._stop.is_set() and not self._is_enough():
                wanted = CHUNK if self.limit is None else min(CHUNK, self.limit - arrived)
                table = next(tables, None) if wanted else None
                images = [] if table is None else table.column(self.source.column).slice(0, wanted).to_pylist()
                decoded, decoding = decoding, decoder.submit(self._decode, images, arrived)
                arrived += len(images)
                faces = decoded.result()
                file.write(faces)
                file.flush()
                os.fsync(file.fileno())
                self._save_state(self._count + len(faces), complete=wanted > 0 and not images)
        if self._complete and self._count == 0:
            raise TrainingError(f"{self.source.dataset} holds no images in split {self.source.split!r}")

    def _decode(self, images: list[dict[str, Any]], first: int) -> np.ndarray:
        faces = np.empty((len(images), *FACE_SHAPE), np.uint8)
        for number, image in enumerate(images):
            try:
                source = image["path"] if image["bytes"] is None else io.BytesIO(image["bytes"])
                faces[number] = crop(Image.open(source))[0].numpy()
            except (OSError, SyntaxError, ValueError, TypeError) as error:
                reason = str(error).partition("\n")[0]
                message = f"image {first + number} of {self.source.dataset} cannot be decoded: {reason}"
                raise TrainingError(message) from error
        return faces

    def _save_state(self, count: int, complete: bool) -> None:
        state = {**asdict(self.source), "count": count, "complete": complete}
        temporary = self._state_path.with_suffix(".tmp")
        temporary.write_text(json.dumps(state))
        os.replace(temporary, self._state_path)
        with self._changed:
            self._count, self._complete = count, complete
            self._changed.notify_all()

    def _fail(self, error: TrainingError) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()


def open_faces(settings: Settings, skip: int = 0) -> Faces:
    """The faces that a command trains on, at least one of which is there. Use as a context."""
    return _open(settings, settings.split, settings.limit, skip)


def open_held_out(settings: Settings, split: str, count: int) -> tuple[torch.Tensor, int]:
    """Faces that training must not see.

    Returns:
        (n, 3, 64, 64) uint8 with n at most `count`, and how many faces at the start of the training split they are,
        for training to skip: 0 where they have a split of their own.
    """
    skip = 0
    try:
        faces = _open(settings, split, count)
    except UnknownSplit:
        if distributed.is_main():
            print(
                f"There is no split {split!r}: the first {count} faces of {settings.split!r} are kept out of training."
            )
        faces, skip = _open(settings, settings.split, count), count
    with faces:
        return faces[: faces.wait_for(count)], skip


def _open(settings: Settings, split: str, limit: int | None, skip: int = 0) -> Faces:
    source = find_source(settings.dataset, split, settings.image_column, settings.revision, settings.cache_dir)
    faces = Faces(source, settings.cache_dir, limit and limit + skip, skip, fill=distributed.is_first_here())
    try:
        faces.wait_for(1)
    except BaseException:
        faces.__exit__()
        raise
    return faces


def _fingerprint(folder: Path) -> str:
    """Changes when a file is added, removed, resized or rewritten."""
    files = sorted(
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    )
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:40]


def _last_cached_revision(dataset: str, revision: str | None, split: str, column: str, cache_dir: Path) -> str | None:
    wanted = {"dataset": dataset, "split": split, "column": column}
    for path in sorted(Path(cache_dir).expanduser().glob("*/state.json"), key=os.path.getmtime, reverse=True):
        state = json.loads(path.read_text())  # Never half written: it is replaced as a whole.
        if {name: state[name] for name in wanted} == wanted and revision in (None, state["revision"]):
            return state["revision"]
    return None
