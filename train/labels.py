"""Labels of pictures: 1 for yes, -1 for no, 0 for unknown.

A column of a table, or of a list beside pictures, holds labels if the meaning of its values is plain: yes and no in words
or numbers, the names of at most 50 classes, or lists of such names. For any other column the reason is told.
"""

import codecs
import functools
import io
import math
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from models.hub import one_line

from .settings import printable
from .source import extensions

# More classes are identities, or no classes at all.
MOST_CLASSES = 50

# Of a label's name, as models take it.
MOST_LETTERS = 100

# So many pictures may be damaged, or without labels, before a run stops: this share of them, and a few in any case.
MOST_DAMAGED, FEW_DAMAGED = 0.01, 5

# Values that mean no and yes, if a column holds no others.
_PAIRS = ((0, 1), (-1, 1), ("n", "y"), ("N", "Y"), ("f", "t"), ("F", "T"))

_NUMBER = re.compile(r"[+-]?\d+([.,]\d*)?(e[+-]?\d+)?", re.IGNORECASE)
_WORDS: dict[str, bool | None] = {"false": False, "no": False, "true": True, "yes": True}
_WORDS |= dict.fromkeys(("", "-", "?", "<na>", "n/a", "na", "nan", "null", "unknown"))


def most_damaged(pictures: int) -> int:
    """How many of these pictures may be damaged before a run stops."""
    return max(FEW_DAMAGED, int(MOST_DAMAGED * pictures))


def plain(value: Any) -> Any:
    """The meaning of a value: yes and no as booleans, numbers as numbers, lists as tuples, None for no answer."""
    if isinstance(value, str):
        return _meaning(value)
    if isinstance(value, (list, tuple)):
        return tuple(its for its in map(plain, value) if its is not None)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return value if isinstance(value, (bool, int, float)) else str(value)


@functools.lru_cache(maxsize=1000)  # A list of attributes holds millions of words, of which few differ.
def _meaning(text: str) -> Any:
    word = text.strip()
    return float(word.replace(",", ".")) if _NUMBER.fullmatch(word) else _WORDS.get(word.lower(), word)


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


class LabelColumn(NamedTuple):
    """A column of labels.

    Attributes:
        names: the names of its k labels.
        rows: the labels of each plain value: (k,) int8, -1 or 1. A list has the labels of all its members.
    """

    names: tuple[str, ...]
    rows: dict[Any, np.ndarray]

    def read(self, value: Any) -> np.ndarray:
        """The labels of a plain value: (k,) int8, all 0 if it has none."""
        members = value if isinstance(value, tuple) else (value,)
        unknown, none = np.zeros(len(self.names), np.int8), np.full(len(self.names), -1, np.int8)
        return np.max([self.rows.get(member, unknown) for member in members] or [none], axis=0)


def column_of(
    name: str, counts: Counter[Any], is_whole: bool, classes: Sequence[str] | None = None
) -> LabelColumn | str | None:
    """A column of labels, or the reason why it is none, or None if only the whole column can tell.

    Args:
        counts: how often each of its plain values occurs.
        is_whole: whether these are all of its values, rather than the first ones.
        classes: the names of its classes, where the data set tells them; then the values are their places.
    """
    total = counts.total()
    has_lists = any(isinstance(value, tuple) for value in counts)
    members = {one for value in counts for one in (value if isinstance(value, tuple) else (value,))} - {None}
    if not members:
        return "it is empty"
    usual = {value for value in members if counts[value] > MOST_DAMAGED * total}  # The others are damage.
    if 0 in usual:
        usual.discard(-1)  # Data sets write it beside 0 and 1 where they do not know.
    pair = next((pair for pair in _PAIRS if set(pair) in (members, usual)), None)
    if members == {-1} or (members <= {0, 1} and any(isinstance(value, bool) for value in members)):
        pair = (min(0, *members), 1)
    if pair and classes is None and not has_lists:
        names, rows = [name], dict(zip(pair, np.array([[-1], [1]], np.int8)))
    else:
        words = {member: _in_words(member) for member in sorted(members, key=_in_words)}
        if classes is not None:
            words, is_whole = dict(enumerate(classes)), True
        elif not any(isinstance(member, str) for member in members) and (len(members) > 1 or is_whole):
            some = ", ".join([*words.values()][:4]) + ", ..." * (len(words) > 4)
            return f"it holds {some}, which may be counts or classes: name classes in words"
        if len(words) > MOST_CLASSES or (classes is None and not has_lists and 2 * len(words) > total):
            return f"it holds {len(words):,} different words in {total:,} rows, too many to be classes"
        if not is_whole:
            return None
        names, table = [*words.values()], np.eye(len(words), dtype=np.int8) * 2 - 1
        if len(words) == 1 and not has_lists:
            return f"it is always {names[0]!r}"
        if len(words) == 2 and not has_lists:
            names, table = names[1:], table[:, 1:]
        rows = dict(zip(words, table))
    if max(map(len, names)) > MOST_LETTERS:
        return f"{max(names, key=len)[:40]!r}... has more than {MOST_LETTERS} characters"
    unknown = sum(count for value, count in counts.items() if value not in rows and not isinstance(value, tuple))
    if unknown > most_damaged(total):
        return f"it says nothing of {unknown:,} of {total:,} pictures"
    return LabelColumn(tuple(names), rows)


