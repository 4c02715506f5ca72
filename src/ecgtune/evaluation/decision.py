"""Decisions from probabilities: a threshold, the class with the largest probability, or a threshold per label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.data.tasks import Task
from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.metrics import checked_predictions
from ecgtune.utils.formatting import counted
from ecgtune.utils.schema import Fraction

#: Rules of a threshold and their names in reports.
RULES = {"fixed": "fixed", "f1": "largest F1", "youden": "largest recall + specificity"}
#: Prefix of the rule `sensitivity:0.95`; the number is the minimum recall on validation.
SENSITIVITY = "sensitivity:"
#: Rule of a label that has no positive or no negative validation window.
UNFITTED = "unfitted"
#: Rule of an ensemble whose runs have different thresholds.
MEAN = "mean"
#: Rule of several classes.
LARGEST = "argmax"


class ThresholdFacts(TypedDict):
    """One threshold in a file, and how it was chosen."""

    rule: Annotated[str, rf"{'|'.join((*RULES, UNFITTED, MEAN, LARGEST))}|{SENSITIVITY}[0-9.]+"]
    value: NotRequired[Fraction]


class LabelThresholds(TypedDict):
    """One threshold in a file for each label."""

    labels: dict[str, ThresholdFacts]


@dataclass(frozen=True)
class Threshold:
    """Decision threshold: a window is positive if its probability is `value` (0 to 1) or more. `rule` selected it."""

    value: float
    rule: str

    @property
    def sentence(self) -> str:
        """Text for tables and reports, such as `0.5, fixed` or `0.37, fitted on validation (largest F1)`."""
        if self.rule == "fixed":
            return f"{self.value:.3g}, fixed"
        if self.rule == UNFITTED:
            return f"{self.value:.3g}, not fitted: no positive or no negative validation window"
        if self.rule == MEAN:
            return f"{self.value:.3g}, mean of the runs' thresholds"
        if self.rule.startswith(SENSITIVITY):
            return f"{self.value:.3g}, fitted on validation (recall of {self.rule.removeprefix(SENSITIVITY)} or more)"
        return f"{self.value:.3g}, fitted on validation ({RULES[self.rule]})"


@dataclass(frozen=True)
class Decision:
    """`thresholds`: one for two classes, none for more (the class with the largest probability), one for each label."""

    task: Task
    thresholds: tuple[Threshold, ...] = ()

    @property
    def values(self) -> NDArray[np.float64]:
        """The thresholds as numbers: (1,), (0,) or (labels,)."""
        return np.array([threshold.value for threshold in self.thresholds])

    def __call__(self, probability: NDArray) -> NDArray:
        """Return class indices (windows,) for (windows,) or (windows, classes), 0 / 1 for (windows, labels)."""
        if self.task == "multiclass":
            return probability.argmax(axis=1)
        return (probability >= (self.values if self.task == "multilabel" else self.values[0])).astype(np.int64)

    def confidence(self, probability: NDArray) -> NDArray[np.float64]:
        """Return the probability that the decision is right, of labels their mean: (windows,), 0 to 1.

        It presumes calibrated probabilities; their shape is that of a call.
        """
        if self.task == "multiclass":
            return probability.max(axis=1)
        right = np.where(self(probability) == 1, probability, 1 - probability)
        return right.mean(axis=1) if self.task == "multilabel" else right

    def to_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return the entry `threshold` of metrics.json and model.json."""
        entries = [{"value": threshold.value, "rule": threshold.rule} for threshold in self.thresholds]
        if self.task == "binary":
            return entries[0]
        if self.task == "multiclass":
            return {"rule": LARGEST}
        return {"labels": dict(zip(classes, entries, strict=True))}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Decision:
        """Return the decision of a result of `to_dict`. Raises KeyError or TypeError for other values."""
        if "labels" in stored:
            return cls("multilabel", tuple(Threshold(**entry) for entry in stored["labels"].values()))
        return cls("multiclass") if stored["rule"] == LARGEST else binary_decision(**stored)

    def sentence(self, classes: Sequence[str]) -> str:
        """Return text for tables and reports: `0.5, fixed`, or one text per label."""
        if self.task == "binary":
            return self.thresholds[0].sentence
        if self.task == "multiclass":
            return "the class with the largest probability"
        sentences = [threshold.sentence for threshold in self.thresholds]
        if len(set(sentences)) == 1:
            return f"{sentences[0]}, for every label"
        return "; ".join(f"{name} {text}" for name, text in zip(classes, sentences, strict=True))


def binary_decision(value: float = 0.5, rule: str = "fixed") -> Decision:
    """Return the decision between two classes with one threshold."""
    return Decision("binary", (Threshold(value, rule),))


