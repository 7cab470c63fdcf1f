"""What was recorded of the models before the page started: figures that were measured, and what training left."""

import json
from typing import Any

import numpy as np

from models.history import History

from .catalog import MODELS, ROOT, WEIGHTS_FILE, hashes, load
from .pictures import pixels_of

# Written by `python -m study.report`.
MEASURED = ROOT / "docs/results/out-of-distribution.json"


def measured(model: str) -> list[dict[str, float]]:
    """What was measured of a model at each of several means; empty unless it was measured with these very weights."""
    results: dict[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.is_file() else {}
    folder = MODELS[model]
    digits = results.get("protocol", {}).get("weights", {}).get(folder)
    same = digits and hashes(load(model).folder / WEIGHTS_FILE).whole.startswith(digits)
    return results[folder] if same else []


def face_share(model: str, mean: float) -> float | None:
    """The share of a model's pictures in which a face is detected, 0 to 1, interpolated between the means that were
    measured; None where nothing was."""
    shares = {point["mean"]: point["face_share"] for point in measured(model) if point["face_share"] is not None}
    return float(np.interp(mean, [*shares], [*shares.values()])) if shares else None


def history(model: str) -> History:
    """How a model was trained.

    Raises:
        ValueError: the model came without a history of its training.
    """
    found = load(model).history
    if found is None:
        raise ValueError(f"The training of the {model} cannot be shown: its history is missing or damaged.")
    return found


def training(model: str, epoch: int) -> np.ndarray:
    """The same 16 latents decoded after an epoch of training, from 1: faces (16, 64, 64, 3) uint8. An epoch after the
    last gives the last."""
    found = history(model)
    return np.stack([pixels_of(face) for face in found.faces_after(min(epoch, found.epochs))])
