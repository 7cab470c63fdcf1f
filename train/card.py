"""What a run writes beside its model: the card (README.md), and the history of the training (training.json, epochs.webp).

card.md is the template of all cards. `models/history.py` reads the history.
"""

import json
import math
import os
import re
import tempfile
from pathlib import Path
from typing import Any, cast

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from pandas import DataFrame
from PIL import Image

from models import FaceModel, load
from models.history import EPOCHS_FILE, TRAINING_FILE, load_history
from models.hub import one_line

from .record import Record, read_faces, save_animation
from .settings import TrainingError

CELEBA_LICENSE = "other", "celeba-non-commercial-research", "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"

# A template that names what is not there is an error.
_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined)
_TEMPLATES.filters["one_line"] = lambda text: " ".join(text.split())

# The most points of a loss curve: more than a page has room to tell apart.
MAX_POINTS = 300


def document(record: Record, folder: Path, location: str) -> None:
    """Write the card and the history of a run into the folder of the model that it made.

    This reads the pictures of all epochs, some 25 ms each, which takes too long to do after every epoch.

    Raises:
        ValueError, OSError: the model in the folder is damaged.
        TrainingError: the record of the run is damaged.
    """
    write_history(record, folder)
    write_card(record, load(folder), folder, location)


def write_card(record: Record, model: FaceModel, folder: Path, location: str) -> None:
    """Write README.md into the folder of a model. It shows the animation of the epochs if that is there already.

    Args:
        location: what `from_pretrained` takes to load the model: a folder or a Hub id.

    Raises:
        TrainingError: the run's record is damaged, or of no finished epoch.
    """
    epochs = record.epochs()
    if not epochs:
        raise TrainingError(f"{record.folder / 'metrics.jsonl'} tells of no finished epoch")
    card = make_card(record.description, epochs[-1], model, location, has_animation=(folder / EPOCHS_FILE).is_file())
    # A file's name may hold bytes that are no UTF-8.
    (folder / "README.md").write_bytes(str(card).encode("utf-8", "backslashreplace"))


def make_card(
    description: dict[str, Any], epoch: dict[str, Any], model: FaceModel, location: str, has_animation: bool = False
) -> ModelCard:
    """The card of a model after an epoch, or TrainingError where card.md leaves out a part of it, or run.json is damaged."""
    try:
        return _card(description, epoch, model, location, has_animation)
    except (KeyError, TypeError, ValueError, AttributeError, TemplateError) as error:
        raise TrainingError(f"train/card.md makes no card of a {description['kind']}: {one_line(error)}") from error


def _card(
    description: dict[str, Any], epoch: dict[str, Any], model: FaceModel, location: str, has_animation: bool
) -> ModelCard:
    settings, dataset = description["settings"], description["dataset"]
    is_local = dataset.startswith("path/to/")
    is_celeba = "celeba" in Path(dataset).name.lower()
    name = "a local folder" if is_local else dataset

    data = cast(ModelCardData, model.generate_model_card().data)
    if is_celeba:  # Any other data set has terms of its own.
        data.license, data.license_name, data.license_link = CELEBA_LICENSE
        data.tags = ["celeba", "faces", *(data.tags or ())]
    if settings.get("license"):
        data.license, data.license_name, data.license_link = settings["license"], None, None
    if not is_local:
        data.datasets = [dataset]
    if "held_out_psnr" in epoch:
        held_out = f"first {settings['held_out']} faces of split {settings['held_out_split']}"
        data.model_name = location.rpartition("/")[2]
        data.eval_results = [
            EvalResult(
                task_type="image-to-image",
                task_name="Reconstruction",
                dataset_type="imagefolder" if is_local else dataset,
                dataset_name=f"{'CelebA' if is_celeba else name}, {held_out}",
                dataset_split=settings["held_out_split"],
                metric_type="psnr",
                metric_name="PSNR of held-out reconstructions (dB)",
                metric_value=round(epoch["held_out_psnr"], 3),
            )
        ]
    text = _TEMPLATES.get_template("card.md").render(
        kind=description["kind"],
        card_data=data.to_yaml(),
        model=model,
        class_name=type(model).__name__,
        location=location,
        data=(settings.get("data_note") or f"the split {settings['split']} of {name}").replace("|", "/"),
        is_celeba=is_celeba,
        attributes=[re.sub(r"[\\`*\[\]<>|&]", r"\\\g<0>", name.replace("_", " ")) for name in model.attributes],
        epoch=epoch,
        settings=settings,
        run=description,
        animation=EPOCHS_FILE if has_animation else None,
    )
    return ModelCard(text.lstrip())


def write_history(record: Record, folder: Path) -> None:
    """Write training.json and epochs.webp, up to the last finished epoch.

    The animation shows faces that the model generated. Where a picture of an epoch is missing or damaged, neither file is
    written, and a line says so.
    """
    try:
        training, frames = _history(record)
        # They are put beside the model once their reader has taken them.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".history-") as name:
            written = Path(name)
            (written / TRAINING_FILE).write_text(json.dumps(training, allow_nan=False) + "\n")
            save_animation(frames, written / EPOCHS_FILE)
            load_history(written).faces_after(1)
            for file in (TRAINING_FILE, EPOCHS_FILE):
                os.replace(written / file, folder / file)
    except Exception as error:  # Whatever is in the record's files: damaged pictures alone raise errors of many kinds.
        print(f"The model goes without {TRAINING_FILE} and {EPOCHS_FILE}: {one_line(error)}")


def _history(record: Record) -> tuple[dict[str, Any], list[Image.Image]]:
    """The contents of training.json, and the frames of the animation."""
    metrics = record.metrics()
    epochs = [line for line in metrics if "seconds" in line]
    if not epochs or [line["epoch"] for line in epochs] != [*range(1, len(epochs) + 1)]:
        raise ValueError(f"{record.folder / 'metrics.jsonl'} does not tell of every epoch")
    frames = [read_faces(record.picture_path("samples", line["epoch"])) for line in epochs]
    steps = [line for line in metrics if "seconds" not in line and line["step"] <= epochs[-1]["step"]]
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
    """Loss curves by name: each point is the mean over `steps_per_point` steps (the last may be of fewer), and "step" is
    the last of these. A point is None where none of its steps has that loss, as in another phase of the training.
    """
    table = DataFrame(steps)
    points = table.groupby(table.index // steps_per_point)
    means = points.mean().filter(regex="_loss$")
    return {"step": points["step"].last().tolist(), **{name: [*map(_number, means[name])] for name in means}}


def _number(value: float | None) -> float | None:
    """Five digits of a measurement, all digits of a count; None for what is not finite, which JSON cannot hold."""
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.5g}")
