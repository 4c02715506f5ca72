"""How probabilities become an answer: a threshold, the largest of several classes, or a threshold per label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.errors import SettingError
from ecgtune.evaluation.threshold import UNFITTED, Threshold, choose_threshold

if TYPE_CHECKING:
    from ecgtune.data.tasks import Task

LARGEST = "argmax"


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
        """The answers: class indices (windows,) of (windows,) or (windows, classes), 0 / 1 of (windows, labels)."""
        if self.task == "multiclass":
            return probability.argmax(axis=1)
        return (probability >= (self.values if self.task == "multilabel" else self.values[0])).astype(np.int64)

    def to_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """What metrics.json and model.json hold."""
        entries = [{"value": threshold.value, "rule": threshold.rule} for threshold in self.thresholds]
        if self.task == "binary":
            return entries[0]
        if self.task == "multiclass":
            return {"rule": LARGEST}
        return {"labels": dict(zip(classes, entries, strict=True))}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Decision:
        """Read back what `to_dict` gave. Raises KeyError or TypeError for anything else."""
        if "labels" in stored:
            return cls("multilabel", tuple(Threshold(**entry) for entry in stored["labels"].values()))
        return cls("multiclass") if stored["rule"] == LARGEST else binary_decision(**stored)

    def sentence(self, classes: Sequence[str]) -> str:
        """What tables and reports print: `0.5, fixed`, or one of these for each label."""
        if self.task == "binary":
            return self.thresholds[0].sentence
        if self.task == "multiclass":
            return "the class with the largest probability"
        sentences = [threshold.sentence for threshold in self.thresholds]
        if len(set(sentences)) == 1:
            return f"{sentences[0]}, for every label"
        return "; ".join(f"{name} {text}" for name, text in zip(classes, sentences, strict=True))


def binary_decision(value: float = 0.5, rule: str = "fixed") -> Decision:
    """The second of two classes from a probability of `value` on."""
    return Decision("binary", (Threshold(value, rule),))


def choose_decision(task: Task, label: ArrayLike, probability: ArrayLike, rule: str = "fixed") -> Decision:
    """The decision that a rule of `choose_threshold` makes of validation predictions; never call it with test windows.

    label, probability: `(windows,)` of two classes, `(windows,)` and `(windows, classes)` of several, both
    `(windows, labels)` of labels, where -1 is missing. Each label has a threshold of its own; one that the validation
    windows do not have with and without keeps 0.5, and its rule says so. Raises what `choose_threshold` raises.
    """
    check_rule(task, rule)
    if task == "multiclass":
        return Decision(task)
    if task == "binary":
        return Decision(task, (choose_threshold(label, probability, rule),))
    label, probability = np.asarray(label), np.asarray(probability)
    return Decision(task, tuple(_of_label(label[:, i], probability[:, i], rule) for i in range(label.shape[1])))


def check_rule(task: Task, rule: str) -> None:
    """Raise SettingError for a threshold rule that the task cannot use; a rule that is unknown is not looked for."""
    if task == "multiclass" and rule != "fixed":
        raise SettingError(
            f"threshold {rule!r} has no meaning for several classes, where the largest probability decides; leave it at"
            " fixed"
        )


def _of_label(label: NDArray, probability: NDArray, rule: str) -> Threshold:
    known = label >= 0
    if rule != "fixed" and len(np.unique(label[known])) < 2:
        return Threshold(0.5, UNFITTED)
    return choose_threshold(label[known], probability[known], rule)
