"""Two methods on the same resampled groups, with a p-value: the numbers behind a claim that one is as good as another.

Each method has one prediction per window and seed. What is resampled is groups (recordings, patients), the same ones
for both methods and all seeds, so what is hard for both cancels. Seeds are averaged; their spread stands beside.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.errors import DataError
from ecgtune.evaluation.groups import group_index
from ecgtune.evaluation.intervals import percentile_interval, resampled_counts
from ecgtune.evaluation.metrics import METRICS, checked_level, checked_predictions, weighted_metrics


@dataclass(frozen=True)
class Resampled:
    """A method's metrics, means over its seeds: `value` of each, `spread` over seeds (n - 1; NaN for one seed), and
    `draws` `(resamples,)` on resampled groups, in the same order for every method with the same groups and seed."""

    value: dict[str, float]
    spread: dict[str, float]
    draws: dict[str, NDArray[np.float64]]

    def interval(self, metric: str, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of the mean over seeds."""
        return percentile_interval(self.draws[metric], checked_level(level))


@dataclass(frozen=True)
class Difference:
    """A method minus its reference in one metric: value, percentile interval, two-sided bootstrap p-value."""

    value: float
    low: float
    high: float
    p: float

    def not_inferior(self, margin: float) -> bool:
        """Whether the whole interval lies above -margin (margin above 0, in the metric's own unit: 0.005 is half a
        point of accuracy): the interval's form of a one-sided test, at half of what the level leaves (2.5 % of 95 %).
        """
        return self.low > -margin


def resample(
    label: ArrayLike,
    probability: ArrayLike,
    group: ArrayLike | None,
    *,
    threshold: ArrayLike = 0.5,
    resamples: int = 2000,
    seed: int = 0,
) -> Resampled:
    """All of `METRICS` on the test windows and on resampled groups.

    label: `(windows,)` of 0 or 1. probability: `(seeds, windows)` of the second class. group: `(windows,)` identifiers,
    or None (windows are resampled). threshold: one for all, or `(seeds,)`. Raises DataError for other shapes or values.
    """
    probability = np.atleast_2d(np.asarray(probability, dtype=np.float64))
    thresholds = np.broadcast_to(np.asarray(threshold, dtype=np.float64), len(probability))
    label = checked_predictions(label, probability[0])[0]
    index = group_index(group, len(label))[1]
    runs = list(zip(probability, thresholds.tolist(), strict=True))
    chunks: dict[str, list[NDArray[np.float64]]] = {name: [] for name in METRICS}
    for counts in resampled_counts(int(index.max()) + 1, len(label), resamples, seed):
        drawn = [weighted_metrics(label, row, counts[:, index], cut) for row, cut in runs]
        for name, parts in chunks.items():
            parts.append(np.mean([values[name] for values in drawn], axis=0))
    once = np.ones((1, len(label)))
    values = [
        {name: float(value[0]) for name, value in weighted_metrics(label, row, once, cut).items()} for row, cut in runs
    ]
    several = len(values) > 1
    return Resampled(
        value={name: float(np.mean([value[name] for value in values])) for name in METRICS},
        spread={
            name: float(np.std([value[name] for value in values], ddof=1)) if several else float("nan")
            for name in METRICS
        },
        draws={name: np.concatenate(parts) for name, parts in chunks.items()},
    )


def paired_difference(own: Resampled, reference: Resampled, metric: str, *, level: float = 0.95) -> Difference:
    """`own` minus `reference`, both from `resample` with the same windows, groups, resamples and seed.

    The p-value is the bootstrap's for no difference: twice the smaller share of draws on one side of 0, one added to
    count and number (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 4.2), at most 1; never
    below 2 / (resamples + 1), so adjusting for many comparisons needs many resamples. NaN when nothing is defined.
    """
    if own.draws[metric].shape != reference.draws[metric].shape:
        sizes = f"{len(own.draws[metric])} and {len(reference.draws[metric])}"
        raise DataError(f"{sizes} resamples cannot be paired; resample both alike")
    draws = own.draws[metric] - reference.draws[metric]
    low, high = percentile_interval(draws, checked_level(level))
    return Difference(own.value[metric] - reference.value[metric], low, high, _two_sided(draws))


def _two_sided(draws: NDArray[np.float64]) -> float:
    defined = draws[~np.isnan(draws)]
    if len(defined) == 0:
        return float("nan")
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(defined) + 1))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values `(tests,)` that keep the chance of any false rejection at the level they are compared with.

    Holm, A simple sequentially rejective multiple test procedure, 1979: the k-th smallest of n is multiplied by
    n - k + 1, no one is smaller than one before it, none is above 1. Raises DataError for values outside of [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not bool(np.all((p >= 0) & (p <= 1))):
        raise DataError(f"p-values are {np.asarray(p_values)!r}; allowed: one row of numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
