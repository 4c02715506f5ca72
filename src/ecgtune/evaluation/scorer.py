"""Metrics of any task as a function of window weights, for values, intervals and differences."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.macro import class_indices, label_metrics, overall_metrics
from ecgtune.evaluation.metrics import checked_predictions, decision_metrics

#: Name of an overall metric, or name and index for a metric of a class or label.
Key = str | tuple[str, int]


@dataclass(frozen=True, eq=False)
class Scorer:
    """Checked predictions of windows (or groups), callable with weights.

    label, probability: `(windows,)` twice for two classes, `(windows,)` and `(windows, classes)` for more, both
    `(windows, labels)` for labels. `f1_over`: indices of the classes of the challenge's mean F1. `each`: whether calls
    also return the metrics of each class or label. `decided`: decisions in place of those of `decision`. `means`:
    indices of the classes or labels that means are over; all when None.
    """

    label: NDArray[np.int64]
    probability: NDArray[np.float64]
    decision: Decision
    f1_over: tuple[int, ...] = ()
    each: bool = False
    decided: NDArray[np.int64] | None = None
    means: tuple[int, ...] | None = None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Decisions: class indices `(windows,)`, or 0 and 1 `(windows, labels)`."""
        return self.decision(self.probability) if self.decided is None else self.decided

    def __call__(self, weights: NDArray[np.float64]) -> dict[Key, NDArray[np.float64]]:
        """Compute every metric `(resamples,)` for weights `(resamples, windows)`; NaN if undefined."""
        if self.decision.task == "binary":
            return {**decision_metrics(self.label, self.probability, self.predicted == 1, weights)}
        predicted = self.predicted
        each = label_metrics(self.label, self.probability, weights, predicted)
        overall = overall_metrics(self.label, each, weights, predicted, self.f1_over, self.means)
        result: dict[Key, NDArray[np.float64]] = {**overall}
        if self.each:
            result |= {(name, index): row for name, rows in each.items() for index, row in enumerate(rows)}
        return result

    def values(self) -> dict[Key, float]:
        """Compute every metric of the predictions with weights of 1."""
        return {key: float(value[0]) for key, value in self(np.ones((1, len(self.label)))).items()}

    @property
    def constant(self) -> bool:
        """Whether all windows have the same probability, so that a metric may be equal in every resample."""
        return bool((self.probability == self.probability[:1]).all())

    def trials(self, key: Key, index: NDArray[np.int64]) -> int | None:
        """Number of independent trials, of which a metric (of F1: F1 / (2 - F1)) is the proportion of successes.

        index: the group of each window; groups are the trials. Of AUROC, the disjoint pairs of a group with and one
        without positives, each ranked right with the probability AUROC. None for other metrics and macro means.
        """
        name, kept = (key, None) if isinstance(key, str) else key
        predicted = self.predicted
        if kept is not None:
            truth, positive = (
                (values == kept) if self.label.ndim == 1 else values[:, kept] for values in (self.label, predicted)
            )
            known = np.ones(len(index), bool) if self.label.ndim == 1 else self.label[:, kept] >= 0
        elif self.decision.task == "binary":
            truth, positive, known = self.label == 1, predicted == 1, np.ones(len(index), bool)
        else:
            return len(np.unique(index)) if name == "accuracy" and self.label.ndim == 1 else None
        truth, positive = (truth == 1) & known, (positive == 1) & known

        def groups(mask: NDArray[np.bool_]) -> int:
            return len(np.unique(index[mask]))

        counted = {"accuracy": known, "precision": positive, "recall": truth, "specificity": known & ~truth}
        if name == "auroc":
            return min(groups(truth), groups(known & ~truth))
        return groups((counted | {"f1": truth | positive})[name]) if name in (*counted, "f1") else None

    def confusion(self) -> list:
        """Return counts, rows true, columns predicted: 2 x 2, k x k, or 2 x 2 per label (of its known windows)."""
        predicted = self.predicted
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
