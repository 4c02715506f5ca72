"""Percentile bootstrap intervals over groups.

Windows of one recording are correlated, so whole recordings (or patients) are resampled; resampling windows would give
intervals that are too narrow. Without groups windows are resampled, which the reports state.
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
    """Compute each metric with its percentile bootstrap interval: `{"accuracy": {"value", "ci_low", "ci_high"}, ...}`.

    group: `(windows,)` identifiers of the groups to resample with replacement, or None (windows are resampled).
    Percentiles exclude resamples in which a metric is undefined; they are NaN if it is undefined in all. See `interval`
    for equal resamples. Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
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
    """Return the percentile interval of `draws` `(resamples,)`; if all are equal, an exact one with `too_few`.

    Equal resamples do not imply certainty: a few windows without an error would have an interval of width zero. The
    exact interval of a proportion replaces it, or NaN for other metrics. trials: as in `Scorer.trials`. constant:
    whether all predictions are equal, in which case equal metrics (an AUROC of 0.5) are exact and keep their interval.
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


def over_seeds(draws: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Return means over resampled seeds `(resamples,)` of `draws` `(seeds, resamples)`, a hierarchical bootstrap.

    Each column of `draws` holds the metric of every seed on the same resampled groups. One seed less than there are is
    drawn, so that the variance of the mean over seeds is not too small by 1 / seeds (Rao and Wu, J. Am. Statist. Assoc.
    83, 1988, 231-241). Percentiles of the result contain both the variation over test groups and that over seeds.
    Raises SettingError for fewer than two seeds.
    """
    seeds, resamples = draws.shape
    if seeds < 2:
        raise SettingError(f"{seeds} seed; the variation over seeds needs 2 or more (--seeds)")
    chosen = np.random.default_rng(seed).integers(0, seeds, (seeds - 1, resamples))
    return np.take_along_axis(draws, chosen, axis=0).mean(axis=0)


def exact_interval(proportion: float, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a proportion in independent trials (Clopper and Pearson, Biometrika 26, 1934, 404-413)."""
    from scipy.special import betaincinv

    tail, hits = (1 - level) / 2, proportion * trials
    low = betaincinv(hits, trials - hits + 1, tail) if hits > 0 else 0.0
    high = betaincinv(hits + 1, trials - hits, 1 - tail) if hits < trials else 1.0
    return float(low), float(high)


def resampled_counts(groups: int, windows: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield the number of draws of each group in chunks `(rows, groups)`, `resamples` rows in total.

    `windows` is the length of the rows that the caller expands a chunk to; it limits the size of chunks. The same
    arguments give the same draws, so the resamples of two methods are paired.
    """
    if resamples < 1:
        raise SettingError(f"resamples is {resamples}; allowed: 1 or more, usually 1000")
    generator = np.random.default_rng(seed)
    step = max(1, CHUNK_ELEMENTS // max(groups, windows))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(0, groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


def percentile_interval(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Return the lower and upper percentile of the values `(resamples,)` without NaN; NaN if all are."""
    defined = values[~np.isnan(values)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)
