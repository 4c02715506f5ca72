"""Labels in the cells of a table: one class, several columns of 0 and 1, or several labels in one cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.tasks import MISSING
from ecgtune.errors import DataError
from ecgtune.io.labels import (
    NO_VALUE,
    Where,
    joined_labels,
    label_codes,
    label_flags,
    missing_labels,
    separated,
)
from ecgtune.io.published_labels import SCP_KINDS, is_scp, scp_labels
from ecgtune.text import shown


@dataclass(frozen=True)
class Labels:
    """Labels of all rows of a table: `cells` (rows, columns), or `sets` of the names of each row.

    missing: (rows,), without any label. wanted: names of the labels to use of `sets`.
    """

    names: tuple[str, ...]
    missing: NDArray[np.bool_]
    cells: NDArray[np.str_] | None = None
    sets: Sequence[Collection[str]] = ()
    wanted: tuple[str, ...] | None = None

    @property
    def left_out(self) -> str:
        """A phrase on the values that count as missing, "" without any."""
        if self.cells is None:
            return ""
        counts = Counter(self.cells[self.missing].ravel().tolist())
        listed = ", ".join(f"{shown(value) if value else 'empty'} ({count})" for value, count in counts.most_common(5))
        return f"; left out as missing: {listed}" if counts else ""

    def of(self, keep: NDArray[np.bool_], where: Where) -> tuple[NDArray[np.int64] | NDArray[np.int8], tuple[str, ...]]:
        """Return labels and classes of the rows that are kept. Raises DataError for cells that are no labels."""
        if self.cells is None:
            return joined_labels([own for own, kept in zip(self.sets, keep, strict=True) if kept], where, self.wanted)
        if len(self.names) == 1:
            return label_codes(self.cells[keep, 0], where, self.left_out)
        label = label_flags(self.cells[keep], self.names, where)
        known = (label != MISSING).any(axis=1)  # a cell may also say -1
        if not known.all():
            raise DataError(f"{where(int(known.argmin()))}: no label is known; leave the cells empty instead of -1")
        return label, self.names


def labels_in(
    columns: Sequence[NDArray[np.str_]],
    names: tuple[str, ...],
    where: Where,
    *,
    scp: str | None,
    separator: str | None,
    wanted: tuple[str, ...] | None,
    missing: Sequence[str],
) -> Labels:
    """Return the labels in the columns (rows,) of a table; the arguments are those of `TableColumns`.

    Raises DataError for cells that are no labels.
    """
    cells = np.stack(list(columns), axis=1) if len(columns) > 1 else columns[0][:, None]
    only = cells[:, 0]
    if scp is not None or separator is not None:
        gone = missing_labels(only, missing)
        if scp is not None:
            sets = scp_labels(np.where(gone, "{}", only), scp, where)
        else:
            sets = separated(np.where(gone, "", only), str(separator))
        return Labels(names, np.array([not own for own in sets]), sets=sets, wanted=wanted)
    if len(names) == 1:
        if is_scp(only):
            raise DataError(
                f"{where.path}: column {names[0]} has dictionaries of statements; say which of them are labels with"
                f" --scp ({', '.join(SCP_KINDS)})"
            )
        return Labels(names, missing_labels(only, missing), cells)
    cells = np.where(np.isin(cells, list(missing)), "", cells)
    return Labels(names, np.logical_and.reduce(np.isin(np.char.lower(cells), NO_VALUE), axis=1), cells)
