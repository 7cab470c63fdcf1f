"""Attributes of faces: what they are called, which work best, and how people and programs say what a face is to have.

They say it in a line, such as "Smiling, no Eyeglasses, Young=0.5": 1 is on, "no" is -1. An item that holds a comma or a
quotation mark is quoted as in CSV.
"""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

from .values import number, said, text

# Written by the study that measures attributes, beside the weights.
ATTRIBUTES_FILE = "attributes.json"

# Of that file: forty attributes take 2 kB.
MOST_BYTES = 1_000_000

# Of a line: a model's names may have 100 characters each.
MOST_CHARACTERS = 10_000

# How far a direction is followed, as a multiple of what sets faces with an attribute apart from others.
MOST_STEPS = 3.0

WHAT_THEY_ARE = (
    "Attributes are labels that annotators gave to photographs of celebrities. Some are judgements of taste "
    "(“Attractive”), and none is a fact about a person."
)


class Knowing(Protocol):
    """What is asked of a model: its names, those of bits first where it has any."""

    @property
    def attributes(self) -> Sequence[str]: ...

    @property
    def discrete_size(self) -> int: ...


def title(name: str) -> str:
    """An attribute's name as people write it: "Mouth slightly open" for Mouth_Slightly_Open."""
    return name.replace("_", " ").strip().capitalize() or name


def names_of(model: Knowing) -> list[str]:
    """The model's attributes that a line of text can name."""
    return [name for name in model.attributes if name.isprintable() and name == name.strip()]


def read_areas(path: Path) -> dict[str, float]:
    """How well each attribute works: the area under the curve with which a regression trained on real faces tells
    faces that are to have it from those that are not. Whatever the file holds that is no such number is left out."""
    with suppress(Exception):  # A stranger's file, of any types and depths; without it the order is the model's own.
        if path.stat().st_size <= MOST_BYTES:
            found = json.loads(path.read_bytes())
            areas = {
                name: about["area"] for name, about in found.items() if isinstance(about, dict) and "area" in about
            }
            return {name: float(area) for name, area in areas.items() if type(area) in (int, float) and 0 <= area <= 1}
    return {}


def best_first(names: Iterable[str], areas: Mapping[str, float]) -> list[str]:
    """Those that work best first; those that nobody measured last, in their own order."""
    return sorted(names, key=lambda name: -areas.get(name, -math.inf))


def line(value: Any, what: str) -> str:
    """What was sent for attributes, a line or a mapping of names to true, false or numbers, as a line.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if isinstance(value, Mapping):
        wishes = {name: wish if isinstance(wish, bool) else _number(name, wish) for name, wish in value.items()}
        value = write({name: 2.0 * wish - 1 if isinstance(wish, bool) else wish for name, wish in wishes.items()})
    elif not isinstance(value, (str, type(None))):
        raise ValueError(f"{what} cannot be {said(value)}: write a line such as Smiling, no Eyeglasses.")
    return text(value, what, MOST_CHARACTERS)


def write(values: Mapping[str, float]) -> str:
    """The line that `read` reads as these values."""
    return ", ".join(item(name, value) for name, value in values.items())


def item(name: str, value: float) -> str:
    """An attribute's part of a line."""
    written = name if value == 1 else f"no {name}" if value == -1 else f"{name}={value!r}".removesuffix(".0")
    quoted = '"' in written or "," in written
    return '"{}"'.format(written.replace('"', '""')) if quoted else written


def read(written: str, model: Knowing, unknown: list[str] | None = None) -> dict[str, float]:
    """The value of each attribute that a line names, from -1 to 1 for a bit, or within `MOST_STEPS` for a direction.

    Args:
        written: names may differ from the model's in capitals, and have spaces for underscores.
        unknown: where items go that name none of the model's attributes, instead of an error.

    Raises:
        ValueError: with a sentence for whoever wrote the line.
    """
    names = names_of(model)
    known = {_folded(name): name for name in reversed(names)}
    most = 1.0 if model.discrete_size else MOST_STEPS
    values = {}
    for wish in filter(None, map(str.strip, next(csv.reader([written], skipinitialspace=True), []))):
        head, equals, value = wish.rpartition("=")
        if wish in names or _folded(wish) in known:
            name, found = wish, 1.0
        elif wish[:3].lower() == "no " and _folded(wish[3:]) in known:
            name, found = wish[3:].strip(), -1.0
        elif equals and _folded(head) in known:
            name, found = head.strip(), _number(head, value, most)
        elif unknown is not None:
            unknown.append(wish)
            continue
        else:
            raise ValueError(_unknown(wish, names))
        values[name if name in names else known[_folded(name)]] = found
    return values


def _unknown(wish: str, names: list[str]) -> str:
    if not names:
        return f"This model knows no attributes, so none can be {said(wish)}."
    close = [said(name) for name in get_close_matches(wish[:100], names, n=3, cutoff=0)]
    return f"There is no attribute {said(wish)}: the closest are {', '.join(close)}."


def _number(name: str, value: Any, most: float = 1e6) -> float:
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    return number(value, f"The attribute {said(name.strip())}", -most, most)


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
