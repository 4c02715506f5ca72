"""Memory that a file may take, in proportion to its size: what it unpacks to, and its text.

NumPy keeps every text of an array as long as the longest, four bytes a character, so that one long cell makes millions
of short ones as large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.text import shown
from ecgtune.utils.archives import is_bomb

_WINDOW_BYTES = 64  # of a window beside its float32 samples: position, label, group, and sorting them
_TEXT_BYTES = 192 << 20  # of a column of text in any file: 250,000 rows of the longest allowed
_TEXT_RATIO = 20  # and so many more for each byte of the file: reading takes a few times the size of a column


def check_unpacked(path: Path, unpacked: int, packed: int) -> None:
    """Raise DataError, before memory is taken, for `unpacked` bytes from so few that they are no measured signal."""
    if is_bomb(unpacked, packed):
        raise DataError(
            f"{path}: unpacks to {unpacked} bytes, {unpacked // max(packed, 1)} times its size, which no measured"
            " signal does; write it again without compression"
        )


def check_windows(path: Path, windows: int, shape: Sequence[int], size: int) -> None:
    """Raise DataError, before memory is taken, for windows (leads, samples) too many for a file of `size` bytes."""
    if is_bomb(windows * (4 * prod(shape) + _WINDOW_BYTES), size):
        raise DataError(
            f"{path}: holds {windows} windows or more of {prod(shape)} samples in {size} bytes, which no measured"
            " signals do; write it again without compression"
        )


def check_text(path: Path, column: str, cells: int, longest: int, size: int, example: str = "") -> None:
    """Raise DataError, before memory is taken, for a column of text that is too large for a file of `size` bytes."""
    if 4 * cells * longest > _TEXT_BYTES + _TEXT_RATIO * size:
        begins = f", which begins {shown(example[:40])}" if example else ""
        raise DataError(
            f"{path}: column {shown(column)} has {cells} cells, the longest of {longest} characters{begins}, too much"
            f" text for a file of {size} bytes; shorten the longest"
        )


def as_text(path: Path, key: str, values: NDArray, size: int | None = None) -> NDArray[np.str_]:
    """Return numbers or text as text. size: of the file, None for arrays. Raises DataError for other values."""
    kind = values.dtype.kind
    if kind not in "biufSU":
        raise DataError(f"{path}: '{key}' holds {values.dtype.name}; whole numbers or text are needed")

    def check(cells: int, longest: int) -> None:
        if size is not None:
            check_text(path, key, cells, longest, size)

    if kind in "SU":
        check(values.size, values.dtype.itemsize // (4 if kind == "U" else 1))
        try:
            return values if kind == "U" else np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: '{key}' holds bytes that are not UTF-8 text; save it as text or numbers"
            ) from error
    check(values.size, 1)
    distinct, codes = np.unique(values, return_inverse=True)
    check(distinct.size, np.result_type(values.dtype, np.str_).itemsize // 4)
    texts = np.array(distinct.astype(np.str_).tolist(), dtype=np.str_)  # as wide as needed; NumPy takes up to 32
    check(values.size, texts.dtype.itemsize // 4)
    return texts[codes].reshape(values.shape)


def text_array(path: Path, column: str, cells: Sequence[str], size: int) -> NDArray[np.str_]:
    """Return the cells of a column of a file of `size` bytes. Raises DataError for too much text."""
    longest = max(cells, key=len, default="")
    check_text(path, column, len(cells), len(longest), size, longest)
    return np.array(cells, dtype=np.str_)


class TextColumns(Mapping[str, NDArray[np.str_]]):
    """Columns of text by name, each made by `column` when it is asked for: most columns of a table are not used."""

    def __init__(self, names: Iterable[str], column: Callable[[str], NDArray[np.str_]]) -> None:
        self._names, self._column = dict.fromkeys(names), column

    def __getitem__(self, name: str) -> NDArray[np.str_]:
        if name not in self._names:
            raise KeyError(name)
        return self._column(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
