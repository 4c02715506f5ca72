"""Checks of label, group and split columns: text to arrays. An error names the first row that fails."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import suggest
from ecgtune.data.tasks import MISSING
from ecgtune.errors import DataError
from ecgtune.text import plain_number, shown
from ecgtune.utils.formatting import counted

MAX_CLASSES = 50
"""More values in a label column are no classes but measurements, ages or identifiers."""
NO_VALUE = ("", "nan", "none", "na", "n/a", "null", "<na>", "#n/a")
"""Words for a missing value (lower case), unless they are the name of a class."""
SEPARATORS = ("|", ";", ",", "/", "+", "&", " ")
_FLAGS = {"0": 0, "1": 1, "false": 0, "true": 1, "-1": MISSING} | dict.fromkeys(NO_VALUE, MISSING)
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Where:
    """Names of windows in messages: the file, its word for the position of a window, and the positions.

    file: the path of each window's file, None with one file.
    """

    path: str
    place: str
    row: NDArray[np.int64]
    file: NDArray[np.str_] | None = None

    def __call__(self, window: int) -> str:
        return f"{self.path if self.file is None else self.file[window]}: {self.place} {self.row[window]}"

    def short(self, window: int) -> str:
        """The position alone, with the file where there are several."""
        of = "" if self.file is None else f" of {self.file[window]}"
        return f"{self.place} {self.row[window]}{of}"


_NARROW = 128  # bytes of a cell


def distinct(text: NDArray[np.str_]) -> tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.int64]]:
    """Return the sorted values of a column (rows,), the first row of each, and the index of the value of each row.

    `numpy.unique`, which sorts all rows, takes ten times the time where one long value makes all cells wide.
    """
    if text.dtype.itemsize <= _NARROW:
        return np.unique(text, return_index=True, return_inverse=True)
    cells = text.tolist()
    first: dict[str, int] = {}
    for row, cell in enumerate(cells):
        first.setdefault(cell, row)
    values = sorted(first)
    code = {value: place for place, value in enumerate(values)}
    codes = np.fromiter((code[cell] for cell in cells), np.int64, len(cells))
    return np.array(values, dtype=np.str_), np.array([first[value] for value in values], dtype=np.int64), codes


def split_names(text: NDArray[np.str_], where: Where) -> NDArray[np.str_]:
    """Convert a split column to "train", "val", "test". Raises DataError for any other value."""
    values, first, codes = distinct(text)
    names = []
    for value, window in zip(values, first, strict=True):
        name = _SPLIT_NAMES.get(value.strip().casefold())
        if name is None:
            raise DataError(f"{where(window)}: split {shown(value)} is unknown; allowed are train, val and test")
        names.append(name)
    return np.array(names, dtype="U5")[codes]


def identifiers(text: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return identifiers without the ".0" that data frames give to whole numbers: "15709.0" is patient "15709"."""
    values, _, codes = distinct(text)
    return np.array([plain_number(value) for value in values.tolist()], dtype=np.str_)[codes]


def check_groups(group: NDArray[np.str_], group_name: str, where: Where) -> None:
    """Raise DataError for a window without a group."""
    missing = np.flatnonzero(group == "")
    if len(missing):
        raise DataError(
            f"{where(missing[0])}: the {group_name} is missing; give every window a {group_name} or leave"
            " the column out"
        )


def check_no_leak(group: NDArray[np.str_], group_name: str, split: NDArray[np.str_], where: Where) -> None:
    """Raise DataError for a group in two splits: results on them would be too optimistic."""
    _, first, codes = distinct(group)
    other = np.flatnonzero(split != split[first[codes]])
    if len(other):
        window, home = int(other[0]), int(first[codes[other[0]]])
        raise DataError(
            f"{where(window)}: {group_name} {shown(group[window])} is in split '{split[window]}' but in"
            f" '{split[home]}' at {where.short(home)}; all windows of one {group_name} must be in"
            " one split"
        )