def mean_decision(decisions: Sequence[Decision]) -> Decision:
    """Return the decision with the mean of each threshold; a threshold common to all keeps its rule."""
    thresholds = []
    for shared in zip(*(decision.thresholds for decision in decisions), strict=True):
        mean = Threshold(float(np.mean([threshold.value for threshold in shared])), MEAN)
        thresholds.append(shared[0] if len(set(shared)) == 1 else mean)
    return Decision(decisions[0].task, tuple(thresholds))


def choose_decision(task: Task, label: ArrayLike, probability: ArrayLike, rule: str = "fixed") -> Decision:
    """Choose the decision by a rule of `choose_threshold` on validation predictions; never pass test windows.

    label, probability: `(windows,)` twice for two classes, `(windows,)` and `(windows, classes)` for more, both
    `(windows, labels)` for labels, where -1 is missing. Each label has its own threshold. A label without a positive or
    a negative validation window has 0.5 with the rule "unfitted". Raises as `choose_threshold` does.
    """
    check_rule(task, rule)
    if task == "multiclass":
        return Decision(task)
    if task == "binary":
        return Decision(task, (choose_threshold(label, probability, rule),))
    columns = zip(np.asarray(label).T, np.asarray(probability).T, strict=True)
    return Decision(task, tuple(_label_threshold(*column, rule) for column in columns))


def check_rule(task: Task, rule: str) -> None:
    """Raise SettingError for a threshold rule that the task cannot use."""
    if task == "multiclass" and rule != "fixed":
        raise SettingError(
            f"threshold {rule!r} does not apply to several classes (the largest probability decides); leave it at fixed"
        )


def _label_threshold(label: NDArray, probability: NDArray, rule: str) -> Threshold:
    known = label >= 0
    if rule != "fixed" and len(np.unique(label[known])) < 2:
        return Threshold(0.5, UNFITTED)
    return choose_threshold(label[known], probability[known], rule)


def choose_threshold(label: ArrayLike, probability: ArrayLike, rule: str = "fixed") -> Threshold:
    """Choose the threshold by a rule on validation predictions; never pass test windows.

    label: `(windows,)` of 0 or 1. probability: `(windows,)` of the positive class. Rules: "fixed" (0.5, whatever the
    predictions), "f1" (largest F1), "youden" (largest recall + specificity - 1; Youden 1950), "sensitivity:0.95" (the
    highest threshold with that recall or more). A fitted value is the midpoint of two neighbouring scores; ties are
    resolved towards 0.5. Raises SettingError for another rule, DataError without both classes.
    """
    wanted = _wanted_recall(rule)
    if rule == "fixed":
        return Threshold(0.5, rule)
    label, probability = checked_predictions(label, probability)
    positives = int(label.sum())
    negatives = len(label) - positives
    if positives == 0 or negatives == 0:
        raise DataError(
            f"only one class in {counted(len(label), 'validation window')}, so the threshold rule '{rule}' cannot be "
            "fitted; use 'fixed' or a validation split with both classes"
        )
    order = np.argsort(-probability, kind="stable")
    score = probability[order]
    ends = np.flatnonzero(np.append(np.diff(score) != 0, True))
    true_positive = np.cumsum(label[order])[ends]
    false_positive = ends + 1 - true_positive
    if wanted is not None:
        # The highest threshold that reaches the recall; lower ones only add false positives.
        quality = (np.arange(len(ends)) == np.argmax(true_positive >= wanted * positives - 1e-9)).astype(np.float64)
    elif rule == "f1":
        quality = 2 * true_positive / (true_positive + false_positive + positives)
    else:
        quality = true_positive / positives - false_positive / negatives
    upper = score[ends]
    lower = np.append(upper[1:], upper[-1])
    middle = (upper + lower) / 2
    # Adjacent floats have no midpoint between them; the upper one separates them too.
    candidate = np.where(middle > lower, middle, upper)
    best = np.flatnonzero(quality >= quality.max() - 1e-12)
    value = candidate[best[np.argmin(np.abs(candidate[best] - 0.5))]]
    return Threshold(float(value), rule)


def _wanted_recall(rule: str) -> float | None:
    """Return the recall of a rule `sensitivity:0.95`, None for other rules. Raises SettingError for an unknown rule."""
    if rule in RULES:
        return None
    if rule.startswith(SENSITIVITY):
        try:
            wanted = float(rule.removeprefix(SENSITIVITY))
        except ValueError:
            wanted = 0.0
        if 0 < wanted <= 1:
            return wanted
    allowed = ", ".join(f"'{name}'" for name in RULES)
    raise SettingError(f"threshold rule is '{rule}'; allowed: {allowed} and 'sensitivity:0.95' (above 0 up to 1)")
