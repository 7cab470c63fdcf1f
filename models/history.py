"""How a model came to be: the losses of its training, and the faces of the same latents after every epoch.

Two files beside the model's weights hold it. Training writes them, `train/history.py`; here they are read.

training.json    the command, its extent, the losses thinned to a few hundred points, the measurements of every epoch
epochs.webp      an animation, 200 ms an epoch: the first 16 samples, generated from the same latents each time
"""

import json
import threading
from bisect import bisect_right
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .images import IMAGE_SIZE

TRAINING_FILE = "training.json"
EPOCHS_FILE = "epochs.webp"

# A frame of the animation: faces row by row, with nothing between them.
COLUMNS, ROWS = 8, 2
FRAME_SIZE = (COLUMNS * IMAGE_SIZE, ROWS * IMAGE_SIZE)
FRAME_MILLISECONDS = 200


class History:
    """The training of one model, as far as its folder tells; made by `load_history`.

    Attributes:
        command: that trained the model.
        epochs, images_seen: how many.
        seconds: spent training.
        steps_per_point: how many steps a point of the losses is the mean of.
        losses: columns of equal length: "step", the last of a point's steps, and one for each loss.
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
        self.losses: dict[str, list[float]] = training["losses"]
        self.measurements: dict[str, list[float | None]] = training["measurements"]
        self.note: str = training.get("note", "")
        self._animation = animation
        self._decoded: tuple[list[int], np.ndarray] | None = None
        self._lock = threading.Lock()

    def frame(self, epoch: int) -> list[Image.Image]:
        """What the same latents were after an epoch: 16 RGB images of 64 x 64.

        The first call decodes the whole animation, some 2 ms an epoch, since a frame of it can be had by way of
        those before it only. From then on it takes 200 kB of memory an epoch, and a call a fraction of a
        millisecond. Threads may call at once.

        Args:
            epoch: from 1 to `epochs`.

        Raises:
            ValueError: there is no such epoch, or the animation is damaged.
        """
        if not 1 <= epoch <= self.epochs:
            raise ValueError(f"epoch is {epoch}: this model was trained for {self.epochs}, and the first is 1")
        with self._lock:
            if self._decoded is None:
                self._decoded = _decode(self._animation, self.epochs)
            starts, faces = self._decoded
        # An encoder makes one frame of epochs that look alike, and that frame lasts as long as they do together.
        index = bisect_right(starts, (epoch - 1) * FRAME_MILLISECONDS) - 1
        return [Image.fromarray(face) for face in faces[index]]


def load_history(folder: str | Path) -> History | None:
    """The history in the folder of a model; None where training left none, as with models made before it did.

    The animation is not decoded yet.

    Raises:
        ValueError: training.json is damaged.
    """
    training, animation = Path(folder, TRAINING_FILE), Path(folder, EPOCHS_FILE)
    if not (training.is_file() and animation.is_file()):
        return None
    try:
        history = History(json.loads(training.read_bytes()), animation)
        sound = len(history.measurements["epoch"]) == history.epochs >= 1
        for table, first in ((history.losses, "step"), (history.measurements, "epoch")):
            columns = np.array([table[first], *table.values()], dtype=float)  # Refuses words, and unequal lengths.
            sound = sound and columns.ndim == 2
    except Exception:  # Whatever is in the file: other types, other names, other depths.
        sound = False
    if not sound:
        raise ValueError(f"{TRAINING_FILE} is damaged: how this model was trained cannot be told")
    return history


def _decode(path: Path, epochs: int) -> tuple[list[int], np.ndarray]:
    """When each frame of the animation starts, in ms, and its faces, (frames, 16, 64, 64, 3) uint8."""
    starts, frames = [], []
    try:
        with Image.open(path, formats=["WEBP"]) as animation:
            # Before anything is decoded: a small file can announce more than fits into memory.
            if animation.size != FRAME_SIZE or not 1 <= animation.n_frames <= epochs:
                raise ValueError("another animation")
            for index in range(animation.n_frames):
                animation.seek(index)
                animation.load()
                starts.append(animation.info["timestamp"])
                frames.append(np.asarray(animation.convert("RGB")))
            # A still, made of epochs that all look alike, has no duration.
            if animation.is_animated and starts[-1] + animation.info["duration"] != epochs * FRAME_MILLISECONDS:
                raise ValueError("cut off")
    except Exception as error:  # Damage has many names: OSError, EOFError, DecompressionBombError, ...
        raise ValueError(f"{EPOCHS_FILE} is damaged: the faces of this model's training cannot be shown") from error
    faces = np.stack(frames).reshape(-1, ROWS, IMAGE_SIZE, COLUMNS, IMAGE_SIZE, 3).swapaxes(2, 3)
    return starts, faces.reshape(-1, ROWS * COLUMNS, IMAGE_SIZE, IMAGE_SIZE, 3)
