"""How well probabilities agree with frequencies: reliability, ECE, Brier score, slope and intercept, net benefit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.data.tasks import Task
from ecgtune.evaluation.calibration.fitting import log_odds_of
from ecgtune.evaluation.calibration.maps import softplus
from ecgtune.evaluation.evaluate import plain
from ecgtune.evaluation.groups import group_index
from ecgtune.evaluation.intervals import percentile_interval, resampled_counts
from ecgtune.evaluation.metrics import checked_predictions
from ecgtune.evaluation.statistics.estimate import Estimate

#: Bins of equal size of ECE and of the reliability curve.
BINS = 10
#: Thresholds of a decision curve.
THRESHOLDS = tuple(round(0.02 * step, 2) for step in range(1, 50))
#: Name of the entry on the predicted class of several and its probability.
CONFIDENCE = "predicted class"

Array = NDArray[np.float64]


def calibration_measures(
    task: Task,
    label: ArrayLike,
    probability: ArrayLike,
    group: ArrayLike | None,
    classes: Sequence[str],
    **options: Any,
) -> dict[str, Any]:
    """Measure the calibration of test predictions: `{"each": {name: measures}, "mean": {name: value}}`.

    label, probability: as in `evaluate`. group: `(windows,)`, the unit of intervals. "each" has the positive class of
    two, every class against the rest and the predicted class, or every label; None for one without positive or negative
    windows. "mean" has the means of ECE, Brier score and log-loss over them, without the predicted class. options:
    resamples, seed and level of `column_measures`.
    """
    label, probability = checked_predictions(label, probability)
    if task == "binary":
        columns = {classes[1]: (label, probability)}
    elif task == "multilabel":
        columns = {name: (label[:, k], probability[:, k]) for k, name in enumerate(classes)}
    else:
        columns = {name: ((label == k).astype(np.int64), probability[:, k]) for k, name in enumerate(classes)}
    index = group_index(group, len(label))[1]
    each: dict[str, Any] = {}
    for name, (truth, score) in columns.items():
        known = truth >= 0
        both = len(np.unique(truth[known])) == 2
        each[name] = column_measures(truth[known], score[known], index[known], **options) if both else None
    present = [entry for entry in each.values() if entry is not None]
    mean = {
        name: float(np.mean([entry[name]["value"] for entry in present])) if present else None
        for name in ("ece", "brier", "log_loss")
    }
    if task == "multiclass":
        right = (probability.argmax(axis=1) == label).astype(np.int64)
        both = len(np.unique(right)) == 2
        each[CONFIDENCE] = column_measures(right, probability.max(axis=1), index, **options) if both else None
    return {"each": each, "mean": mean}


def column_measures(
    label: NDArray, probability: Array, index: NDArray, *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, Any]:
    """Measure one probability `(windows,)` against labels 0 and 1 `(windows,)`, both present.

    index: `(windows,)` groups, which intervals resample. Returns values with `ci_low` and `ci_high` of "brier", "ece",
    "log_loss", "slope" and "intercept", the "parts" of the Brier score, the "curve" and the "net_benefit".
    """
    label, probability = label.astype(np.float64), np.asarray(probability, np.float64)
    units, index = np.unique(index, return_inverse=True)
    groups, bins = len(units), equal_bins(probability, BINS)
    losses = np.stack([(probability - label) ** 2, log_loss(label, probability)], axis=1)
    # All sums over the windows of a group, once: a resample is then a product of counts and sums.
    table = [_sums(index, groups, losses), _binned(index, groups, bins, label, probability)]
    draws: list[list[Array]] = [[], []]
    for counts in resampled_counts(groups, groups, resamples, seed):
        for own, sums in zip(draws, table, strict=True):
            own.append(np.tensordot(counts, sums, 1))
    drawn = [np.concatenate(own) for own in draws]
    whole = [sums.sum(axis=0) for sums in table]
    mean_losses = drawn[0][:, 1:] / drawn[0][:, :1]
    result: dict[str, Any] = {"n": len(label), "prevalence": float(label.mean()), "mean": float(probability.mean())}
    for column, name in enumerate(("brier", "log_loss")):
        value = whole[0][1 + column] / whole[0][0]
        result[name] = _entry(value, *percentile_interval(mean_losses[:, column], level))
    # Resampling adds noise to every bin, which moves all draws up; they are moved back by the mean.
    value, of_draws = _gap(whole[1]), _gap(drawn[1])
    low, high = percentile_interval(of_draws - of_draws.mean() + value, level)
    result["ece"] = _entry(value, max(low, 0.0), max(high, 0.0)) | {"by_chance": _by_chance(table[1])}
    result["parts"] = brier_parts(label, probability)
    slope, intercept = calibration_line(label, probability, index)
    for name, estimate in (("slope", slope), ("intercept", intercept)):
        result[name] = _entry(estimate.value, *estimate.interval(level))
    result["curve"] = _curve(whole[1], drawn[1], level)
    result["net_benefit"] = {
        "threshold": list(THRESHOLDS),
        "model": net_benefit(label, probability, THRESHOLDS).tolist(),
        "all": net_benefit(label, np.ones_like(probability), THRESHOLDS).tolist(),
    }
    return result


def log_loss(label: Array, probability: Array) -> Array:
    """Return the negative log-likelihood of each window `(windows,)`."""
    log_odds = log_odds_of(probability)
    return softplus(np.where(label == 1, -log_odds, log_odds))


def equal_bins(probability: Array, count: int) -> NDArray[np.int64]:
    """Return the bin of each window, 0, 1, ...: `count` bins of equal size, fewer where equal scores stay together."""
    place = np.searchsorted(np.sort(probability), probability, "left") * count // len(probability)
    return np.unique(place, return_inverse=True)[1]


def brier_parts(label: Array, probability: Array) -> dict[str, float]:
    """Return miscalibration - discrimination + uncertainty = Brier score, without bins.

    The probabilities are compared with their isotonic regression on the same windows. Dimitriadis, Gneiting and Jordan,
    PNAS 118, 2021, e2016191118.
    """
    from scipy.optimize import isotonic_regression

    place = np.unique(probability, return_inverse=True)[1]
    weight = np.bincount(place).astype(np.float64)
    regression = np.asarray(isotonic_regression(np.bincount(place, label) / weight, weights=weight).x)[place]
    recalibrated = float(((regression - label) ** 2).mean())
    uncertainty = float(label.mean() * (1 - label.mean()))
    return {
        "miscalibration": float(((probability - label) ** 2).mean()) - recalibrated,
        "discrimination": uncertainty - recalibrated,
        "uncertainty": uncertainty,
    }


def calibration_line(label: Array, probability: Array, index: NDArray) -> tuple[Estimate, Estimate]:
    """Estimate slope and intercept of calibration, ideally 1 and 0; NaN where they do not exist.

    The slope is that of a logistic regression of the labels on the log-odds; the intercept is that with a slope of 1:
    below 0, probabilities are too high. Standard errors are robust to correlated windows of one group. Cox, Biometrika
    45, 1958; Van Calster et al., BMC Medicine 17, 2019, 230; Liang and Zeger, Biometrika 73, 1986, 13-22.
    """
    log_odds = log_odds_of(probability)
    constant = np.ones_like(log_odds)
    both, error = logistic_regression(np.stack([constant, log_odds], axis=1), np.zeros_like(log_odds), label, index)
    large, error_of_large = logistic_regression(constant[:, None], log_odds, label, index)
    return Estimate(float(both[1]), float(error[1])), Estimate(float(large[0]), float(error_of_large[0]))


def logistic_regression(design: Array, offset: Array, label: Array, index: NDArray) -> tuple[Array, Array]:
    """Return coefficients and group-robust standard errors, both `(columns,)`; NaN where the maximum does not exist."""
    rows, columns = design.shape
    beta = np.zeros(columns)
    for _ in range(50):
        fitted = 1 / (1 + np.exp(-np.clip(design @ beta + offset, -700, 700)))
        information = (design * (fitted * (1 - fitted))[:, None]).T @ design
        try:
            step = np.linalg.solve(information, design.T @ (label - fitted))
        except np.linalg.LinAlgError:
            return np.full(columns, np.nan), np.full(columns, np.nan)
        size = float(np.abs(step).max())
        beta = beta + step / max(1.0, size / 2)
        if size < 1e-9:
            break
    else:
        return np.full(columns, np.nan), np.full(columns, np.nan)
    groups = int(index.max()) + 1
    score = _sums(index, groups, design * (label - fitted)[:, None])[:, 1:]
    inverse = np.linalg.inv(information)
    few = groups / max(groups - 1, 1) * (rows - 1) / max(rows - columns, 1)
    return beta, np.sqrt(np.diag(inverse @ (score.T @ score) @ inverse) * few)


def net_benefit(label: Array, probability: Array, thresholds: Sequence[float]) -> Array:
    """Return the net benefit of acting at or above each threshold `(thresholds,)`.

    True positives per window, minus false positives at the odds of the threshold. Vickers and Elkin, Medical Decision
    Making 26, 2006, 565-574.
    """
    threshold = np.asarray(thresholds, np.float64)
    acted = probability[None] >= threshold[:, None]
    return (acted @ label - acted @ (1 - label) * threshold / (1 - threshold)) / len(label)


def _sums(index: NDArray, groups: int, values: Array) -> Array:
    """Number of windows and sums of the columns of each group `(groups, 1 + columns)`."""
    columns = [np.bincount(index, minlength=groups), *(np.bincount(index, column, groups) for column in values.T)]
    return np.stack(columns, axis=1).astype(np.float64)


def _binned(index: NDArray, groups: int, bins: NDArray, label: Array, probability: Array) -> Array:
    """Number of windows, sum of labels and of probabilities `(groups, bins, 3)`."""
    count = int(bins.max()) + 1
    place = index * count + bins
    weights = (np.ones_like(label), label, probability)
    sums = np.stack([np.bincount(place, each, groups * count) for each in weights], axis=1)
    return sums.astype(np.float64, copy=False).reshape(groups, count, 3)


def _gap(sums: Array) -> Any:
    """ECE, the mean distance of frequency and probability, from sums `(..., bins, 3)`.

    Nixon et al., Measuring Calibration in Deep Learning, CVPR Workshops 2019.
    """
    return np.abs(sums[..., 1] - sums[..., 2]).sum(axis=-1) / sums[..., 0].sum(axis=-1)


def _by_chance(sums: Array) -> float:
    """ECE of calibrated probabilities with the same spread over groups, from sums `(groups, bins, 3)`.

    It is the mean of the absolute value of a normal distribution, in each bin, with the spread of the sums of groups.
    """
    spread = np.sqrt(((sums[..., 1] - sums[..., 2]) ** 2).sum(axis=0))
    return float(np.sqrt(2 / np.pi) * spread.sum() / sums[..., 0].sum())


def _curve(whole: Array, drawn: Array, level: float) -> list[dict[str, Any]]:
    with np.errstate(invalid="ignore"):
        rates = drawn[..., 1] / drawn[..., 0]
    return [
        {
            "probability": float(score / count),
            "n": int(count),
            **_entry(positive / count, *percentile_interval(own, level)),
        }
        for (count, positive, score), own in zip(whole, rates.T, strict=True)
    ]


def _entry(value: float, low: float, high: float) -> dict[str, Any]:
    return plain({"value": float(value), "ci_low": low, "ci_high": high})
