"""How a model came to be: the losses of its training, and the faces of the same latents after every epoch.

Two files beside the model's weights hold it. Training writes them, `train/card.py`; here they are read.

training.json    the command, its extent, the losses thinned to a few hundred points, the measurements of every epoch
epochs.webp      an animation, 200 ms an epoch: the first 16 samples, generated from the same latents each time
"""

import json
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
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

# Of training.json: of 50 epochs it has some 15 kB. And the epochs whose faces fit into memory, in 0.4 GB.
MOST_BYTES, MOST_EPOCHS = 1_000_000, 2000

# Of epochs.webp, for each epoch: ours take some 30 kB.
MOST_EPOCH_BYTES = 500_000


class History:
    """The training of one model, as far as its folder tells; made by `load_history`.

    Attributes:
        command: that trained the model.
        epochs, images_seen: how many.
        seconds: spent training.
        steps_per_point: how many steps a point of the losses is the mean of.
        losses: columns of equal length: "step", the last of a point's steps, and one for each loss; None where a phase
            of the training did not have it.
        measurements: columns with an entry for every epoch: "epoch", "step", "images_seen", "seconds" and whatever
            was measured; None where that was no finite number.
        note: what else is to be known of it; empty where nothing is.
    """

    def __init__(self, training: dict[str, Any], animation: Path):
        self.command: str = training["command"]
        self.epochs: int = training["epochs"]
        self.images_seen: int = training["images_seen"]
        self.seconds: float = training["seconds"]
        self.steps_per_point: int = training["steps_per_point"]
        self.losses: dict[str, list[float | None]] = training["losses"]
        self.measurements: dict[str, list[float | None]] = training["measurements"]
        self.note: str = training.get("note", "")
        self._animation = animation

    def faces_after(self, epoch: int) -> list[Image.Image]:
        """What the same latents were after an epoch: 16 RGB images of 64 x 64; see `faces_of`."""
        return next(self.faces_of([epoch]))

    def faces_of(self, epochs: Sequence[int]) -> Iterator[list[Image.Image]]:
        """What the same latents were after each of several epochs: 16 RGB images of 64 x 64, epoch by epoch.

        Every frame of the animation up to the last epoch is decoded, some 2 ms each, since a frame can be had by way of
        those before it only. None is kept.

        Args:
            epochs: from 1 to `epochs`, in ascending order.

        Raises:
            ValueError: there is no such epoch, or the animation is damaged.
        """
        for epoch in epochs:
            if not 1 <= epoch <= self.epochs:
                raise ValueError(f"epoch is {epoch}: this model was trained for {self.epochs}, and the first is 1")
        frames = _frames(self._animation, self.epochs)
        faces, end = next(frames)
        for epoch in epochs:
            # An encoder makes one frame of epochs that look alike, and that frame lasts as long as they do together.
            while end < epoch * EPOCH_MILLISECONDS:
                faces, end = next(frames)
            yield [Image.fromarray(face) for face in faces]


def load_history(folder: str | Path) -> History | None:
    """The history in the folder of a model; None where training left none, as with models made before it did.

    Whoever shows models of others reads a stranger's file: what comes back can be drawn as it is. The animation is not
    decoded yet.

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
        _check(found)
        return History(found, animation)
    except Exception as error:  # Whatever is in the file: other types, other names, other depths.
        raise ValueError(f"{TRAINING_FILE} is damaged: how this model was trained cannot be told") from error


def _check(training: dict[str, Any]) -> None:
    """Raises whatever comes of it unless the page can draw all that is told."""
    epochs = training["epochs"]
    losses, measurements = training["losses"], training["measurements"]
    points = len(losses["step"])
    steps_and_epochs = [*losses["step"], *measurements["epoch"]]
    # A phase of training may lack a loss.
    drawn = [value for name, column in losses.items() if name != "step" for value in column if value is not None]
    sound = [
        _is_text(training["command"]),
        _is_text(training.get("note", "")),
        all(map(_is_count, (epochs, training["images_seen"], training["steps_per_point"], *steps_and_epochs))),
        epochs <= MOST_EPOCHS,
        _is_number(training["seconds"]) and training["seconds"] >= 0,
        # Names become parts of the page.
        all(name.isascii() and name.isidentifier() and len(name) <= 60 for name in [*losses, *measurements]),
        all(len(column) == points for column in losses.values()),
        all(step < after for step, after in pairwise(losses["step"])),
        # A curve is drawn in shares of its height, which needs one.
        all(map(_is_number, drawn)) and np.percentile(np.array(drawn, dtype=float), 99) > 0,
        measurements["epoch"] == [*range(1, epochs + 1)],
        all(isinstance(column, list) and len(column) == epochs for column in measurements.values()),
        all(value is None or _is_number(value) for column in measurements.values() for value in column),
    ]
    if not all(sound):
        raise ValueError("none that can be drawn")


def _is_text(value: Any) -> bool:
    # JSON can hold halves of characters, which no answer of a server can.
    return isinstance(value, str) and value == value.encode("utf-8", "replace").decode()


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**53


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _frames(path: Path, epochs: int) -> Iterator[tuple[np.ndarray, float]]:
    """Each frame of the animation, its faces (16, 64, 64, 3) uint8, and when it ends, in ms."""
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
