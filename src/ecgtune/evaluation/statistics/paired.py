"""Two predictions of the same windows: McNemar, a score test of paired proportions, and permutation of groups."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.groups import group_index
from ecgtune.evaluation.metrics import CHUNK_ELEMENTS
from ecgtune.evaluation.scorer import Scorer
from ecgtune.evaluation.statistics.estimate import NORMAL

#: Discordant pairs below which McNemar's test is exact.
FEW_DISCORDANT = 25


@dataclass(frozen=True)
class McNemar:
    """Windows that only the first (`gained`), or only the second (`lost`) prediction has right, and the p-value.

    `statistic` is the squared z, None for the exact test.
    """

    gained: int
    lost: int
    statistic: float | None
    p_value: float


def mcnemar(first: ArrayLike, second: ArrayLike, group: ArrayLike | None = None) -> McNemar:
    """Test whether two predictions are right equally often. `first`, `second`: `(windows,)`, whether each is right.

    One window per group: exact binomial below 25 discordant pairs, else (b - c)^2 / (b + c) (McNemar, Psychometrika 12,
    1947, 153-157). Several windows per `group` `(windows,)`: Obuchowski's statistic (Statistics in Medicine 17, 1998,
    1495-1507), which is the same for one. Raises DataError for rows of different lengths.
    """
    one, two = (np.asarray(each, bool) for each in (first, second))
    if one.ndim != 1 or one.shape != two.shape:
        raise DataError(f"predictions have the shapes {one.shape} and {two.shape}; allowed: (windows,) twice")
    difference = one.astype(int) - two
    gained, lost = int((difference > 0).sum()), int((difference < 0).sum())
    index = group_index(group, len(one))[1]
    if len(np.unique(index)) == len(index) and gained + lost < FEW_DISCORDANT:
        from scipy.stats import binomtest

        p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
        return McNemar(gained, lost, None, p_value)
    sums = np.bincount(index, difference)
    spread = float((sums**2).sum())
    statistic = float(sums.sum() ** 2 / spread) if spread else 0.0
    return McNemar(gained, lost, statistic, 2 * NORMAL.cdf(-math.sqrt(statistic)))


def paired_proportions(gained: int, lost: int, total: int, margin: float = 0.0) -> float:
    """Return z of the score test that the first of two paired proportions is lower by `margin` or more.

    `gained`, `lost`: pairs in which only the first, or only the second, is right; `total`: all pairs. z above 1.96
    shows non-inferiority (one-sided 0.025); with margin 0 it is McNemar's. Tango, Statistics in Medicine 17, 1998,
    891-908.
    """
    if not 0 <= margin < 1 or min(gained, lost) < 0 or not 0 < gained + lost <= total:
        raise SettingError(
            f"margin {margin}, {gained} gained and {lost} lost of {total}; allowed: a margin from 0 to below 1, and "
            "one discordant pair or more"
        )
    # The most likely fraction of `gained` where the difference is -margin is the root of a quadratic equation.
    a = 2 * total
    b = (a + gained - lost) * margin - gained - lost
    c = -gained * margin * (1 - margin)
    fraction = (math.sqrt(b * b - 4 * a * c) - b) / (2 * a)
    variance = total * (2 * fraction + margin * (1 - margin))
    return (gained - lost + total * margin) / math.sqrt(variance)


def permutation_test(
    first: Scorer, second: Scorer, group: ArrayLike | None = None, *, resamples: int = 2000, seed: int = 0
) -> dict[str, float]:
    """Return the two-sided p-value of the difference in each overall metric of two predictions of the same windows.

    The predictions of whole groups are exchanged at random: each resample is as likely as the data if both predict
    equally well. Where there are no more than `resamples` exchanges, all are enumerated, and the test is exact.
    Probabilities are replaced by their ranks for AUROC and AUPRC, as the scales of two models differ (Venkatraman and
    Begg, Biometrika 83, 1996, 835-848). NaN where a metric is undefined. Good, Permutation, Parametric and Bootstrap
    Tests of Hypotheses, 2005.
    """
    if not np.array_equal(first.label, second.label):
        raise DataError("the two predictions are of different windows; give the same rows twice")
    index = group_index(group, len(first.label))[1]
    both = _stacked(first, second)
    own, theirs = first.values(), second.values()
    names = [name for name in own if isinstance(name, str)]
    observed = {name: abs(own[name] - theirs[name]) for name in names}
    exact = 2 ** (int(index.max()) + 1) <= resamples
    reached, count = dict.fromkeys(names, 0), 0
    for exchanged in _exchanges(int(index.max()) + 1, len(index), resamples, seed, exact):
        swap = exchanged[:, index]
        one, two = (both(np.concatenate([part, 1 - part], axis=1)) for part in (1 - swap, swap))
        count += len(swap)
        for name in names:
            reached[name] += int((np.abs(one[name] - two[name]) >= observed[name] - 1e-12).sum())
    # The data are one of the random exchanges (Phipson and Smyth, 2010); an enumeration has them already.
    extra = 0 if exact else 1
    return {
        name: math.nan if math.isnan(observed[name]) else (reached[name] + extra) / (count + extra) for name in names
    }


def _exchanges(groups: int, windows: int, resamples: int, seed: int, exact: bool) -> Iterator[NDArray]:
    """Yield chunks `(rows, groups)` of 0 and 1, 1 where the predictions of a group are exchanged."""
    if resamples < 1:
        raise SettingError(f"resamples is {resamples}; allowed: 1 or more, usually 2000")
    total = 2**groups if exact else resamples
    generator, step = np.random.default_rng(seed), max(1, CHUNK_ELEMENTS // (2 * windows))
    for start in range(0, total, step):
        rows = np.arange(start, min(start + step, total))
        drawn = rows[:, None] >> np.arange(groups) & 1 if exact else generator.integers(0, 2, (len(rows), groups))
        yield drawn.astype(np.float64)


def _stacked(first: Scorer, second: Scorer) -> Scorer:
    """A scorer of the windows of both, with the decisions of each and ranks in place of probabilities."""
    decided = np.concatenate([each.predicted for each in (first, second)])
    ranks = np.concatenate([_ranked(each.probability) for each in (first, second)])
    label = np.concatenate([first.label, second.label])
    return replace(first, label=label, probability=ranks, decided=decided, each=False)


def _ranked(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks of each column, from 0 to 1, with equal ones for ties."""
    columns = probability.reshape(len(probability), -1)
    ranks = [np.searchsorted(np.sort(column), column, "left") for column in columns.T]
    return np.stack(ranks, axis=1).reshape(probability.shape) / len(probability)
