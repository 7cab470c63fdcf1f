"""Small line charts as SVG inside the page, in the page's colours, with a mark that moves at the speed of a slider."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from .show import html, together

WIDTH, HEIGHT, MARGIN, FOOT = 300, 84, 8, 16

# In shares of the chart's width and height, 0 to 1, from the bottom left.
Line = Sequence[tuple[float, float]]


def draw(
    spoken: str, lines: Mapping[str, Line], ticks: Mapping[float, str], band: tuple[float, float] | None = None
) -> Markup:
    """All of a chart but its mark.

    Args:
        spoken: what is read aloud instead.
        lines: by the class that gives each its colour.
        ticks: labels under the chart, by their place.
        band: a part of the width that is set off.
    """
    parts = [html('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">', WIDTH, HEIGHT + FOOT, spoken)]
    if band:
        left, right = map(_x, band)
        parts.append(html('<rect x="{:.1f}" y="0" width="{:.1f}" height="{}"/>', left, right - left, HEIGHT))
    parts.append(html('<line class="axis" x1="0" x2="{}" y1="{}" y2="{}"/>', WIDTH, HEIGHT, HEIGHT))
    for colour, line in lines.items():
        points = " ".join(f"{_x(x):.1f},{HEIGHT - 2 - (HEIGHT - 6) * y:.1f}" for x, y in line)
        parts.append(html('<polyline class="{}" points="{}"/>', colour, points))
    foot = HEIGHT + FOOT - 3
    parts += [html('<text x="{:.1f}" y="{}">{}</text>', _x(x), foot, label) for x, label in ticks.items()]
    return together(parts)


def mark(drawn: Markup, x: float) -> Markup:
    """The chart with a mark at a share of its width."""
    return html('{}<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{}"/></svg>', drawn, HEIGHT, x=_x(x))


def _x(share: float) -> float:
    return MARGIN + share * (WIDTH - 2 * MARGIN)
