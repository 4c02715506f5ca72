"""Accuracy and confidence of a run on disturbed windows, beside the same windows undisturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.evaluate import defined
from ecgtune.evaluation.external import Measured
from ecgtune.evaluation.groups import group_index
from ecgtune.evaluation.intervals import percentile_interval, resampled_counts
from ecgtune.evaluation.scorer import Scorer, make_scorer

METRICS = ("auroc", "balanced_accuracy", "confidence")
Draws = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class StressTest:
    """The undisturbed predictions of a run, with which those for disturbed windows are compared.

    clean: one prediction per window. decision: thresholds of the run. Values and differences have 95 % percentile
    intervals over patients or recordings; the same resamples serve all disturbances, so differences are paired.
    """

    clean: Measured
    decision: Decision
    classes: Sequence[str]
    resamples: int = 1000

    def measure(self, probability: NDArray[np.float64]) -> dict[str, Any]:
        """Return `{"metrics": {name: {...}}, "difference": {name: {...}}, "changed": fraction}` of `METRICS`.

        probability: for the disturbed windows, of the shape of the undisturbed ones. "changed": decisions that differ.
        """
        values, draws = self._scored(probability)
        before, drawn = self._before
        differences = {name: values[name] - before[name] for name in METRICS}
        changed = self.decision(probability) != self.decision(self.clean.probability)
        return {
            "metrics": _entries(values, draws),
            "difference": _entries(differences, {name: draws[name] - drawn[name] for name in METRICS}),
            "changed": float(changed.mean()),
        }

    def undisturbed(self) -> dict[str, Any]:
        """Return the metrics of the undisturbed windows."""
        return _entries(*self._before)

    @cached_property
    def _before(self) -> tuple[dict[str, float], Draws]:
        return self._scored(self.clean.probability)

    def _scored(self, probability: NDArray[np.float64]) -> tuple[dict[str, float], Draws]:
        scorer = make_scorer(self.clean.label, probability, self.decision, self.classes)
        index = group_index(self.clean.group, len(scorer.label))[1]
        sure = self.decision.confidence(probability)
        chunks: dict[str, list[NDArray]] = {name: [] for name in METRICS}
        for counts in resampled_counts(int(index.max()) + 1, len(index), self.resamples, seed=0):
            for name, value in _of_weights(scorer, sure, counts[:, index]).items():
                chunks[name].append(value)
        found = _of_weights(scorer, sure, np.ones((1, len(index))))
        return {name: float(value[0]) for name, value in found.items()}, {
            name: np.concatenate(each) for name, each in chunks.items()
        }


def _of_weights(scorer: Scorer, sure: NDArray[np.float64], weights: NDArray[np.float64]) -> Draws:
    found = scorer(weights)
    # The mean recall over several classes is their balanced accuracy.
    several = scorer.decision.task == "multiclass"
    balanced = found["recall"] if several else (found["recall"] + found["specificity"]) / 2
    return {
        "auroc": found["auroc"],
        "balanced_accuracy": balanced,
        "confidence": weights @ sure / weights.sum(axis=1),
    }


def _entries(values: Mapping[str, float], draws: Draws) -> dict[str, Any]:
    result = {}
    for name, value in values.items():
        low, high = percentile_interval(draws[name], 0.95)
        result[name] = {"value": defined(value), "ci_low": defined(low), "ci_high": defined(high)}
    return result


@dataclass(frozen=True)
class Loss:
    """The largest loss of one metric under one disturbance, and the strengths at which a loss is shown.

    value: undisturbed minus disturbed, at `strength`. shown: strengths whose interval of the difference is below 0.
    onwards: whether these are the last strengths without a gap, so that the loss is shown from the first one on;
    everywhere: whether they are all.
    """

    disturbance: str
    metric: str
    value: float
    strength: float | str
    shown: tuple[float | str, ...]
    onwards: bool
    everywhere: bool


def losses(rows: Sequence[Mapping[str, Any]], metric: str) -> list[Loss]:
    """Return the loss of each disturbance in `metric`, the largest first. rows: of `stress.json`."""
    found = []
    for name in dict.fromkeys(row["disturbance"] for row in rows):
        own = [row for row in rows if row["disturbance"] == name and row["difference"][metric]["value"] is not None]
        if not own:
            continue
        worst = min(own, key=lambda row: row["difference"][metric]["value"])
        low = [
            row["difference"][metric]["ci_high"] is not None and row["difference"][metric]["ci_high"] < 0 for row in own
        ]
        shown = tuple(row["strength"] for row, there in zip(own, low, strict=True) if there)
        onwards = bool(shown) and all(low[len(low) - len(shown) :])
        one = Loss(
            name,
            metric,
            -worst["difference"][metric]["value"],
            worst["strength"],
            shown,
            onwards,
            bool(low) and all(low),
        )
        found.append(one if one.value > 0 else replace(one, value=0.0))
    return sorted(found, key=lambda loss: -loss.value)
