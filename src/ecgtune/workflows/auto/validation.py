"""Validation predictions of trainings, compared: a metric, the same for resamples of the patients, and differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.tasks import Task
from ecgtune.evaluation.decision import Decision, binary_decision, choose_decision
from ecgtune.evaluation.groups import group_index
from ecgtune.evaluation.intervals import percentile_interval, resampled_counts
from ecgtune.evaluation.scorer import Key, make_scorer
from ecgtune.workflows.auto.material import Material

METRIC = "auroc"
RESAMPLES = 500
CHOICE_LEVEL = 0.80  #: Level of the interval that a choice needs: less than a claim, for the test split follows.
FEWEST_GROUPS = 6  #: A difference with the same sign in all of five patients has p = 1/16 (two-sided sign test).


@dataclass(frozen=True, eq=False)
class Validation:
    """What candidates are compared on: labels (windows, ...), groups, their name, and resamples of the groups."""

    task: Task
    classes: tuple[str, ...]
    label: NDArray[Any]
    index: NDArray[np.int64]
    unit: str = "window"

    @property
    def groups(self) -> int:
        return int(self.index.max()) + 1

    def shows(self, difference: Mapping[str, float]) -> bool:
        """Whether a difference is above 0 by its interval; of fewer than `FEWEST_GROUPS` groups none is."""
        return difference["ci_low"] > 0 and self.groups >= FEWEST_GROUPS

    def level(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
        """Whether neither of two candidates, by their `draws`, is shown to be better, though the groups are enough."""
        shown = self.shows(difference_of(one, other)) or self.shows(difference_of(other, one))
        return self.groups >= FEWEST_GROUPS and not shown

    def draws(self, copies: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """The metric of the windows, then of each resample of their groups: (1 + resamples,), the mean over copies."""
        decision = binary_decision() if self.task == "binary" else Decision(self.task)
        if self.task == "multilabel":
            decision = choose_decision(self.task, self.label, copies[0], "fixed")
        values = []
        for copy in copies:
            scorer = make_scorer(self.label, copy, decision, self.classes, each=True)
            own = [_metric(scorer(np.ones((1, len(self.label)))))]
            for counts in resampled_counts(self.groups, len(self.label), RESAMPLES, 0):
                own.append(_metric(scorer(counts[:, self.index])))
            values.append(np.concatenate(own))
        return np.mean(values, axis=0)


def _metric(found: Mapping[Key, NDArray[np.float64]]) -> NDArray[np.float64]:
    """AUROC of two classes; else its mean over the classes or labels that a resample has and lacks (resamples,)."""
    each = [values for name, values in found.items() if name[0] == METRIC]
    if not each:
        return found[METRIC]
    known = ~np.isnan(each)
    return np.where(known.any(axis=0), np.nansum(each, axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)


def validation_of(material: Material, rows: NDArray[np.int64]) -> Validation:
    dataset = material.dataset
    group = None if dataset.group is None else dataset.group[rows]
    unit = "window" if group is None else dataset.group_name or "recording"
    return Validation(dataset.task, dataset.classes, dataset.label[rows], group_index(group, len(rows))[1], unit)


def difference_of(first: NDArray[np.float64], second: NDArray[np.float64]) -> dict[str, float]:
    """The difference of two candidates by their `draws`, with its interval of `CHOICE_LEVEL`."""
    low, high = percentile_interval(first[1:] - second[1:], CHOICE_LEVEL)
    return {"value": float(first[0] - second[0]), "ci_low": low, "ci_high": high}
