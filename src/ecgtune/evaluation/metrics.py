"""Metrics of a two-class decision, for one sample or for many reweightings of it at once.

Every metric is computed from weights: a plain sample has weight 1 everywhere, a bootstrap resample counts how often
each window was drawn. One set of formulas therefore serves the value and its interval.

A metric that is not defined is NaN, never 0 or 1:

* precision: no window is predicted positive,
* recall: no window is positive,
* specificity: no window is negative,
* f1: no window is positive or predicted positive,
* auroc: one of the two classes is missing,
* auprc: no window is positive,
* mcc: labels or predictions hold one class only.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.errors import DataError, SettingError

METRICS = ("accuracy", "precision", "recall", "specificity", "f1", "auroc", "auprc", "mcc")

# Elements of one (resamples, windows) array of float64: 16 MiB each, so a handful of them stays below 150 MiB.
CHUNK_ELEMENTS = 2**21


def binary_metrics(label: ArrayLike, probability: ArrayLike, threshold: float = 0.5) -> dict[str, float]:
    """All of `METRICS` for one set of predictions.

    label: `(windows,)` of 0 or 1. probability: `(windows,)` of the second class, in [0, 1]. A window is predicted
    positive when `probability >= threshold`. Undefined metrics are NaN (see the module's docstring).
    Raises DataError for anything else.
    """
    label, probability = checked_predictions(label, probability)
    weights = np.ones((1, len(label)))
    return {name: float(value[0]) for name, value in weighted_metrics(label, probability, weights, threshold).items()}


def weighted_metrics(
    label: ArrayLike, probability: ArrayLike, weights: ArrayLike, threshold: float = 0.5
) -> dict[str, NDArray[np.float64]]:
    """All of `METRICS` for many weightings of the same predictions.

    label, probability: `(windows,)`. weights: `(resamples, windows)`, finite, 0 or more. Each metric comes back as
    `(resamples,)`, NaN where it is undefined. Works through the resamples in chunks, so that memory stays bounded.
    """
    label, probability = checked_predictions(label, probability)
    return decision_metrics(label, probability, probability >= threshold, np.asarray(weights))


def decision_metrics(
    label: NDArray[np.int64], probability: NDArray[np.float64], predicted: NDArray[np.bool_], weights: NDArray
) -> dict[str, NDArray[np.float64]]:
    """All of `METRICS` for many weightings, with the answers given: `(resamples,)`; arguments as in `weighted_metrics`.

    predicted: `(windows,)`, True where the answer is "positive". Of one class against the rest it is not a matter of a
    threshold.
    """
    if weights.ndim != 2 or weights.shape[1] != len(label):
        raise DataError(f"weights have the shape {weights.shape}; allowed is (resamples, {len(label)})")
    resamples = len(weights)
    result = {name: np.empty(resamples) for name in METRICS}
    step = max(1, CHUNK_ELEMENTS // len(label))
    for start in range(0, resamples, step):
        rows = slice(start, start + step)
        chunk = np.asarray(weights[rows], dtype=np.float64)
        if not np.isfinite(chunk).all() or chunk.min(initial=0.0) < 0:
            raise DataError("weights hold a negative or non-finite value; allowed are finite weights of 0 or more")
        for name, value in _threshold_metrics(label, predicted, chunk).items():
            result[name][rows] = value
        for name, value in _ranking_metrics(label, probability, chunk).items():
            result[name][rows] = value
    return result


def auroc(label: ArrayLike, probability: ArrayLike) -> float:
    """Area under the receiver operating characteristic; ties count one half. NaN when one class is missing.

    label: `(windows,)` of 0 or 1. probability: `(windows,)` of the second class. Cheap enough for every epoch.
    """
    label, probability = checked_predictions(label, probability)
    return float(_ranking_metrics(label, probability, np.ones((1, len(label))))["auroc"][0])


def confusion_matrix(label: ArrayLike, predicted: ArrayLike) -> list[list[int]]:
    """Counts `[[tn, fp], [fn, tp]]`: rows are the true class, columns the predicted one. Both inputs 0 or 1."""
    label, predicted = checked_predictions(label, np.asarray(predicted).astype(np.float64))
    counts = np.bincount(2 * label + (predicted > 0.5), minlength=4)
    return counts.reshape(2, 2).tolist()


def checked_predictions(label: ArrayLike, probability: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels as int64 and probabilities as float64, both `(windows,)`; DataError names the first bad entry."""
    label, probability = np.asarray(label), np.asarray(probability, dtype=np.float64)
    if label.ndim != 1 or label.shape != probability.shape or len(label) == 0:
        raise DataError(
            f"labels have the shape {label.shape} and probabilities {probability.shape}; "
            "allowed are two arrays of the same length (windows,) with one window at least"
        )
    wrong = np.flatnonzero((label != 0) & (label != 1))
    if len(wrong):
        raise DataError(f"label {wrong[0]} is {label[wrong[0]]}; allowed are 0 and 1")
    check_probability(probability)
    return label.astype(np.int64), probability


def check_probability(probability: NDArray[np.float64]) -> None:
    """Raise DataError for a value outside of 0 to 1; probability: `(windows, ...)`."""
    # Written so that NaN is wrong as well.
    wrong = np.argwhere(~((probability >= 0) & (probability <= 1)))
    if len(wrong):
        raise DataError(
            f"probability {wrong[0][0]} is {probability[tuple(wrong[0])]}; allowed are values from 0 to 1 "
            "(nan means that the training diverged: try a smaller learning rate)"
        )


def checked_level(level: float) -> float:
    """The level of an interval, between 0 and 1; SettingError otherwise."""
    if not 0 < level < 1:
        raise SettingError(f"level {level} of an interval; allowed are values between 0 and 1, such as 0.95")
    return level


def _threshold_metrics(
    label: NDArray[np.int64], predicted: NDArray[np.bool_], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    cell = 2 * label + predicted
    indicator = (cell[:, None] == np.arange(4)).astype(np.float64)
    tn, fp, fn, tp = (weights @ indicator).T
    spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return {
        "accuracy": ratio(tp + tn, tp + tn + fp + fn),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": ratio(tp * tn - fp * fn, spread),
    }


def _ranking_metrics(
    label: NDArray[np.int64], probability: NDArray[np.float64], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    order = np.argsort(-probability, kind="stable")
    ranked = weights[:, order]
    total = np.cumsum(ranked, axis=1)
    true_positive = np.cumsum(ranked * label[order], axis=1)
    # Windows with one score enter together: the curve has a point only where a run of equal scores ends.
    ends = np.flatnonzero(np.append(np.diff(probability[order]) != 0, True))
    total, true_positive = total[:, ends], true_positive[:, ends]
    false_positive = total - true_positive
    gained = np.diff(true_positive, axis=1, prepend=0.0)
    positives, negatives = true_positive[:, -1], false_positive[:, -1]
    # Trapezoids: a run's negatives stand below every positive before it and level with half of its own.
    area = np.sum(np.diff(false_positive, axis=1, prepend=0.0) * (true_positive - gained / 2), axis=1)
    precision = np.divide(true_positive, total, out=np.zeros_like(total), where=total > 0)
    return {
        "auroc": ratio(area, positives * negatives),
        "auprc": ratio(np.sum(gained * precision, axis=1), positives),
    }


def ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """`numerator / denominator`, NaN where the denominator is not above 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
