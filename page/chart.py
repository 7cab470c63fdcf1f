"""Small line charts as SVG inside the page, in the page's colours, with a mark that moves at the speed of a slider."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, MARGIN, FOOT = 300, 84, 8, 16

# In shares of the chart's width and height, 0 to 1, from the bottom left.
Line = Sequence[tuple[float, float]]


def draw(
    spoken: str, lines: Mapping[str, Line], ticks: Mapping[float, str], band: tuple[float, float] | None = None
) -> str:
    """All of a chart but its mark.

    Args:
        spoken: what is read aloud instead.
        lines: by the class that gives each its colour.
        ticks: labels under the chart, by their place.
        band: a part of the width that is set off.
    """
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT + FOOT}" role="img" aria-label="{escape(spoken)}">']
    if band:
        left, right = map(_x, band)
        parts.append(f'<rect x="{left:.1f}" y="0" width="{right - left:.1f}" height="{HEIGHT}"/>')
    parts.append(f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>')
    for colour, line in lines.items():
        points = " ".join(f"{_x(x):.1f},{HEIGHT - 2 - (HEIGHT - 6) * y:.1f}" for x, y in line)
        parts.append(f'<polyline class="{colour}" points="{points}"/>')
    parts += [f'<text x="{_x(x):.1f}" y="{HEIGHT + FOOT - 3}">{escape(label)}</text>' for x, label in ticks.items()]
    return "".join(parts)


def mark(drawn: str, x: float) -> str:
    """The chart with a mark at a share of its width."""
    return f'{drawn}<line class="mark" x1="{_x(x):.1f}" x2="{_x(x):.1f}" y1="0" y2="{HEIGHT}"/></svg>'


def _x(share: float) -> float:
    return MARGIN + share * (WIDTH - 2 * MARGIN)
