"""What was measured, drawn beside the faces with a mark where the visitor is."""

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
from markupsafe import Markup

from models.history import History

from . import chart
from .show import foreign
from .story import MAX_MEAN
from .zoo import MODELS, load

# Written by `python -m study.report`.
MEASURED = Path(__file__).parent.parent / "docs/results/out-of-distribution.json"

TICKS = (-100, -30, -10, -3, 0, 3, 10, 30, 100)

# The lines' classes in page.css. The report draws the generator's loss in blue, the discriminator's in red.
DIVERSITY, FACE_SHARE, LOSSES = "blue", "red", ("blue", "red")


def position(mean: float) -> float:
    """Where a mean lies on the scale, 0 to 1: even in the inverse hyperbolic sine, which is straight around 0 and
    logarithmic far away, where less happens."""
    return 0.5 + math.asinh(mean) / math.asinh(MAX_MEAN) / 2


def face_share(name: str, mean: float) -> float | None:
    """The measured share of pictures with a face around a mean, between the nearest two that were measured; None
    where nothing was."""
    shares = {point["mean"]: point["face_share"] for point in _measured(name) if point["face_share"] is not None}
    return float(np.interp(mean, [*shares], [*shares.values()])) if shares else None


def far_curve(name: str, mean: float) -> Markup:
    """A model's diversity and face share against the mean, its prior as a band, and a mark at `mean`, as SVG."""
    return chart.mark(_drawn_far_curve(name), position(mean))


@cache
def _drawn_far_curve(name: str) -> Markup:
    model, points = load(name), _measured(name)
    reach = 2 * model.prior_variance**0.5
    lines = {}
    for key, colour in (("pixel_diversity", DIVERSITY), ("face_share", FACE_SHARE)):
        values = [point[key] for point in points]
        if values and None not in values:
            most = 1 if key == "face_share" else max(values)
            lines[colour] = [(position(point["mean"]), value / most) for point, value in zip(points, values)]
    return chart.draw(
        f"{name}: measured diversity and share of faces from mean -100 to 100; a band marks the prior, a line the mean "
        "that is shown",
        lines,
        {position(tick): f"{tick:g}" for tick in TICKS},
        band=(position(model.prior_mean - reach), position(model.prior_mean + reach)),
    )


def loss_names(history: History) -> dict[str, str]:
    """The names of a run's losses, by the colours of their curves."""
    names = (foreign(name.removesuffix("_loss").replace("_", " ")) for name in history.losses if name != "step")
    return dict(zip(LOSSES, names))


@cache
def _drawn_loss_curve(history: History) -> Markup:
    # Whatever somebody wrote there: what is no number is left out, nothing is divided by 0, no line leaves the chart.
    steps = np.array(history.losses["step"], float)
    columns = [np.array(values, float) for name, values in history.losses.items() if name != "step"]
    numbers = np.concatenate([steps[:0], *columns])
    numbers = numbers[np.isfinite(numbers)]
    # The first steps of a run reach far beyond all others.
    most = float(np.percentile(numbers, 99)) if numbers.size else 0
    lines = {colour: _line(steps, values, most) for colour, values in zip(LOSSES, columns)}
    epochs = int(history.epochs)
    marks = sorted({1, *range(10, epochs + 1, 10), epochs})
    return chart.draw(
        f"Losses from epoch 1 to {epochs}; a line marks the epoch that is shown",
        lines,
        {epoch / epochs: str(epoch) for epoch in marks},
    )


def _line(steps: np.ndarray, values: np.ndarray, most: float) -> list[tuple[float, float]]:
    sound = np.isfinite(steps) & np.isfinite(values)
    steps, values = steps[sound], values[sound]
    last = steps.max(initial=0)
    return list(zip((steps / (last or 1)).clip(0, 1), (values / (most if most > 0 else 1)).clip(0, 1)))


def loss_curve(history: History, epoch: int) -> Markup:
    """The losses of a run against its epochs, with a mark at the end of one, as SVG."""
    return chart.mark(_drawn_loss_curve(history), epoch / int(history.epochs))


@cache
def _all_measured() -> dict:
    return json.loads(MEASURED.read_text()) if MEASURED.is_file() else {}


def _measured(name: str) -> list[dict[str, float]]:
    return _all_measured().get(MODELS[name], [])
