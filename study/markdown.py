"""Tables in Markdown."""

from collections.abc import Collection, Iterable
from typing import Any

from . import scores
from .scores import Interval


def table(head: Collection[str], rows: Collection[Iterable[str]]) -> str:
    """A table in Markdown, or that it has no rows."""
    if not rows:
        return "*Not measured yet.*"
    first, *others = (f"| {' | '.join(cells)} |" for cells in (head, *rows))
    return "\n".join([first, "|" + "---|" * len(head), *others])


def shown(value: Interval | float | None, form: str = ".2f") -> str:
    """A mean and its interval, or a single number; nothing of what was not measured."""
    if not isinstance(value, dict):
        return "" if value is None else f"{value:z{form}}"  # z: no negative zero.
    return " ± ".join(f"{number:z{form}}" for number in (value["mean"], value["interval"]) if number is not None)


def by_name(measured: dict[str, Any], titles: dict[str, str], columns: dict[str, tuple[str, str]]) -> str:
    """A table in Markdown with a row for each title that was measured.

    Args:
        columns: by their heads, where a figure stands in what was measured, such as "generated/psnr", and its format.
    """

    def cell(its: Any, place: str, form: str) -> str:
        for key in place.split("/"):
            its = its.get(key) if its else None
        return shown(its, form)

    names = [name for name in titles if name in measured]
    rows = [[titles[name], *(cell(measured[name], *column) for column in columns.values())] for name in names]
    return table(["", *columns], rows)


def score_columns(kind: str, part: str = "", least_digits: int = 0) -> dict[str, tuple[str, str]]:
    """The columns of all scores of "generated" or "reconstructed" faces, in a part of a result such as "held_out/"."""
    columns = scores.of(kind).items()
    return {score.heading: (part + name, f".{max(least_digits, score.digits)}f") for name, score in columns}
