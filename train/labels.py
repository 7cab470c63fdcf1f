"""Labels: what is known of a picture beside its pixels, each -1 or 1.

A column of a table, or of a file of attributes, holds labels if the meaning of its values is plain: yes and no in words
or numbers, the names of at most 50 classes, or lists of such names. For any other column the reason is told.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .settings import printable

# More classes are identities, or no classes at all.
MOST_CLASSES = 50

NO_LABELS = np.empty(0, np.int8)

# So many pictures may be damaged, or without labels, before a run stops: this share of them, and a few in any case.
MOST_DAMAGED, FEW_DAMAGED = 0.01, 5

_NUMBER = re.compile(r"[+-]?\d+([.,]\d*)?(e[+-]?\d+)?", re.IGNORECASE)
_BITS = {"false": False, "no": False, "true": True, "yes": True}
_SHORT_BITS = ({"f", "t"}, {"n", "y"})
_UNKNOWN = {"", "-", "?", "<na>", "n/a", "na", "nan", "null", "unknown"}


def most_damaged(pictures: int) -> int:
    """How many of these pictures may be damaged before a run stops."""
    return max(FEW_DAMAGED, int(MOST_DAMAGED * pictures))


def plain(value: Any) -> Any:
    """The meaning of a value: yes and no as booleans, numbers as numbers, lists as tuples, None for no answer."""
    if isinstance(value, str):
        word = value.strip()
        if word.lower() in _UNKNOWN:
            return None
        return float(word.replace(",", ".")) if _NUMBER.fullmatch(word) else _BITS.get(word.lower(), word)
    if isinstance(value, (list, tuple)):
        return tuple(map(plain, value))
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return value if isinstance(value, (bool, int, float)) else str(value)


class LabelColumn(NamedTuple):
    """A column of labels.

    Attributes:
        column: its name.
        names: the names of its k labels.
        rows: the labels of each plain value: (k,) int8, -1 or 1. A list has the labels of all its members.
    """

    column: str
    names: tuple[str, ...]
    rows: dict[Any, np.ndarray]

    def read(self, values: Sequence[Any]) -> tuple[np.ndarray, dict[int, str]]:
        """The labels of n plain values, (n, k) int8, and by place what is wrong with values that have none."""
        kinds = {value: kind for kind, value in enumerate(dict.fromkeys(values))}
        read = [self._read(value) for value in kinds]
        chosen = [kinds[value] for value in values]
        problems = {place: problem for place, kind in enumerate(chosen) if (problem := read[kind][1])}
        table = np.array([labels for labels, _ in read], np.int8).reshape(-1, len(self.names))
        return table[chosen], problems

    def _read(self, value: Any) -> tuple[np.ndarray, str | None]:
        members = [member for member in (value if isinstance(value, tuple) else (value,)) if member is not None]
        labels, problem = np.full(len(self.names), -1, np.int8), None
        for member in members:
            if member in self.rows:
                labels = np.maximum(labels, self.rows[member])
            else:
                known = " or ".join(map(in_words, self.rows)) if self.names == (self.column,) else "a class"
                problem = f"Column {printable(self.column)!r} holds {in_words(member)[:40]}, which is not {known}."
        if value is None:
            problem = f"Column {printable(self.column)!r} says nothing of it."
        return labels, problem


def column_of(
    name: str, counts: Counter[Any], is_whole: bool, classes: Sequence[str] | None = None
) -> LabelColumn | str | None:
    """A column of labels, or the reason why it is none, or None if only the whole column can tell.

    Args:
        counts: how often each of its plain values occurs.
        is_whole: whether these are all of its values, rather than the first ones.
        classes: the names of its classes, where the data set tells them.
    """
    total, unknown = counts.total(), counts[None]
    values = set(counts) - {None}
    if not values:
        return "it is empty"
    if unknown > most_damaged(total):
        return f"it says nothing of {unknown:,} of {total:,} pictures"
    usual = {value for value in values if counts[value] > MOST_DAMAGED * total}
    if usual in ({0, 1}, {-1, 1}) and sum(counts[value] for value in values - usual) <= most_damaged(total):
        values = usual  # The others are damage.
    has_lists = any(isinstance(value, tuple) for value in values)
    if has_lists:
        values = {member for value in values for member in (value if isinstance(value, tuple) else (value,))} - {None}
    words = {value for value in values if isinstance(value, str)}
    if not words and classes is None:
        return "its lists hold numbers, which have no names" if has_lists else _numbers(name, values, counts, is_whole)
    if words == values and {word.lower() for word in words} in _SHORT_BITS and not has_lists:
        return LabelColumn(name, (name,), {word: _bit(word.lower() in ("t", "y")) for word in words})
    members = (
        {member: in_words(member) for member in values} if classes is None else {member: member for member in classes}
    )
    if len(members) > MOST_CLASSES:
        return f"it holds {len(members):,} different words, more than {MOST_CLASSES}"
    if classes is None and not has_lists and 2 * len(members) > total:
        return "it holds another word for nearly every picture"
    if not is_whole and classes is None:
        return None
    if len(members) == 1 and not has_lists:
        return f"it is always {next(iter(members.values()))!r}"
    ordered = sorted(members, key=lambda member: members[member]) if classes is None else list(classes)
    labels = np.eye(len(ordered), dtype=np.int8) * 2 - 1
    if len(ordered) == 2 and not has_lists:
        labels = labels[:, 1:]
    names = tuple(members[member] for member in ordered[-labels.shape[1] :])
    return LabelColumn(name, names, dict(zip(ordered, labels)))


def _numbers(name: str, values: set[Any], counts: Counter[Any], is_whole: bool) -> LabelColumn | str | None:
    """As `column_of`, for values that are all numbers."""
    if values == {-1, 0, 1}:  # -1 is what data sets write where they do not know.
        if counts[-1] > most_damaged(counts.total()):
            return f"it is -1, beside 0 and 1 for no and yes, for {counts[-1]:,} of {counts.total():,} pictures"
        values = {0, 1}
    is_bool = values <= {0, 1} and any(isinstance(value, bool) for value in values)
    if is_bool or values in ({0, 1}, {-1, 1}, {-1}):
        return LabelColumn(name, (name,), {(-1 if -1 in values else 0): _bit(False), 1: _bit(True)})
    if len(values) == 1 and not is_whole:
        return None
    if len(values) == 1:
        return f"it is always {in_words(*values)}"
    if len(values) > MOST_CLASSES:
        return f"it holds {len(values):,} different numbers"
    some = ", ".join(map(in_words, sorted(values)[:4])) + ", ..." * (len(values) > 4)
    return f"it holds {some}, which may be counts or classes: name classes in words"


class Labels:
    """The columns of a data set that are labels, and why the others are none.

    Attributes:
        columns: the columns that are labels, by a key of the caller's.
        refused: the other columns, each with the reason.
    """

    def __init__(self) -> None:
        self.columns: dict[Any, LabelColumn] = {}
        self.refused: list[str] = []

    def add(self, key: Any, name: str, column: LabelColumn | str | None) -> None:
        """Add a column, or the reason why it is none, as `column_of` returns them."""
        if any(other.column == name for other in self.columns.values()):
            column = "a column before it has that name"
        if isinstance(column, LabelColumn):
            self.columns[key] = column
        else:
            self.refused.append(f"{printable(name)[:40]} ({printable(column or 'it cannot be read')})")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all labels. Where two labels have the same name, the names of their columns precede it."""
        count = Counter(name for column in self.columns.values() for name in column.names)
        return tuple(
            printable(f"{column.column} {name}" if count[name] > 1 and name != column.column else name)
            for column in self.columns.values()
            for name in column.names
        )

    @property
    def note(self) -> str:
        """Which columns are no labels, and why."""
        more = f" and {len(self.refused) - 8} more" if len(self.refused) > 8 else ""
        return ", ".join(self.refused[:8]) + more

    def read(self, values: Mapping[Any, Sequence[Any]], count: int) -> tuple[np.ndarray, dict[int, str]]:
        """The labels of pictures, (count, k) int8, and by place what is wrong with pictures that lack some.

        Args:
            values: the plain values of each column, by its key.
        """
        labels, problems = [np.empty((count, 0), np.int8)], {}
        for key, column in self.columns.items():
            its_labels, its_problems = column.read(values[key])
            labels.append(its_labels)
            problems.update(its_problems)
        return np.concatenate(labels, axis=1), problems


def in_words(value: Any) -> str:
    """A plain value as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _bit(value: bool) -> np.ndarray:
    return np.array([1 if value else -1], np.int8)
