"""Metrics of a two-class decision, for one sample or for many reweightings of it at once.

Metrics are functions of weights of the windows: 1 for the sample itself, the number of draws for a bootstrap resample.

An undefined metric is NaN, never 0 or 1:

* precision: no window is predicted positive,
* recall: no window is positive,
* specificity: no window is negative,
* f1: no window is positive or predicted positive,
* auroc: one of the two classes is missing,
* auprc: no window is positive,
* mcc: labels or predictions have only one class.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.errors import DataError, SettingError

METRICS = ("accuracy", "precision", "recall", "specificity", "f1", "auroc", "auprc", "mcc")
#: The metric that ranks methods. Accuracy says little with unequal classes, thresholds little with many labels.
LEAD = {"binary": "accuracy", "multiclass": "f1", "multilabel": "auroc"}

# Elements of one (resamples, windows) array of float64 (16 MiB); the arrays in use stay below 150 MiB.
CHUNK_ELEMENTS = 2**21

Array = NDArray[np.float64]


def weighted_metrics(
    label: ArrayLike, probability: ArrayLike, weights: ArrayLike, threshold: float = 0.5
) -> dict[str, Array]:
    """Compute all of `METRICS` for many weightings of the same predictions.

    label: `(windows,)` of 0 or 1. probability: `(windows,)` of the positive class, in [0, 1]; a window is predicted
    positive when `probability >= threshold`. weights: `(resamples, windows)`, finite, 0 or more. Returns `(resamples,)`
    for each metric, NaN where it is undefined. Raises DataError for anything else.
    """
    label, probability = checked_predictions(label, probability)
    return decision_metrics(label, probability, probability >= threshold, np.asarray(weights))


def decision_metrics(
    label: NDArray[np.int64], probability: Array, predicted: NDArray[np.bool_], weights: NDArray
) -> dict[str, Array]:
    """Compute all of `METRICS` like `weighted_metrics`, for decisions `predicted` `(windows,)` by any rule.

    Resamples are processed in chunks to limit memory.
    """
    if weights.ndim != 2 or weights.shape[1] != len(label):
        raise DataError(f"weights have the shape {weights.shape}; allowed: (resamples, {len(label)})")
    resamples = len(weights)
    result = {name: np.empty(resamples) for name in METRICS}
    step = max(1, CHUNK_ELEMENTS // len(label))
    for start in range(0, resamples, step):
        rows = slice(start, start + step)
        chunk = np.asarray(weights[rows], dtype=np.float64)
        if not np.isfinite(chunk).all() or chunk.min(initial=0.0) < 0:
            raise DataError("weights have a negative or non-finite value; allowed: finite weights of 0 or more")
        values = _threshold_metrics(label, predicted, chunk) | _ranking_metrics(label, probability, chunk)
        for name, value in values.items():
            result[name][rows] = value
    return result


def auroc(label: ArrayLike, probability: ArrayLike) -> float:
    """Compute the area under the receiver operating characteristic; ties count one half. NaN if a class is missing.

    label: `(windows,)` of 0 or 1. probability: `(windows,)` of the positive class.
    """
    label, probability = checked_predictions(label, probability)
    return float(_ranking_metrics(label, probability, np.ones((1, len(label))))["auroc"][0])


def checked_predictions(label: ArrayLike, probability: ArrayLike) -> tuple[NDArray[np.int64], Array]:
    """Return labels as int64 and probabilities as float64; DataError names the first bad entry.

    label, probability: `(windows,)` twice for two classes; `(windows,)` class indices and `(windows, classes)` for
    more; `(windows, labels)` twice for labels, of 1, 0 and -1 (missing).
    """
    label, probability = np.asarray(label), np.asarray(probability, dtype=np.float64)
    if label.size == 0 or probability.ndim > 2 or label.shape not in (probability.shape, probability.shape[:1]):
        raise DataError(
            f"labels have the shape {label.shape} and probabilities {probability.shape}; allowed: (windows,) twice, "
            "(windows,) and (windows, classes), or (windows, labels) twice, with one window or more"
        )
    low, high = (-1, 1) if label.ndim == 2 else (0, 1 if probability.ndim == 1 else probability.shape[1] - 1)
    wrong = np.argwhere((label < low) | (label > high) | (label != label.astype(np.int64)))
    if len(wrong):
        raise DataError(f"label of window {wrong[0][0]} is {label[tuple(wrong[0])]}; allowed: {low} to {high}")
    # Negated, so that NaN is rejected too.
    wrong = np.argwhere(~((probability >= 0) & (probability <= 1)))
    if len(wrong):
        raise DataError(
            f"probability of window {wrong[0][0]} is {probability[tuple(wrong[0])]}; allowed: 0 to 1 (nan means that "
            "the training diverged; lower learning_rate)"
        )
    return label.astype(np.int64), probability


def checked_level(level: float) -> float:
    """Return the level of an interval. Raises SettingError unless it is between 0 and 1."""
    if not 0 < level < 1:
        raise SettingError(f"level of an interval is {level}; allowed: between 0 and 1, such as 0.95")
    return level


def _threshold_metrics(label: NDArray[np.int64], predicted: NDArray[np.bool_], weights: Array) -> dict[str, Array]:
    cell = 2 * label + predicted
    indicator = (cell[:, None] == np.arange(4)).astype(np.float64)
    tn, fp, fn, tp = (weights @ indicator).T
    return {
        "accuracy": ratio(tp + tn, tp + tn + fp + fn),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
    }


def _ranking_metrics(label: NDArray[np.int64], probability: Array, weights: Array) -> dict[str, Array]:
    order = np.argsort(-probability, kind="stable")
    ranked, positive = weights[:, order], label[order] == 1
    # The curves rise at scores that a positive has; each is one point, after all windows with that score.
    last = np.append(np.diff(probability[order]) != 0, True)
    block = np.cumsum(last) - last
    ends = np.flatnonzero(last)[np.unique(block[positive])]
    starts = np.searchsorted(block, block[ends])
    gained = ranked[:, positive]
    if len(ends) < gained.shape[1]:  # several positives with one score
        gained = np.add.reduceat(gained, np.searchsorted(block[positive], block[ends]), axis=1)
    true_positive = np.cumsum(gained, axis=1)
    total = np.cumsum(ranked, axis=1)
    positives = gained.sum(axis=1)
    negatives = total[:, -1] - positives
    false_positive = total[:, ends] - true_positive
    before = np.where(starts > 0, total[:, starts - 1], 0.0) - (true_positive - gained)
    # Trapezoidal rule: positives rank above negatives of lower scores and tie with those of the same score.
    area = np.sum(gained * (negatives[:, None] - (false_positive + before) / 2), axis=1)
    precision = np.divide(true_positive, total[:, ends], out=np.zeros_like(gained), where=total[:, ends] > 0)
    return {
        "auroc": ratio(area, positives * negatives),
        "auprc": ratio(np.sum(gained * precision, axis=1), positives),
    }


def ratio(numerator: Array, denominator: Array) -> Array:
    """`numerator / denominator`, NaN where the denominator is not above 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
