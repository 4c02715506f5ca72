"""A column of times in a CSV recording, compared with the sampling rate."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from ecgtune.errors import DataError
from ecgtune.io.readers.csv_dialect import Dialect
from ecgtune.io.readers.csv_table import NUMBER, Piece, split_cells
from ecgtune.text import shown

_TIME = re.compile(r"\W*(elapsed[ _])?(time|seconds|t\b)", re.IGNORECASE)
_UNITS = {"ms": r"(?<![a-z])(ms|msec|milliseconds?)(?![a-z])", "s": r"(?<![a-z])(s|secs?|seconds?)(?![a-z])"}
_PER_SECOND = {"s": 1.0, "ms": 1e3}
_LIKELY = (20.0, 20_000.0)  # Hz, of an ECG
_ROWS = 1000  # that are compared
_TOLERANCE = 0.02  # of the rate: times are rounded


def check_times(
    path: Path,
    piece: Piece,
    names: Sequence[str | None],
    leads: Collection[int],
    dialect: Dialect,
    rate: float,
) -> None:
    """Raise DataError for a column of times whose step means another sampling rate than `rate` (Hz).

    leads: the columns that are leads. The unit of the times is in the column's name, or may be seconds or milliseconds;
    without one, a step of 1 counts samples. Times that are no numbers, or do not rise evenly, are not compared.
    """
    column = next((i for i, name in enumerate(names) if name and i not in leads and _TIME.match(name)), None)
    if column is None:
        return
    name = str(names[column])
    step = _step(path, piece, column, dialect)
    unit = next((unit for unit, pattern in _UNITS.items() if re.search(pattern, name, re.IGNORECASE)), None)
    if step is None or (unit is None and step == 1):
        return
    possible = {each: _PER_SECOND[each] / step for each in ([unit] if unit else _PER_SECOND)}
    if any(abs(found / rate - 1) < _TOLERANCE for found in possible.values()):
        return
    likely = {each: found for each, found in possible.items() if _LIKELY[0] <= found <= _LIKELY[1]}
    means = " or ".join(
        f"{float(f'{found:.3g}'):g} Hz (times in {each})" for each, found in (likely or possible).items()
    )
    raise DataError(
        f"{path}: its column {shown(name)} rises by {step:.4g} a sample, which means {means}, but --sampling-rate says"
        f" {rate:g}; correct the flag"
    )


def _step(path: Path, piece: Piece, column: int, dialect: Dialect) -> float | None:
    """Return the mean step of the first times; None unless they are numbers that rise evenly."""
    times = []
    for line, raw in islice(piece.numbered(), _ROWS):
        cells = split_cells(path, raw, line, dialect) if raw else []
        cell = cells[column].replace(dialect.decimal, ".") if column < len(cells) else ""
        if not NUMBER.match(cell):
            return None
        times.append(float(cell))
    steps = np.diff(times)
    if len(steps) < 2 or steps.min() < 0 or steps.mean() <= 0 or steps.max() > 3 * np.median(steps):
        return None
    return float(steps.mean())
