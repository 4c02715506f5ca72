"""A learning curve and its extrapolation: a score against the number of training windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.evaluation.intervals import percentile_interval


def learning_curve(
    sizes: Sequence[int], draws: Sequence[NDArray[np.float64]], factors: Sequence[float] = (2.0, 4.0)
) -> dict[str, Any]:
    """Describe a learning curve, and extrapolate it to more windows.

    sizes: training windows of each point, two or more, rising. draws: of each point the score, then the scores of the
    same resamples of the validation groups, (1 + resamples,). factors: of the largest size.

    The score is a - b / sqrt(size) by least squares, the rate at which errors of estimation shrink (Vapnik, Statistical
    Learning Theory, 1998); b is 0 or more, so that more labels never predict less. Intervals are 95 % percentiles over
    the resamples: they contain the chance of the validation groups, not that of the training. Scores stay at 1 or less.

    Returns `{"points": [{"windows", "score", "ci_low", "ci_high"}], "extrapolated": [the same with "gain", which has
    its own interval against the last point]}`.
    """
    values = np.stack(list(draws))  # (points, 1 + resamples)
    slope, end = _fitted(np.asarray(sizes, dtype=np.float64), values)
    points = [_entry(size, row) for size, row in zip(sizes, values, strict=True)]
    extrapolated = []
    for factor in factors:
        size = round(factor * sizes[-1])
        predicted = np.minimum(1.0, end + slope * (sizes[-1] ** -0.5 - size**-0.5))
        extrapolated.append({**_entry(size, predicted), "gain": _entry(size, predicted - np.minimum(1.0, end))})
    return {"points": points, "extrapolated": extrapolated}


def _fitted(sizes: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """b, and the fitted score at the largest size, of every column of `values` (points, columns)."""
    x = sizes**-0.5
    centred = x - x.mean()
    mean = values.mean(axis=0)  # a resample that lacks a class is undefined at every point
    slope = np.maximum(0.0, -(centred @ (values - mean)) / (centred @ centred))
    return slope, mean - slope * centred[-1]


def _entry(size: int, draws: NDArray[np.float64]) -> dict[str, Any]:
    low, high = percentile_interval(draws[1:], 0.95)
    return {"windows": int(size), "score": float(draws[0]), "ci_low": low, "ci_high": high}
