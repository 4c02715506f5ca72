"""From the text of label columns to class indices, or to flags of several labels. Each check names a row that fails."""

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.tasks import MISSING
from ecgtune.errors import DataError
from ecgtune.io.columns import Where
from ecgtune.utils.text import shown

MAX_CLASSES = 50
"""More values than this in a label column are no classes but measurements, ages or identifiers."""
_NO_VALUE = ("", "nan", "none", "na")
_FLAGS = {"0": 0, "1": 1, "false": 0, "true": 1, "-1": MISSING} | dict.fromkeys(_NO_VALUE, MISSING)


def label_codes(text: NDArray[np.str_], where: Where) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels (windows,) as indices into the sorted classes; numbers are written shortly ("1.0" is "1").

    Raises DataError for a missing label, one class only, or values that cannot be classes: more than MAX_CLASSES,
    hardly two windows of each, or fractions.
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
    """Labels (windows, labels) of 1, 0 and MISSING from cells 1, 0, true, false, or empty (also nan, none, na, -1).

    Raises DataError for another value, and for a label that is not known to be there in one window and not there in
    another.
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
    """Raise DataError for values (with the first window of each) that look like anything but classes."""
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
