"""Percentile bootstrap intervals over groups, and predictions per group.

Windows of one recording resemble each other, so a resample draws whole recordings (or patients): drawing windows
would treat the twentieth window of a recording as news and give intervals that are too narrow. Without groups
windows are drawn, and the reports say so.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.metrics import (
    CHUNK_ELEMENTS,
    METRICS,
    binary_metrics,
    checked_level,
    checked_predictions,
    weighted_metrics,
)


@dataclass(frozen=True)
class GroupPredictions:
    """One prediction per group, arrays `(groups,)`: identifier, label (0 or 1), mean probability of its windows."""

    group: NDArray
    label: NDArray[np.int64]
    probability: NDArray[np.float64]


def group_predictions(
    label: ArrayLike, probability: ArrayLike, group: ArrayLike | None, group_name: str = "record"
) -> GroupPredictions | str:
    """Mean probability and label of each group, or one phrase that says why there are none.

    label, probability, group: `(windows,)`; `group_name` ("record", "patient") only words the phrase. There are none
    without groups, and none when a group holds windows of both labels (it then has no label of its own).
    """
    if group is None:
        return "the windows have no record or patient column"
    label, probability = checked_predictions(label, probability)
    identifier, index = group_index(group, len(label))
    windows = np.bincount(index)
    positives = np.bincount(index, weights=label)
    mixed = np.flatnonzero((positives > 0) & (positives < windows))
    if len(mixed):
        return (
            f"{len(mixed)} of {len(identifier)} {group_name}s hold windows of both labels "
            f"(first: {identifier[mixed[0]]}), so a {group_name} has no label of its own"
        )
    mean = np.bincount(index, weights=probability) / windows
    # The mean of numbers in [0, 1] can leave it by a rounding error.
    return GroupPredictions(identifier, (positives > 0).astype(np.int64), np.clip(mean, 0.0, 1.0))


def bootstrap_intervals(
    label: ArrayLike,
    probability: ArrayLike,
    threshold: float = 0.5,
    group: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, dict[str, float]]:
    """Every metric with its percentile bootstrap interval: `{"accuracy": {"value", "low", "high"}, ...}`.

    label, probability: `(windows,)`; group: `(windows,)` identifiers, resampled with replacement as wholes, or None
    (windows are resampled). Resamples in which a metric is undefined are left out of its percentiles; NaN when it is
    undefined in all. Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    label, probability = checked_predictions(label, probability)
    checked_level(level)
    index = group_index(group, len(label))[1]
    draws: dict[str, list[NDArray]] = {name: [] for name in METRICS}
    for counts in resampled_counts(int(index.max()) + 1, len(label), resamples, seed):
        for name, value in weighted_metrics(label, probability, counts[:, index], threshold).items():
            draws[name].append(value)
    value = binary_metrics(label, probability, threshold)
    result = {}
    for name in METRICS:
        low, high = percentile_interval(np.concatenate(draws[name]), level)
        result[name] = {"value": value[name], "low": low, "high": high}
    return result


def group_index(group: ArrayLike | None, windows: int) -> tuple[NDArray, NDArray[np.int64]]:
    """Sorted identifiers `(groups,)` and each window's place among them `(windows,)`; each window alone for None."""
    if group is None:
        return np.arange(windows), np.arange(windows)
    group = np.asarray(group)
    if group.shape != (windows,):
        raise DataError(f"groups have the shape {group.shape}; allowed is one per window, ({windows},)")
    identifier, index = np.unique(group, return_inverse=True)
    return identifier, index


def resampled_counts(groups: int, windows: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each group was drawn, `(some resamples, groups)` at a time: `resamples` rows over all chunks.

    `windows` is the longest row that the caller builds from a chunk; it bounds the chunk's size. The same arguments
    give the same draws, which is what makes two methods' resamples paired.
    """
    if resamples < 1:
        raise SettingError(f"{resamples} bootstrap resamples; allowed is 1 or more, 1000 is usual")
    generator = np.random.default_rng(seed)
    step = max(1, CHUNK_ELEMENTS // max(groups, windows))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(0, groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


def percentile_interval(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Lower and upper percentile of the defined values `(resamples,)`; NaN twice when none is defined."""
    defined = values[~np.isnan(values)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)
