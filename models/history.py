"""How a model was trained: the losses, and the faces of the same latents after every epoch.

Two files beside the model's weights hold it. `train/card.py` writes them; here they are read.

training.json    the command, how long it trained, the losses thinned to a few hundred points, what every epoch measured
epochs.webp      an animation, 200 ms an epoch: the first 16 samples, generated from the same latents each time
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.WebPImagePlugin import WebPImageFile

from .decoding import IMAGE_SIZE

TRAINING_FILE = "training.json"
EPOCHS_FILE = "epochs.webp"

# A frame of the animation: faces row by row, with nothing between them.
COLUMNS, ROWS = 8, 2
SHEET_SIZE = (COLUMNS * IMAGE_SIZE, ROWS * IMAGE_SIZE)
EPOCH_MILLISECONDS = 200

# The most that is read. 50 epochs take some 15 kB of training.json. The faces of 2,000 epochs take 0.4 GB of memory.
MOST_BYTES, MOST_EPOCHS = 1_000_000, 2000

# The size of epochs.webp, for each epoch: ours take some 30 kB.
MOST_EPOCH_BYTES = 500_000


@dataclass(frozen=True, kw_only=True)
class History:
    """The training of one model, as `load_history` reads it.

    Attributes:
        command: the command that trained the model.
        epochs, images_seen: how many.
        seconds: spent training.
        steps_per_point: each point of the losses is the mean of this many steps.
        losses: columns of equal length: "step", the last of a point's steps, and one for each loss; None where a phase
            of the training does not have it.
        measurements: columns with an entry for every epoch: "epoch", "step", "images_seen", "seconds" and whatever
            was measured; None where that was no finite number.
        animation: the path of epochs.webp.
        note: what else a reader should know; may be empty.
    """

    command: str
    epochs: int
    images_seen: int
    seconds: float
    steps_per_point: int
    losses: dict[str, list[float | None]]
    measurements: dict[str, list[float | None]]
    animation: Path
    note: str = ""

    def faces_after(self, epoch: int) -> list[Image.Image]:
        """The faces of the same latents after an epoch: 16 RGB images of 64 x 64; see `faces_of`."""
        return next(self.faces_of([epoch]))

    def faces_of(self, epochs: Sequence[int]) -> Iterator[list[Image.Image]]:
        """The faces of the same latents after each of several epochs: 16 RGB images of 64 x 64, epoch by epoch.

        Every frame of the animation up to the last of these epochs is decoded, some 2 ms each: a frame holds only what
        changed since the one before.

        Args:
            epochs: from 1 to `epochs`, in ascending order.

        Raises:
            ValueError: there is no such epoch, or the animation is damaged.
        """
        for epoch in epochs:
            if not 1 <= epoch <= self.epochs:
                raise ValueError(f"epoch is {epoch}: this model was trained for {self.epochs}, and the first is 1")
        frames = _frames(self.animation, self.epochs)
        faces, end = next(frames)
        for epoch in epochs:
            # An encoder merges epochs that look alike into one frame, which lasts as long as they do together.
            while end < epoch * EPOCH_MILLISECONDS:
                faces, end = next(frames)
            yield [Image.fromarray(face) for face in faces]


def load_history(folder: str | Path) -> History | None:
    """The history in a model's folder, or None where there is none.

    The files may be a stranger's: what comes back can be drawn as it is. The animation is not decoded yet.

    Raises:
        ValueError: training.json is damaged.
    """
    training, animation = Path(folder, TRAINING_FILE), Path(folder, EPOCHS_FILE)
    if not (training.is_file() and animation.is_file()):
        return None
    try:
        if training.stat().st_size > MOST_BYTES:
            raise ValueError("longer than any training")
        found = json.loads(training.read_bytes())
        known = History.__dataclass_fields__.keys() - {"animation"}
        history = History(animation=animation, **{name: found[name] for name in known & found.keys()})
        _check(history)
        return history
    except Exception as error:  # Whatever is in the file: other types, other names, other depths.
        raise ValueError(f"{TRAINING_FILE} is damaged: how this model was trained cannot be told") from error


def _check(history: History) -> None:
    """Raise an error of any kind unless the page can draw all that a history tells."""
    losses, measurements = history.losses, history.measurements
    steps: Any = losses["step"]
    values = [value for column in (*losses.values(), *measurements.values()) for value in column if value is not None]
    drawn = [value for name, column in losses.items() if name != "step" for value in column if value is not None]
    counts = [history.epochs, history.images_seen, history.steps_per_point, *steps, *measurements["epoch"]]
    sound = [
        _is_text(history.command) and _is_text(history.note),
        all(map(_is_number, values)) and all(map(_is_count, counts)) and history.epochs <= MOST_EPOCHS,
        _is_number(history.seconds) and history.seconds >= 0,
        # Names become parts of the page.
        all(name.isascii() and name.isidentifier() and len(name) <= 60 for name in [*losses, *measurements]),
        steps == sorted(set(steps)) and all(len(column) == len(steps) for column in losses.values()),
        # A curve is drawn in shares of its height, which must not be 0.
        np.percentile(np.array(drawn, dtype=float), 99) > 0,
        measurements["epoch"] == [*range(1, history.epochs + 1)],
        all(len(column) == history.epochs for column in measurements.values()),
    ]
    if not all(sound):
        raise ValueError("it cannot be drawn")


def _is_text(value: Any) -> bool:
    # JSON can hold halves of characters, which no answer of a server can.
    return isinstance(value, str) and value == value.encode("utf-8", "replace").decode()


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**53


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _frames(path: Path, epochs: int) -> Iterator[tuple[np.ndarray, float]]:
    """Each frame of the animation: its faces (16, 64, 64, 3) uint8, and when it ends, in ms."""
    try:
        if path.stat().st_size > epochs * MOST_EPOCH_BYTES:
            raise ValueError("another animation")
        with Image.open(path, formats=["WEBP"]) as animation:
            assert isinstance(animation, WebPImageFile)
            # Before anything is decoded: a small file can announce more than fits into memory.
            if animation.size != SHEET_SIZE or not 1 <= animation.n_frames <= epochs:
                raise ValueError("another animation")
            for index in range(animation.n_frames):
                animation.seek(index)
                animation.load()
                # A still, made of epochs that all look alike, has no duration.
                end = animation.info["timestamp"] + animation.info["duration"] if animation.is_animated else math.inf
                if index == animation.n_frames - 1 and end not in (epochs * EPOCH_MILLISECONDS, math.inf):
                    raise ValueError("cut off")
                pixels = np.asarray(animation.convert("RGB"))
                faces = pixels.reshape(ROWS, IMAGE_SIZE, COLUMNS, IMAGE_SIZE, 3).swapaxes(1, 2)
                yield faces.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3), end
    except Exception as error:  # Damage has many names: OSError, EOFError, DecompressionBombError, ...
        raise ValueError(f"{EPOCHS_FILE} is damaged: the faces of this model's training cannot be shown") from error
