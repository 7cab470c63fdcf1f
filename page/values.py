"""What a browser, a link or a program sends, checked: one function for each kind of value.

Anything that JSON can hold may arrive. Each function returns the value as the rest of the page takes it, or raises
ValueError with a sentence that names it, says what came and what it takes.
"""

import math
from collections.abc import Sequence
from typing import Any

# Of a text that is repeated in a sentence, and of one that is taken at all; a recipe with a thousand bits is shorter.
SAID, MOST_CHARACTERS = 40, 1200


def number(value: Any, what: str, least: float, most: float) -> float:
    """A number within limits.

    Args:
        what: names the value, such as "The mean".
    """
    if not _is_number(value) or not least <= value <= most:
        raise ValueError(f"{what} cannot be {said(value)}: choose a number from {said(least)} to {said(most)}.")
    return float(value)


def whole(value: Any, what: str, least: float, most: float) -> int:
    """A whole number within limits; 3.0 is one, as JavaScript has no other."""
    if not _is_number(value) or not least <= value <= most or value != int(value):
        raise ValueError(f"{what} cannot be {said(value)}: choose a whole number from {said(least)} to {said(most)}.")
    return int(value)


def choice(value: Any, what: str, choices: Sequence[str]) -> str:
    """One of several names."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{what} cannot be {said(value)}: choose {', '.join(choices[:-1])} or {choices[-1]}.")
    return value


def text(value: Any, what: str, most: int = MOST_CHARACTERS) -> str:
    """A short line of text; nothing is an empty one."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        raise ValueError(f"{what} cannot be {said(value)}: write one line of text, of at most {said(most)} characters.")
    return value


def said(value: Any) -> str:
    """A value as people write it, cut to a few words."""
    match value:
        case None:
            return "empty"
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}" if abs(value) < 10**15 else "a number that large"
        case float():
            return f"{value:,.10g}" if math.isfinite(value) else "NaN" if math.isnan(value) else "infinite"
        case str():
            shown = "".join(character if character.isprintable() else "?" for character in value[:SAID])
            return f'"{shown}{"…" * (len(value) > SAID)}"'
        case list():
            return "a list"
    return "an object"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
