"""Attributes of faces: what they are called, which work best, and the line of text that sets them.

Such a line is "Smiling, no Eyeglasses, Young=0.5": 1 is on, "no" is -1. An item that holds a comma or a quotation mark is
quoted as in CSV.
"""

import csv
import json
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .values import number, quoted, text

if TYPE_CHECKING:
    from models import FaceModel

    from .catalog import ShownModel

# Written by the study that measures attributes, beside the weights.
ATTRIBUTES_FILE = "attributes.json"

# The longest line that is read: each of a model's names may have 100 characters.
MOST_CHARACTERS = 10_000

# How far a direction is followed, in multiples of the difference between faces with the attribute and others; and how
# far a bit is moved.
MOST_STEPS, MOST_BIT = 3.0, 1.0

WHAT_THEY_ARE = (
    "Attributes are labels that annotators gave to photographs of celebrities. Some are judgements of taste "
    "(“Attractive”), and none is a fact about a person."
)


def title(name: str) -> str:
    """An attribute's name as people write it: "Mouth slightly open" for Mouth_Slightly_Open."""
    return name.replace("_", " ").strip().capitalize() or name


def names_of(model: "FaceModel | ShownModel") -> list[str]:
    """The model's attributes that a line of text can name."""
    return [name for name in model.attributes if name.isprintable() and name == name.strip()]


def read_areas(path: Path) -> dict[str, float]:
    """How well each attribute works, 0 to 1, where attributes.json tells: the area under the ROC curve of a regression,
    trained on real faces, that separates generated faces with the attribute from those without it."""
    with suppress(Exception):  # A stranger's file, of any types and depths; without it the order is the model's own.
        areas = {name: about.get("area") for name, about in json.loads(path.read_bytes()).items()}
        return {name: float(area) for name, area in areas.items() if type(area) in (int, float) and 0 <= area <= 1}
    return {}


def line(value: Any, what: str) -> str:
    """Attributes as a line. A program sends the line, or a mapping of names to true, false or numbers.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if isinstance(value, Mapping):
        value = write({name: _number(name, 2.0 * it - 1 if isinstance(it, bool) else it) for name, it in value.items()})
    return text(value, what, MOST_CHARACTERS)


def write(values: Mapping[str, float]) -> str:
    """The line that `read` reads as these values."""
    return ", ".join(_item(name, value) for name, value in values.items())


def _item(name: str, value: float) -> str:
    written = name if value == 1 else f"no {name}" if value == -1 else f"{name}={value!r}".removesuffix(".0")
    quotes = '"' in written or "," in written
    return '"{}"'.format(written.replace('"', '""')) if quotes else written


def read(written: str, model: "FaceModel | ShownModel") -> dict[str, float]:
    """The value of each attribute that a line names: from -1 to 1 for a bit, from -3 to 3 for a direction.

    Args:
        written: names may differ from the model's in capitals, and have spaces for underscores.

    Raises:
        ValueError: with a sentence for whoever wrote the line.
    """
    names = names_of(model)
    known = {_folded(name): name for name in reversed(names)} | {name: name for name in names}
    find = lambda text: known.get(text.strip()) or known.get(_folded(text))
    most = MOST_BIT if model.discrete_size else MOST_STEPS
    values = {}
    for item in filter(None, map(str.strip, next(csv.reader([written], skipinitialspace=True), []))):
        head, equals, value = item.rpartition("=")
        if name := find(item):
            values[name] = 1.0
        elif item[:3].lower() == "no " and (name := find(item[3:])):
            values[name] = -1.0
        elif equals and (name := find(head)):
            values[name] = _number(name, value, most)
        else:
            raise ValueError(_unknown(item, names))
    return values


def _unknown(item: str, names: list[str]) -> str:
    if not names:
        return f"This model knows no attributes, so none can be {quoted(item)}."
    close = [quoted(name) for name in get_close_matches(item[:100], names, n=3, cutoff=0)]
    return f"There is no attribute {quoted(item)}: the closest are {', '.join(close)}."


def _number(name: str, value: Any, most: float = 1e6) -> float:
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    return number(value, f"The attribute {quoted(name.strip())}", -most, most)


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