class Labels:
    """The columns of a data set that are labels, and why the others are none.

    Attributes:
        columns: the columns that are labels, by their names.
        refused: the other columns, each with the reason.
    """

    def __init__(self) -> None:
        self.columns: dict[str, LabelColumn] = {}
        self.refused: list[str] = []

    def add(self, name: str, column: LabelColumn | str | None) -> None:
        """Add a column, or the reason why it is none, as `column_of` returns them."""
        if isinstance(column, LabelColumn):
            self.columns[name] = column
        else:
            self.refused.append(f"{printable(name)[:40]} ({printable(column or 'it cannot be read')})")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all labels. Where two labels have the same name, the names of their columns precede it."""
        pairs = [(column, name) for column, its in self.columns.items() for name in its.names]
        count = Counter(name for _, name in pairs)
        return tuple(
            printable(f"{column} {name}" if count[name] > 1 and name != column else name) for column, name in pairs
        )

    @property
    def note(self) -> str:
        """Which columns are no labels, and why."""
        more = f" and {len(self.refused) - 8} more" if len(self.refused) > 8 else ""
        return ", ".join(self.refused[:8]) + more

    def read(self, values: Mapping[str, Sequence[Any]], count: int) -> np.ndarray:
        """The labels of pictures, (count, k) int8, by the plain values of each column."""
        parts = [np.empty((count, 0), np.int8)]
        for name, column in self.columns.items():
            kinds = {value: kind for kind, value in enumerate(dict.fromkeys(values[name]))}
            rows = np.array([column.read(value) for value in kinds])
            parts.append(rows[[kinds[value] for value in values[name]]])
        return np.concatenate(parts, axis=1)


# Lists beside pictures.


def read_list(name: str, read: Callable[[], bytes], **options: Any) -> pd.DataFrame:
    """The table of a file of JSON in lines, or of whatever a spreadsheet or CelebA's authors write.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        content = read()
        encoding = "utf-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:  # As Excel writes it in the West.
            text = content.decode("cp1252", "replace")
        first, _, others = text.partition("\n")
        text = others if first.strip().isdecimal() else text  # CelebA's own begins with the count of its lines.
        header = text.partition("\n")[0]  # Other lines may hold remarks.
        separator = max(",;\t", key=header.count)
        if name.lower().endswith(".jsonl"):
            table = pd.read_json(io.StringIO(text), lines=True, dtype=False, convert_axes=False)
        else:
            options |= {"sep": separator if separator in header else r"\s+", "dtype": str, "keep_default_na": False}
            table = pd.read_csv(io.StringIO(text), skipinitialspace=True, **options)
    except Exception as error:  # Archives and parsers have their own ways to fail.
        raise ValueError(f"{name} cannot be read: {one_line(error)}") from error
    is_numbered = table.index.inferred_type == "integer"
    if table.empty or (separator in header and not is_numbered):
        raise ValueError(
            f"{name} cannot be read: it has no rows, or its first line names fewer columns than others have"
        )
    if not is_numbered:  # In CelebA's own the first column has no name.
        table = table.reset_index()
    return table.set_axis([str(column).strip() for column in table], axis=1)


def by_picture(table: pd.DataFrame, folder: str) -> pd.DataFrame:
    """A list's table with the paths of pictures as its index: of the first column, unless another holds names of files.

    Args:
        folder: that its paths begin at, with a slash at its end, or "".
    """
    is_name = table.head(100).map(lambda value: PurePosixPath(str(value)).suffix.lower() in extensions())
    return table.set_index(is_name.sum().idxmax()).rename(lambda name: f"{folder}{name}")


def label_by_lists(
    pictures: Sequence[str], title: str, lists: Sequence[pd.DataFrame]
) -> tuple[np.ndarray, tuple[str, ...], str]:
    """The labels of n pictures, (n, k) int8, that lists with an index of paths hold, their names, and a note of others.

    Raises:
        ValueError: why there are none, in a few words that begin with the lists' title.
    """
    labels, table = Labels(), pd.concat(lists, join="inner")
    for name in dict.fromkeys(name for one in lists for name in one if name not in table):
        labels.add(name, f"it is not in every {title}")
    values = {name: list(map(plain, table[name])) for name in table}
    for name, its in values.items():
        labels.add(name, column_of(name, Counter(its), is_whole=True))
    if not labels.columns:
        raise ValueError(f"{title} has no labels: {labels.note or 'it has no other columns'}")
    find = finder(table.index)
    places = [find(name) for name in pictures]
    if places.count(None) > most_damaged(len(pictures)):
        raise ValueError(f"{title} has a line for {len(places) - places.count(None):,} of {len(places):,} pictures")
    rows = np.pad(labels.read(values, len(table)), ((0, 1), (0, 0)))  # The last is of pictures that have no line.
    return rows[[len(table) if place is None else place for place in places]], labels.names, labels.note


def _key(name: str) -> str:
    """A picture's path as it is compared: lists may have other slashes, capitals, accents and extensions."""
    stem, extension = posixpath.splitext(unicodedata.normalize("NFC", name).replace("\\", "/").casefold())
    return stem if extension in extensions() else stem + extension


def _ends(name: str) -> list[str]:
    """A path's key, and the same without its first folder, its first two, and so on."""
    ends = [_key(name)]
    while "/" in ends[-1]:
        ends.append(ends[-1].partition("/")[2])
    return ends


def finder(names: Iterable[str]) -> Callable[[str], int | None]:
    """A function that finds a picture's path among the names in a list: the name's place, or None.

    A list may name less of a path than there is, as CelebA's does, or more, as one from another machine. Names that stand
    there twice are not found.
    """
    whole: dict[str, int | None] = {}
    longer: dict[str, int | None] = {}
    for place, name in enumerate(names):
        first, *others = _ends(name)
        whole[first] = None if first in whole else place
        longer |= {end: None if end in longer else place for end in others}

    def find(name: str) -> int | None:
        ends = _ends(name)
        return next((whole[end] for end in ends if end in whole), longer.get(ends[0]))

    return find
