"""Checks of label, group and split columns: text to arrays. An error names the first row that fails."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.tasks import MISSING
from ecgtune.errors import DataError
from ecgtune.utils.text import shown

MAX_CLASSES = 50
"""More values in a label column are no classes but measurements, ages or identifiers."""
_NO_VALUE = ("", "nan", "none", "na")
_FLAGS = {"0": 0, "1": 1, "false": 0, "true": 1, "-1": MISSING} | dict.fromkeys(_NO_VALUE, MISSING)
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
    """Names of windows in messages: the file, its word for the position of a window, and the positions."""

    path: str
    place: str
    row: NDArray[np.int64]

    def __call__(self, window: int) -> str:
        return f"{self.path}: {self.place} {self.row[window]}"


def split_names(text: NDArray[np.str_], where: Where) -> NDArray[np.str_]:
    """Convert a split column to "train", "val", "test". Raises DataError for any other value."""
    values, first, codes = np.unique(text, return_index=True, return_inverse=True)
    names = []
    for value, window in zip(values, first, strict=True):
        name = _SPLIT_NAMES.get(value.strip().casefold())
        if name is None:
            raise DataError(f"{where(window)}: split {shown(value)} is unknown; allowed are train, val and test")
        names.append(name)
    return np.array(names, dtype="U5")[codes]


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
    _, first, codes = np.unique(group, return_index=True, return_inverse=True)
    other = np.flatnonzero(split != split[first[codes]])
    if len(other):
        window, home = other[0], first[codes[other[0]]]
        raise DataError(
            f"{where(window)}: {group_name} {shown(group[window])} is in split '{split[window]}' but in"
            f" '{split[home]}' at {where.place} {where.row[home]}; all windows of one {group_name} must be in"
            " one split"
        )


def label_codes(text: NDArray[np.str_], where: Where) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Convert labels (windows,) to indices into the sorted classes; numbers are shortened ("1.0" is "1").

    Raises DataError for a missing label, one class only, or values that cannot be classes: more than MAX_CLASSES, fewer
    than two windows of each on average, or fractional numbers.
    """
    values, first, codes = np.unique(text, return_index=True, return_inverse=True)
    for value, window in zip(values, first, strict=True):
        if value.casefold() in _NO_VALUE:
            raise DataError(
                f"{where(window)}: the label is missing (got {shown(value)}); every window needs the name of its class"
            )
    short = np.array([_short(value) for value in values])
    names, merged = np.unique(short, return_inverse=True)
    if len(names) == 1:
        raise DataError(
            f"{where.path}: all {len(text)} windows have the label {shown(names[0])}; two classes are needed"
        )
    if len(names) > 2:
        appear = {str(name): int(first[merged == i].min()) for i, name in enumerate(names)}
        _check_classes(appear, len(text), where)
    return merged[codes].astype(np.int64), tuple(str(name) for name in names)


def label_flags(text: NDArray[np.str_], names: tuple[str, ...], where: Where) -> NDArray[np.int8]:
    """Convert cells (windows, labels) of 1, 0, true, false, or empty (also nan, none, na, -1) to 1, 0 and MISSING.

    Raises DataError for another value, and for a label without a known positive or a known negative.
    """
    flags = np.empty(text.shape, dtype=np.int8)
    for column, name in enumerate(names):
        values, first, codes = np.unique(text[:, column], return_index=True, return_inverse=True)
        known = [_FLAGS.get(_short(value).casefold()) for value in values]
        for value, flag, window in zip(values, known, first, strict=True):
            if flag is None:
                raise DataError(
                    f"{where(window)}: label {shown(name)} is {shown(value)}; allowed are 1, 0 and nothing (missing)"
                )
        flags[:, column] = np.array(known, dtype=np.int8)[codes]
        present = set(flags[:, column].tolist()) - {MISSING}
        if len(present) < 2:
            got = f"only {present.pop()}" if present else "missing everywhere"
            raise DataError(
                f"{where.path}: label {shown(name)} is {got} in {len(text)} windows; each label needs windows with and"
                " without it: leave it out of the labels"
            )
    return flags


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
    try:
        number = float(value)
    except ValueError:
        return value
    return str(int(number)) if number.is_integer() and abs(number) < 1e9 else value


def _is_fraction(value: str) -> bool:
    try:
        return not float(value).is_integer()
    except (ValueError, OverflowError):
        return False
