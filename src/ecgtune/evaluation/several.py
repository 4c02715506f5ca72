"""Metrics of several classes or several labels, for one sample or for many reweightings of it at once.

Each class is measured against the rest, each label by itself on the windows where it is known, by the formulas of
`metrics`; the same names without a label are their means (macro averages). A class or label that the windows do not
hold both with and without is absent: it has no metrics and is in no mean. A mean over labels of which one is undefined
(nothing predicted positive, so no precision) is undefined. Of several classes `accuracy` and `mcc` are of the whole
decision instead: the share of windows that are right, and the correlation of Gorodkin (Comput. Biol. Chem. 28, 2004,
eq. 8).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.metrics import METRICS, auroc, check_probability, decision_metrics, ratio

#: Mean F1 over some classes that a recipe names, as challenges score.
CHALLENGE = "challenge_f1"
Array = NDArray[np.float64]


def checked_several(label: ArrayLike, probability: ArrayLike) -> tuple[NDArray[np.int64], Array]:
    """Labels as int64, `(windows,)` class indices or `(windows, labels)` of 1, 0 and -1 (missing), probabilities as
    float64 `(windows, classes)`; DataError names the first bad entry."""
    label, probability = np.asarray(label), np.asarray(probability, dtype=np.float64)
    if probability.ndim != 2 or label.shape not in (probability.shape, probability.shape[:1]) or label.size == 0:
        raise DataError(
            f"labels have the shape {label.shape} and probabilities {probability.shape}; allowed are (windows,) or"
            " (windows, labels) and (windows, labels), with one window at least"
        )
    low, high = (0, probability.shape[1] - 1) if label.ndim == 1 else (-1, 1)
    wrong = np.argwhere((label < low) | (label > high) | (label != label.astype(np.int64)))
    if len(wrong):
        raise DataError(f"label of window {wrong[0][0]} is {label[tuple(wrong[0])]}; allowed are {low} to {high}")
    check_probability(probability)
    return label.astype(np.int64), probability


def measurable(label: NDArray, classes: int) -> NDArray[np.bool_]:
    """Which of the classes or labels stand in some windows and are known not to stand in others: (classes,)."""
    one_each = label if label.ndim == 2 else (label[:, None] == np.arange(classes)).astype(np.int64)
    return (one_each == 1).any(axis=0) & (one_each == 0).any(axis=0)


def label_metrics(label: NDArray, probability: Array, weights: Array, predicted: NDArray) -> dict[str, Array]:
    """`METRICS` of each class or label by itself: `(classes, resamples)`, all NaN where it is absent.

    label, probability: as `checked_several` gives them. weights: `(resamples, windows)`. predicted: class indices
    `(windows,)`, or 0 and 1 `(windows, labels)`.
    """
    classes = probability.shape[1]
    result = {name: np.full((classes, len(weights)), np.nan) for name in METRICS}
    for place in np.flatnonzero(measurable(label, classes)):
        if label.ndim == 1:
            known, truth, answer = slice(None), label == place, predicted == place
        else:
            known = label[:, place] >= 0
            truth, answer = label[known, place] == 1, predicted[known, place] == 1
        score = probability[known, place]
        values = decision_metrics(truth.astype(np.int64), score, answer, weights[:, known])
        for name, value in values.items():
            result[name][place] = value
    return result


def overall_metrics(
    label: NDArray, each: dict[str, Array], weights: Array, predicted: NDArray, challenge: Sequence[int] = ()
) -> dict[str, Array]:
    """`METRICS` of the whole, `(resamples,)`, from what `label_metrics` gave; CHALLENGE too for the classes named."""
    inside = measurable(label, len(each["f1"]))
    if not inside.any():
        return {name: np.full(len(weights), np.nan) for name in METRICS}
    result = {name: each[name][inside].mean(axis=0) for name in METRICS}
    if label.ndim == 1:
        result |= _whole_decision(label, predicted, weights, len(inside))
    if len(challenge):
        result[CHALLENGE] = np.mean([_f1(label == c, predicted == c, weights) for c in challenge], axis=0)
    return result


def macro_auroc(label: ArrayLike, probability: ArrayLike) -> float:
    """Mean AUROC of the classes (each against the rest) or labels that can be measured; NaN when none can.

    label, probability: as `checked_several` takes them. Cheap enough for every epoch.
    """
    label, probability = checked_several(label, probability)
    values = []
    for place in np.flatnonzero(measurable(label, probability.shape[1])):
        column = label[:, place] if label.ndim == 2 else (label == place).astype(np.int64)
        known = column >= 0
        values.append(auroc(column[known], probability[known, place]))
    return float(np.mean(values)) if values else float("nan")


def challenge_f1(label: ArrayLike, predicted: ArrayLike, over: Sequence[int]) -> float:
    """Mean F1 over some classes. With those of N, A and O: the score of the PhysioNet/CinC Challenge 2017.

    label, predicted: class indices `(windows,)`, or one per recording as in the challenge. over: the indices of the
    classes that count; what is none of them still makes their false positives. Clifford et al., Computing in Cardiology
    44, 2017. NaN when one of the classes is neither true nor predicted anywhere.
    """
    label, predicted = np.asarray(label), np.asarray(predicted)
    weights = np.ones((1, len(label)))
    return float(np.mean([_f1(label == c, predicted == c, weights)[0] for c in over]))


def challenge_places(names: Sequence[str], classes: Sequence[str]) -> tuple[int, ...]:
    """Indices of the classes that a challenge counts. Raises SettingError for a name that is no class."""
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise SettingError(f"f1_over names {unknown[0]!r}; the classes are {', '.join(classes)}")
    return tuple(classes.index(name) for name in names)


def _f1(truth: NDArray[np.bool_], answer: NDArray[np.bool_], weights: Array) -> Array:
    return ratio(2 * (weights @ (truth & answer)), weights @ truth.astype(float) + weights @ answer.astype(float))


def _whole_decision(label: NDArray, predicted: NDArray, weights: Array, classes: int) -> dict[str, Array]:
    right = weights @ (label == predicted).astype(np.float64)
    total = weights.sum(axis=1)
    true, answered = (weights @ np.eye(classes)[values] for values in (label, predicted))  # (resamples, classes)
    spread = np.sqrt((total**2 - (true**2).sum(axis=1)) * (total**2 - (answered**2).sum(axis=1)))
    return {
        "accuracy": ratio(right, total),
        "mcc": ratio(right * total - (true * answered).sum(axis=1), spread),
    }