def missing_labels(text: NDArray[np.str_], listed: Sequence[str] = ()) -> NDArray[np.bool_]:
    """Return which labels of a column (windows,) are missing: empty or blank ones, and those `listed` (--missing).

    Words such as NA are missing in a column of numbers and the name of a class in any other.
    """
    values, _, codes = distinct(text)
    missing = (np.char.strip(values) == "") | np.isin(values, list(listed))
    words = np.isin(np.char.lower(values), NO_VALUE)
    numbers = all(_is_number(value) for value in values[~missing & ~words].tolist())
    return (missing | words if numbers else missing)[codes]


def class_notes(classes: Sequence[str]) -> tuple[str, ...]:
    """Return warnings about names of classes: missing values, names that differ in case only, joined labels."""
    notes = [
        f"{shown(name)} is a class, although it looks like a missing value; --missing {name} leaves its rows out"
        for name in classes
        if name.casefold() in NO_VALUE
    ]
    folded: dict[str, str] = {}
    for name in classes:
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            notes.append(f"{shown(other)} and {shown(name)} differ in case only and are two classes; write one of them")
    for separator in SEPARATORS:
        parts = {name: _parts(name, separator) for name in classes if name.casefold() not in NO_VALUE}
        known = {label for own in parts.values() if len(own) == 1 for label in own}
        joined = {name: own for name, own in parts.items() if len(own) > 1}
        if separator == " ":  # words of one name are common, "sinus rhythm": all have to be classes
            joined = {name: own for name, own in joined.items() if own <= known}
        counts = Counter(label for own in joined.values() for label in own)
        if any(label in known or count > 1 for label, count in counts.items()):
            first = next(iter(joined))
            notes.append(
                f"{shown(first)} looks like several labels in one; --label-separator '{separator}' separates them"
            )
    return tuple(notes)


def check_labels(text: NDArray[np.str_], where: Where) -> None:
    """Raise DataError for a missing label in a column (windows,)."""
    gone = np.flatnonzero(missing_labels(text))
    if len(gone):
        raise DataError(
            f"{where(gone[0])}: the label is missing (got {shown(text[gone[0]])}); every window needs the name of its"
            " class"
        )


