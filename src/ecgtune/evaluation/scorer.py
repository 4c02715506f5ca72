"""Predictions of any task as one function from weights to metrics: the base of values, intervals and differences."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.macro import class_indices, label_metrics, overall_metrics
from ecgtune.evaluation.metrics import checked_predictions, weighted_metrics

#: A metric of the whole by its name, one of a class or label by name and index.
Key = str | tuple[str, int]


@dataclass(frozen=True, eq=False)
class Scorer:
    """Checked predictions of windows (or groups), callable with weights.

    label, probability: `(windows,)` twice for two classes, `(windows,)` and `(windows, classes)` for more, both
    `(windows, labels)` for labels. `f1_over`: indices of the classes of the challenge's mean F1. `each`: whether calls
    return the metrics of each class or label too.
    """

    label: NDArray[np.int64]
    probability: NDArray[np.float64]
    decision: Decision
    f1_over: tuple[int, ...] = ()
    each: bool = False

    def __call__(self, weights: NDArray[np.float64]) -> dict[Key, NDArray[np.float64]]:
        """Every metric, `(resamples,)`, for weights `(resamples, windows)`; NaN where it is undefined."""
        if self.decision.task == "binary":
            threshold = self.decision.thresholds[0].value
            return {**weighted_metrics(self.label, self.probability, weights, threshold)}
        predicted = self.decision(self.probability)
        each = label_metrics(self.label, self.probability, weights, predicted)
        result: dict[Key, NDArray[np.float64]] = {**overall_metrics(self.label, each, weights, predicted, self.f1_over)}
        if self.each:
            result |= {(name, index): row for name, rows in each.items() for index, row in enumerate(rows)}
        return result

    def values(self) -> dict[Key, float]:
        """Every metric of the predictions themselves."""
        return {key: float(value[0]) for key, value in self(np.ones((1, len(self.label)))).items()}

    def confusion(self) -> list:
        """Counts, rows true, columns predicted: 2 x 2, k x k, or 2 x 2 for each label (of its known windows)."""
        predicted = self.decision(self.probability)
        if self.decision.task == "multilabel":
            known = self.label >= 0
            return [_counts(self.label[k, i], predicted[k, i], 2) for i, k in enumerate(known.T)]
        return _counts(self.label, predicted, 2 if self.probability.ndim == 1 else self.probability.shape[1])


def make_scorer(
    label: ArrayLike,
    probability: ArrayLike,
    decision: Decision,
    classes: Sequence[str] = (),
    f1_over: Sequence[str] = (),
    *,
    each: bool = False,
) -> Scorer:
    """Check predictions and return their `Scorer`. classes, f1_over: names, needed for a challenge's mean F1.

    Raises DataError for invalid labels or probabilities, SettingError for an unknown name in `f1_over`.
    """
    over = () if decision.task == "binary" else class_indices(f1_over, classes)
    return Scorer(*checked_predictions(label, probability), decision, over, each)


def _counts(label: NDArray, predicted: NDArray, classes: int) -> list[list[int]]:
    return np.bincount(label * classes + predicted, minlength=classes**2).reshape(classes, classes).tolist()
