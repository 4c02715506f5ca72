"""Metrics of several classes or labels, for one sample or for many reweightings of it at once.

The formulas of `metrics` apply to each class against the rest, and to each label on the windows where it is known; the
macro averages are their means. A class or label without a positive or a negative window is absent: it has no metrics
and is excluded from means. A mean is undefined if one of its metrics is (such as precision without positive
predictions). For several classes, `accuracy` (fraction of correct windows) and `mcc` (Gorodkin, Comput. Biol. Chem. 28,
2004, eq. 8) are those of the multiclass decision instead.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.data.tasks import decided
from ecgtune.errors import SettingError
from ecgtune.evaluation.metrics import METRICS, Array, auroc, checked_predictions, decision_metrics, ratio

#: Mean F1 over the classes of `f1_over`, the score of some challenges.
CHALLENGE = "challenge_f1"


def label_metrics(label: NDArray, probability: Array, weights: Array, predicted: NDArray) -> dict[str, Array]:
    """Compute `METRICS` of each class or label: `(classes, resamples)`, NaN for an absent one.

    label, probability: result of `checked_predictions`. weights: `(resamples, windows)`. predicted: class indices
    `(windows,)`, or 0 and 1 `(windows, labels)`.
    """
    classes = probability.shape[1]
    result = {name: np.full((classes, len(weights)), np.nan) for name in METRICS}
    for index in np.flatnonzero(decided(label, range(classes))):
        if label.ndim == 1:
            known, truth, positive = slice(None), label == index, predicted == index
        else:
            known = label[:, index] >= 0
            truth, positive = label[known, index] == 1, predicted[known, index] == 1
        score = probability[known, index]
        values = decision_metrics(truth.astype(np.int64), score, positive, weights[:, known])
        for name, value in values.items():
            result[name][index] = value
    return result


def overall_metrics(
    label: NDArray,
    each: dict[str, Array],
    weights: Array,
    predicted: NDArray,
    f1_over: Sequence[int] = (),
    means: Sequence[int] | None = None,
) -> dict[str, Array]:
    """Compute overall `METRICS` `(resamples,)` from the result of `label_metrics`, with `f1_over` also CHALLENGE.

    means: indices of the classes or labels that means are over, as far as they are present; all when None.

    f1_over: indices of the classes or labels of the challenge's mean F1; windows of the other classes count as false
    positives. Clifford et al., Computing in Cardiology 44, 2017. NaN if the F1 of one of them is undefined.
    """
    present = decided(label, range(len(each["f1"])))
    if means is not None:
        present &= np.isin(np.arange(len(present)), means)
    if not present.any():
        return {name: np.full(len(weights), np.nan) for name in METRICS}
    result = {name: each[name][present].mean(axis=0) for name in METRICS}
    if label.ndim == 1:
        result |= _multiclass_metrics(label, predicted, weights, len(present))
    if len(f1_over):
        chosen = [each["f1"][c] if label.ndim == 2 else _f1(label == c, predicted == c, weights) for c in f1_over]
        result[CHALLENGE] = np.mean(chosen, axis=0)
    return result


def macro_auroc(label: ArrayLike, probability: ArrayLike) -> float:
    """Compute the mean AUROC of the present classes (each against the rest) or labels; NaN if all are absent.

    label, probability: shapes as in `checked_predictions`.
    """
    label, probability = checked_predictions(label, probability)
    values = []
    for index in np.flatnonzero(decided(label, range(probability.shape[1]))):
        column = label[:, index] if label.ndim == 2 else (label == index).astype(np.int64)
        known = column >= 0
        values.append(auroc(column[known], probability[known, index]))
    return float(np.mean(values)) if values else float("nan")


def class_indices(names: Sequence[str], classes: Sequence[str]) -> tuple[int, ...]:
    """Return the indices of the classes in `f1_over`. Raises SettingError for an unknown name."""
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise SettingError(f"f1_over has an unknown class {unknown[0]!r}; allowed: {', '.join(classes)}")
    return tuple(classes.index(name) for name in names)


def _f1(truth: NDArray[np.bool_], positive: NDArray[np.bool_], weights: Array) -> Array:
    return ratio(2 * (weights @ (truth & positive)), weights @ truth.astype(float) + weights @ positive.astype(float))


def _multiclass_metrics(label: NDArray, predicted: NDArray, weights: Array, classes: int) -> dict[str, Array]:
    correct = weights @ (label == predicted).astype(np.float64)
    total = weights.sum(axis=1)
    true, called = (weights @ np.eye(classes)[values] for values in (label, predicted))  # (resamples, classes)
    scale = np.sqrt((total**2 - (true**2).sum(axis=1)) * (total**2 - (called**2).sum(axis=1)))
    return {
        "accuracy": ratio(correct, total),
        "mcc": ratio(correct * total - (true * called).sum(axis=1), scale),
    }
