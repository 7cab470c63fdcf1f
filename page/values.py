"""Checks of what a link or a program sends. Anything that JSON can hold may arrive.

A check returns the value, or raises ValueError with a sentence that names it, says what came and what is accepted.
"""

import math
from typing import Any

# Characters of a text that are quoted in a sentence, and that are accepted; a recipe with a thousand bits is shorter.
MOST_QUOTED, MOST_CHARACTERS = 40, 1200


def number(value: Any, what: str, least: float, most: float, whole: bool = False) -> float:
    """A number within limits.

    Args:
        what: names the value, such as "The mean".
        whole: whether it must be a whole number; 3.0 is one, since JavaScript has no other.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not least <= value <= most or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"{what} cannot be {quoted(value)}: choose {kind} from {quoted(least)} to {quoted(most)}.")
    return int(value) if whole else float(value)


def text(value: Any, what: str, most: int = MOST_CHARACTERS) -> str:
    """A line of text; None is an empty one."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        limit = f"write one line of text, of at most {quoted(most)} characters"
        raise ValueError(f"{what} cannot be {quoted(value)}: {limit}.")
    return value


def quoted(value: Any) -> str:
    """A value as a sentence shows it, cut to a few words."""
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
            shown = "".join(character if character.isprintable() else "?" for character in value[:MOST_QUOTED])
            return f'"{shown}{"…" * (len(value) > MOST_QUOTED)}"'
        case list():
            return "a list"
    return "an object"
