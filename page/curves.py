"""What was measured far from each prior, drawn beside the faces with a mark where the visitor is."""

import json
import math
from functools import cache
from pathlib import Path

import numpy as np

from .story import MAX_MEAN
from .zoo import MODELS, load

# Written by `python -m train.report`.
MEASURED = Path(__file__).parent.parent / "docs/results/out-of-distribution.json"

WIDTH, HEIGHT, MARGIN, FOOT = 300, 84, 8, 16
TICKS = (-100, -30, -10, -3, 0, 3, 10, 30, 100)


def position(mean: float) -> float:
    """Where a mean lies on the scale, 0 to 1: even in the inverse hyperbolic sine, which is straight around 0 and
    logarithmic far away, where less happens."""
    return 0.5 + math.asinh(mean) / math.asinh(MAX_MEAN) / 2


def face_share(name: str, mean: float) -> float | None:
    """The measured share of pictures with a face around a mean, between the nearest two that were measured; None
    where nothing was."""
    points = [(point["mean"], point["face_share"]) for point in _measured(name) if point["face_share"] is not None]
    return float(np.interp(mean, *zip(*points))) if points else None


def curve(name: str, mean: float) -> str:
    """Diversity and face share against the mean, the prior as a band, and a mark at `mean`, as SVG."""
    return f"{_drawn(name)}<line class='mark' x1='{_x(mean):.1f}' x2='{_x(mean):.1f}' y1='0' y2='{HEIGHT}'/></svg>"


def exists() -> bool:
    return MEASURED.is_file()


@cache
def _drawn(name: str) -> str:
    model, points = load(name), _measured(name)
    reach = 2 * model.prior_variance**0.5
    left, right = _x(model.prior_mean - reach), _x(model.prior_mean + reach)
    spoken = (
        f"{name}: measured diversity and share of faces from mean -100 to 100; "
        "a band marks the prior, a line the mean that is shown"
    )
    parts = [
        f"<svg class='curve' viewBox='0 0 {WIDTH} {HEIGHT + FOOT}' role='img' aria-label='{spoken}'>",
        f"<rect class='prior' x='{left:.1f}' y='0' width='{right - left:.1f}' height='{HEIGHT}'/>",
        f"<line class='axis' x1='0' x2='{WIDTH}' y1='{HEIGHT}' y2='{HEIGHT}'/>",
    ]
    for key in ("pixel_diversity", "face_share"):
        values = [point[key] for point in points]
        if None in values:
            continue
        most = 1 if key == "face_share" else max(values)
        places = (
            f"{_x(point['mean']):.1f},{HEIGHT - 2 - (HEIGHT - 6) * value / most:.1f}"
            for point, value in zip(points, values)
        )
        parts.append(f"<polyline class='{key.replace('_', '-')}' points='{' '.join(places)}'/>")
    parts += [f"<text x='{_x(tick):.1f}' y='{HEIGHT + FOOT - 3}'>{tick:g}</text>" for tick in TICKS]
    return "".join(parts)


def _x(mean: float) -> float:
    return MARGIN + position(mean) * (WIDTH - 2 * MARGIN)


@cache
def _all_measured() -> dict:
    return json.loads(MEASURED.read_text()) if exists() else {}


def _measured(name: str) -> list[dict[str, float]]:
    return _all_measured().get(MODELS[name][1], [])
