"""Predictions of any task as one function from weights to metrics: what value, interval and difference are made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.metrics import checked_predictions, confusion_matrix, weighted_metrics
from ecgtune.evaluation.several import challenge_places, checked_several, label_metrics, measurable, overall_metrics

#: A metric of the whole by its name, one of a class or label by name and place.
Key = str | tuple[str, int]


@dataclass(frozen=True, eq=False)
class Measured:
    """Predictions of some windows (or groups) that are ready to be measured under any weights.

    label, probability: `(windows,)` twice for two classes, `(windows,)` and `(windows, classes)` for more, both
    `(windows, labels)` for labels. `each`: whether calls give the metrics of each class or label too.
    """

    label: NDArray[np.int64]
    probability: NDArray[np.float64]
    decision: Decision
    challenge: tuple[int, ...] = ()
    each: bool = False

    def __call__(self, weights: NDArray[np.float64]) -> dict[Key, NDArray[np.float64]]:
        """Every metric, `(resamples,)`, for weights `(resamples, windows)`; NaN where it is undefined."""
        if self.decision.task == "binary":
            threshold = self.decision.thresholds[0].value
            return {**weighted_metrics(self.label, self.probability, weights, threshold)}
        predicted = self.decision(self.probability)
        each = label_metrics(self.label, self.probability, weights, predicted)
        result: dict[Key, NDArray[np.float64]] = {
            **overall_metrics(self.label, each, weights, predicted, self.challenge)
        }
        if self.each:
            result |= {(name, place): row for name, rows in each.items() for place, row in enumerate(rows)}
        return result

    def values(self) -> dict[Key, float]:
        """Every metric of the predictions as they are."""
        return {key: float(value[0]) for key, value in self(np.ones((1, len(self.label)))).items()}

    def names(self) -> list[str]:
        """The metrics of the whole."""
        return [key for key in self(np.ones((1, len(self.label)))) if isinstance(key, str)]

    def present(self) -> NDArray[np.bool_]:
        """Which of several classes or labels can be measured here, `(classes,)`."""
        return measurable(self.label, self.probability.shape[1])

    def confusion(self) -> list:
        """Counts, rows true, columns predicted: 2 x 2, k x k, or 2 x 2 for each label (of its known windows)."""
        answer = self.decision(self.probability)
        if self.decision.task == "binary":
            return confusion_matrix(self.label, answer)
        if self.decision.task == "multiclass":
            classes = self.probability.shape[1]
            cells = np.bincount(self.label * classes + answer, minlength=classes**2)
            return cells.reshape(classes, classes).tolist()
        known = self.label >= 0
        cells = [2 * self.label[k, i] + answer[k, i] for i, k in enumerate(known.T)]
        return [np.bincount(cell, minlength=4).reshape(2, 2).tolist() for cell in cells]


def measured(
    label: ArrayLike,
    probability: ArrayLike,
    decision: Decision,
    classes: Sequence[str] = (),
    f1_over: Sequence[str] = (),
    *,
    each: bool = False,
) -> Measured:
    """Checked predictions as `Measured`. classes, f1_over: names, for a challenge's mean F1 over some of several.

    Raises DataError for labels or probabilities that cannot be, SettingError for an unknown name in `f1_over`.
    """
    if decision.task == "binary":
        return Measured(*checked_predictions(label, probability), decision)
    places = challenge_places(f1_over, classes)
    return Measured(*checked_several(label, probability), decision, places, each)
