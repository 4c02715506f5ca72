"""Percentile bootstrap intervals over groups.

Windows of one recording resemble each other, so a resample draws whole recordings (or patients). Drawing windows would
treat the twentieth window of a recording as independent and give intervals that are too narrow. Without groups windows
are drawn, and the reports say so.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.errors import SettingError
from ecgtune.evaluation.groups import group_index
from ecgtune.evaluation.metrics import CHUNK_ELEMENTS, checked_level
from ecgtune.evaluation.scorer import Key, Scorer

Interval = dict[str, float]
"""`value`, `ci_low`, `ci_high`, and `too_few: True` where the bootstrap says nothing (`interval`)."""


def bootstrap_intervals(
    scorer: Scorer, group: ArrayLike | None = None, *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[Key, Interval]:
    """Every metric with its percentile bootstrap interval: `{"accuracy": {"value", "ci_low", "ci_high"}, ...}`.

    group: `(windows,)` identifiers, resampled with replacement as wholes, or None (windows are resampled). Resamples
    in which a metric is undefined are left out of its percentiles; NaN when it is undefined in all. Where all resamples
    agree, the interval is that of `interval`. Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
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
        trials = None if scorer.constant else scorer.trials(name, index)
        found = interval(name, value, np.concatenate(draws[name]), trials, level, constant=scorer.constant)
        result[name] = {"value": value, **found}
    return result


def interval(
    name: Key, value: float, draws: NDArray[np.float64], trials: int | None, level: float, *, constant: bool = False
) -> Interval:
    """Percentile interval of `draws` `(resamples,)`; where all are equal, the exact one of a proportion, or NaN twice.

    Equal resamples do not mean certainty: a handful of windows without an error gives an interval of width zero.
    Marked by `too_few`. trials: as of `Scorer.trials`. constant: of predictions that are all equal, whose metrics may
    be equal in all resamples by construction (an AUROC of 0.5); their interval stays.
    """
    low, high = percentile_interval(draws, level)
    if low < high or constant or math.isnan(value):
        return {"ci_low": low, "ci_high": high}
    if not trials:
        return {"ci_low": math.nan, "ci_high": math.nan, "too_few": True}
    if name == "f1" or name[0] == "f1":
        ends = exact_interval(value / (2 - value), trials, level)
        low, high = (2 * end / (1 + end) for end in ends)
    else:
        low, high = exact_interval(value, trials, level)
    return {"ci_low": low, "ci_high": high, "too_few": True}


def exact_interval(proportion: float, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a proportion in independent trials. Clopper and Pearson, Biometrika 26, 1934, 404-413."""
    from scipy.special import betaincinv

    tail, hits = (1 - level) / 2, proportion * trials
    low = betaincinv(hits, trials - hits + 1, tail) if hits > 0 else 0.0
    high = betaincinv(hits + 1, trials - hits, 1 - tail) if hits < trials else 1.0
    return float(low), float(high)


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