def label_codes(text: NDArray[np.str_], where: Where, left_out: str = "") -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Convert labels (windows,) to indices into the sorted classes, without spaces around them; "1.0" is "1".

    left_out: a phrase on rows that are left out already, for an error. Raises DataError for a missing label, one class
    only, or values that cannot be classes: more than MAX_CLASSES, fewer than two windows of each on average, or
    fractional numbers.
    """
    check_labels(text, where)
    values, first, codes = distinct(text)
    short = np.array([_short(value) for value in values])
    names, merged = np.unique(short, return_inverse=True)
    if len(names) == 1:
        raise DataError(
            f"{where.path}: {counted(len(text), 'window')}, all with the label {shown(names[0])}; two classes are "
            f"needed{left_out}"
        )
    if len(names) > 2:
        appear = {str(name): int(first[merged == i].min()) for i, name in enumerate(names)}
        _check_classes(appear, len(text), where)
    return merged[codes].astype(np.int64), tuple(str(name) for name in names)


def label_flags(text: NDArray[np.str_], names: tuple[str, ...], where: Where) -> NDArray[np.int8]:
    """Convert cells (windows, labels) of 1, 0, true, false, or empty (also NO_VALUE, -1) to 1, 0 and MISSING.

    Raises DataError for another value, and for a label without a known positive or a known negative.
    """
    flags = np.empty(text.shape, dtype=np.int8)
    for column, name in enumerate(names):
        values, first, codes = distinct(text[:, column])
        known = [_FLAGS.get(_short(value).casefold()) for value in values]
        for value, flag, window in zip(values, known, first, strict=True):
            if flag is None:
                raise DataError(
                    f"{where(window)}: label {shown(name)} is {shown(value)}; allowed are 1, 0 and nothing (missing)"
                )
        flags[:, column] = np.array(known, dtype=np.int8)[codes]
    _check_both(flags, names, where)
    return flags


def joined_labels(
    rows: Sequence[Collection[str]], where: Where, wanted: Sequence[str] | None = None
) -> tuple[NDArray[np.int8] | NDArray[np.int64], tuple[str, ...]]:
    """Convert the labels of each window, of which it may have several, to 1 and 0 (windows, labels) and their names.

    wanted: the labels to use; all, sorted, when not given. A single label becomes two classes, "no AF" and "AF". Raises
    DataError for a label that is wanted and absent, for more than MAX_CLASSES labels, and for one that all windows
    have.
    """
    counts = Counter(name for names in rows for name in set(names))
    most = [name for name, _ in counts.most_common()]
    absent = [name for name in wanted or () if name not in counts]
    if absent:
        raise DataError(f"{where.path}: no label {shown(absent[0])} (--labels); {suggest(absent[0], most[:30])}")
    if wanted is None and len(counts) > MAX_CLASSES:
        raise DataError(
            f"{where.path}: has {len(counts)} labels; at most {MAX_CLASSES} are used: name them with --labels, such as"
            f" --labels {' '.join(most[:8])} (the most frequent)"
        )
    names = tuple(sorted(counts) if wanted is None else wanted)
    flags = np.array([[name in own for name in names] for own in rows], dtype=np.int8).reshape(len(rows), len(names))
    _check_both(flags, names, where)
    if len(names) == 1:
        return flags[:, 0].astype(np.int64), (f"no {names[0]}", names[0])
    return flags, names


def separated(text: NDArray[np.str_], separator: str) -> list[set[str]]:
    """Split labels (windows,) at a separator into the labels of each window; a cell may be a list, ['AF', 'PVC']."""
    return [_parts(cell, separator) for cell in text.tolist()]


def _parts(cell: str, separator: str) -> set[str]:
    if cell.startswith("[") and cell.endswith("]"):
        return {part.strip(" '\"") for part in cell[1:-1].split(separator)} - {""}
    return {part.strip() for part in cell.split(separator)} - {""}


def _check_both(flags: NDArray[np.int8], names: Sequence[str], where: Where) -> None:
    """Raise DataError for a label without a known positive or a known negative."""
    for name, column in zip(names, flags.T, strict=True):
        present = set(column.tolist()) - {MISSING}
        if len(present) < 2:
            got = f"only {present.pop()}" if present else "missing everywhere"
            raise DataError(
                f"{where.path}: label {shown(name)} is {got} in {counted(len(flags), 'window')}; each label needs"
                " windows with and without it: leave it out of the labels"
            )


def _check_classes(appear: dict[str, int], windows: int, where: Where) -> None:
    """Raise DataError for values (with the first window of each) that look like no classes."""
    fraction = next((name for name in appear if _is_fraction(name)), None)
    in_order = sorted(appear, key=appear.__getitem__)
    some = ", ".join(shown(name) for name in in_order[:3])
    hint = "is it the label column? name the right one"
    if fraction is not None:
        raise DataError(
            f"{where(appear[fraction])}: label {shown(fraction)} is a measurement, not one of {len(appear)} classes;"
            f" {hint}"
        )
    if len(appear) > MAX_CLASSES or 2 * len(appear) > windows:
        allowed = f"at most {MAX_CLASSES}, with two windows of each or more"
        raise DataError(
            f"{where(appear[in_order[2]])}: the label column has {len(appear)} values ({some}, ...) in {windows}"
            f" windows; allowed are {allowed}; {hint}"
        )


def _short(value: str) -> str:
    value = value.strip()
    if value.isdecimal():  # zeros at its start may belong to a code
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return str(int(number)) if number.is_integer() and abs(number) < 1e9 else value


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def _is_fraction(value: str) -> bool:
    try:
        return not float(value).is_integer()
    except (ValueError, OverflowError):
        return False
