"""What the page tells of its models without drawing anything: figures that were measured, and the story of a training."""

import json
from functools import cache
from typing import Any, Literal

import numpy as np

from models.history import History

from .catalog import MODELS, ROOT, WEIGHTS_FILE, hashes, load
from .pictures import pixels_of
from .recipe import Recipe
from .values import whole

EXPERIMENT = ("Plain autoencoder", "Shifted autoencoder")
MAX_STEPS, SMOOTH_STEPS = 21, 24
MAX_MEAN = 100.0
MAX_EPOCHS = 10_000

# Written by `python -m study.report`.
MEASURED = ROOT / "docs/results/out-of-distribution.json"

# How a path goes, and what bits do on the way.
Way = Literal["straight", "spherical"]
Discrete = Literal["relaxed", "switched", "held"]

# Uploads are removed in time, and when the page starts anew.
GONE = "This photograph is not here, or no longer: uploads are kept for an hour. Choose it again."

# How a recipe is found again in a face that was downloaded from the page.
RECIPE_KEY, MODEL_KEY = "latent-faces recipe", "latent-faces model"


def signature(model: str, recipe: Recipe) -> dict[str, str]:
    """What is written into the PNG of a generated face."""
    return {"Software": "Latent Faces", MODEL_KEY: model, RECIPE_KEY: str(recipe)}


@cache
def _all_measured() -> dict[str, Any]:
    return json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.is_file() else {}


def measured(model: str) -> list[dict[str, float]]:
    """What was measured of these very weights at each of several means."""
    results, folder = _all_measured(), MODELS[model]
    digits = results.get("protocol", {}).get("weights", {}).get(folder)
    same = digits and hashes(load(model).folder / WEIGHTS_FILE).whole.startswith(digits)
    return results[folder] if same else []


def face_share(model: str, mean: float) -> float | None:
    """The measured share of pictures with a face around a mean, between the nearest two that were measured; None
    where nothing was."""
    shares = {point["mean"]: point["face_share"] for point in measured(model) if point["face_share"] is not None}
    return float(np.interp(mean, [*shares], [*shares.values()])) if shares else None


def history(model: str) -> History:
    """What training left of a model's way."""
    found = load(model).history
    if found is None:
        raise ValueError(
            f"The {model} that is shown here came without a history of its training, or with a damaged one."
        )
    return found


def training(model: str, epoch: int) -> np.ndarray:
    """The same 16 latents as they were after an epoch, from 1; past the last, as they were after it."""
    found = history(model)
    epoch = min(whole(epoch, "The epoch", 1, MAX_EPOCHS), int(found.epochs))
    return np.stack([pixels_of(face) for face in found.faces_after(epoch)])


def in_a_sentence(model: str) -> str:
    """A model's name within a sentence: "plain autoencoder", but "GAN"."""
    return model if model[:2].isupper() else model[:1].lower() + model[1:]
