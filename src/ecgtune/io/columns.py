"""From the text of group and split columns to checked arrays. Each check names the first row that fails."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.utils.text import shown

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
    """How a window is named in messages: the file, its word for a window's place, and each window's place."""

    path: str
    place: str
    row: NDArray[np.int64]

    def __call__(self, window: int) -> str:
        return f"{self.path}: {self.place} {self.row[window]}"


def split_names(text: NDArray[np.str_], where: Where) -> NDArray[np.str_]:
    """The file's split column as "train", "val", "test". Raises DataError for any other value."""
    values, first, codes = np.unique(text, return_index=True, return_inverse=True)
    names = []
    for value, window in zip(values, first, strict=True):
        name = _SPLIT_NAMES.get(value.strip().casefold())
        if name is None:
            raise DataError(f"{where(window)}: split {shown(value)} is unknown; allowed are train, val and test")
        names.append(name)
    return np.array(names, dtype="U5")[codes]


def check_groups(group: NDArray[np.str_], group_name: str, where: Where) -> None:
    """Every window has a group. Raises DataError."""
    missing = np.flatnonzero(group == "")
    if len(missing):
        raise DataError(
            f"{where(missing[0])}: the {group_name} is missing; give every window a {group_name} or leave"
            " the column out"
        )


def check_no_leak(group: NDArray[np.str_], group_name: str, split: NDArray[np.str_], where: Where) -> None:
    """No group stands in two splits. Raises DataError, since figures from such a split would be too good."""
    _, first, codes = np.unique(group, return_index=True, return_inverse=True)
    other = np.flatnonzero(split != split[first[codes]])
    if len(other):
        window, home = other[0], first[codes[other[0]]]
        raise DataError(
            f"{where(window)}: {group_name} {shown(group[window])} is in split '{split[window]}' but in"
            f" '{split[home]}' at {where.place} {where.row[home]}; all windows of one {group_name} must be in"
            " one split"
        )
