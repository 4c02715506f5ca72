"""Percentile bootstrap intervals over groups.

Windows of one recording resemble each other, so a resample draws whole recordings (or patients). Drawing windows would
treat the twentieth window of a recording as independent and give intervals that are too narrow. Without groups windows
are drawn, and the reports say so.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.errors import SettingError
from ecgtune.evaluation.groups import group_index
from ecgtune.evaluation.metrics import CHUNK_ELEMENTS, checked_level
from ecgtune.evaluation.scorer import Key, Scorer

Interval = dict[str, float]


def bootstrap_intervals(
    scorer: Scorer, group: ArrayLike | None = None, *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[Key, Interval]:
    """Every metric with its percentile bootstrap interval: `{"accuracy": {"value", "ci_low", "ci_high"}, ...}`.

    group: `(windows,)` identifiers, resampled with replacement as wholes, or None (windows are resampled). Resamples
    in which a metric is undefined are left out of its percentiles; NaN when it is undefined in all. Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    checked_level(level)
    windows = len(scorer.label)
    index = group_index(group, windows)[1]
    draws: dict[Key, list[NDArray]] = {}
    for counts in resampled_counts(int(index.max()) + 1, windows, resamples, seed):
        for name, value in scorer(counts[:, index]).items():
            draws.setdefault(name, []).append(value)
    result: dict[Key, Interval] = {}
    for name, value in scorer.values().items():
        low, high = percentile_interval(np.concatenate(draws[name]), level)
        result[name] = {"value": value, "ci_low": low, "ci_high": high}
    return result


def resampled_counts(groups: int, windows: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Number of draws of each group, `(some resamples, groups)` at a time: `resamples` rows over all chunks.

    `windows` is the longest row that the caller builds from a chunk; it bounds the chunk's size. The same arguments
    give the same draws, so the resamples of two methods are paired.
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
