"""What a run tells of itself beside its model: the card, the losses and the animation.

`models/history.py` says what is in the files, and reads them.
"""

import json
import math
import os
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image

from models import load
from models.history import EPOCHS_FILE, TRAINING_FILE, load_history

from . import pictures
from .card import write_card
from .errors import TrainingError
from .record import Record, write_whole

# Of a loss curve: more than a page has room to tell apart.
MAX_POINTS = 300


def document(record: Record, folder: Path, location: str) -> None:
    """Write the card and the history of a run into the folder of the model that it made.

    Reading the pictures of all epochs takes some 25 ms each, which is too long to do after every epoch.

    Args:
        location: what `from_pretrained` takes to load the model: a folder or a Hub id.

    Raises:
        TrainingError: the model in the folder is damaged or none of this run's kind, or the record is.
    """
    write_history(record, folder)
    try:
        model = load(folder)
    except (ValueError, OSError) as error:
        raise TrainingError(str(error)) from error
    write_card(record, model, folder, location)


def write_history(record: Record, folder: Path) -> None:
    """Write training.json and epochs.webp, up to the last epoch that is finished.

    The animation shows what the model generated: reconstructions show the data set's pixels, which nobody may
    redistribute. Both files or neither: without the pictures of all epochs, or with damaged ones, it says so, and does
    nothing.
    """
    try:
        training, frames = _tell(record)
        # Beside the model only once its own reader takes it.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".history-") as name:
            written = Path(name)
            write_whole(written / TRAINING_FILE, json.dumps(training, allow_nan=False) + "\n")
            pictures.save_animation(frames, written / EPOCHS_FILE)
            load_history(written).faces_after(1)
            for file in (TRAINING_FILE, EPOCHS_FILE):
                os.replace(written / file, folder / file)
    except (ValueError, OverflowError, TrainingError) as error:
        print(f"The model goes without {TRAINING_FILE} and {EPOCHS_FILE}: {error}")


def _tell(record: Record) -> tuple[dict[str, Any], list[Image.Image]]:
    """The contents of training.json, and the frames of the animation.

    Raises:
        ValueError: an epoch or its picture is missing or damaged.
    """
    metrics = record.metrics()
    epochs = [line for line in metrics if "seconds" in line]
    if not epochs or [line["epoch"] for line in epochs] != [*range(1, len(epochs) + 1)]:
        raise ValueError(f"{record.folder / 'metrics.jsonl'} does not tell of every epoch")
    frames = [pictures.read_faces(record.picture_path("samples", line["epoch"])) for line in epochs]
    steps = [line for line in metrics if "seconds" not in line and line["step"] <= epochs[-1]["step"]]
    if not steps:
        raise ValueError(f"{record.folder / 'metrics.jsonl'} tells of no step")
    names = dict.fromkeys(name for line in epochs for name in line)  # In order.
    steps_per_point = math.ceil(len(steps) / MAX_POINTS)
    training = {
        "command": record.description["command"],
        "epochs": epochs[-1]["epoch"],
        "images_seen": epochs[-1]["images_seen"],
        "seconds": epochs[-1]["seconds"],
        "steps_per_point": steps_per_point,
        "losses": _thinned(steps, steps_per_point),
        "measurements": {name: [_number(line.get(name)) for line in epochs] for name in names},
    }
    if first_weights := record.description.get("start_from"):
        training["note"] = f"Training began with the weights of {first_weights}."
    return training, frames


def _thinned(steps: list[dict[str, Any]], steps_per_point: int) -> dict[str, list[float | None]]:
    """The means of the losses over so many steps each, fewer in the last, by name, and the step that each ends at.

    A loss that none of these steps has, since training has several phases, is None.
    """
    names = dict.fromkeys(name for step in steps for name in step if name.endswith("_loss"))
    points = [steps[start : start + steps_per_point] for start in range(0, len(steps), steps_per_point)]
    curves = {name: [_mean([step[name] for step in point if name in step]) for point in points] for name in names}
    return {"step": [point[-1]["step"] for point in points], **curves}


def _mean(values: list[float]) -> float | None:
    return _number(fmean(values)) if values else None


def _number(value: float | None) -> float | None:
    """Five digits of a measurement, all of a count; None for what JSON has no word for."""
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.5g}")
