"""Prediction sets and abstention: fitted on validation, and what they keep of their promise on other windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.data.tasks import Task
from ecgtune.evaluation.certainty import COVERAGE, FRACTIONS, Certainty, UnitCertainty, sides_of
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.evaluate import defined
from ecgtune.evaluation.external import Measured
from ecgtune.evaluation.groups import Pooled, group_index
from ecgtune.evaluation.intervals import interval, percentile_interval, resampled_counts

Array = NDArray[np.float64]
#: Fractions of abstention that are measured.
ABSTENTIONS = (0.05, 0.1, 0.2, 0.3)
RESAMPLES = 1000


def conformal_threshold(probability: ArrayLike, group: ArrayLike | None = None, level: float = COVERAGE) -> float:
    """Return the highest threshold that the true class of a new window reaches with a probability of `level`.

    probability: that of the true class, `(windows,)`, on validation. group: `(windows,)`; each has the weight 1 /
    (groups + 1), divided among its windows, and one more, the new one, may have any probability (Lee, Barber and
    Willett, arXiv:2306.06342). Without groups this is split conformal prediction (Vovk et al. 2005) with the score of
    Sadinle et al., J. Am. Statist. Assoc. 114, 2019, 223-234. With too few groups for the level it is 0: all classes.
    """
    value = np.asarray(probability, np.float64)
    index = group_index(group, len(value))[1]
    size = np.bincount(index)
    order = np.argsort(-value, kind="stable")
    reached = np.cumsum(1 / size[index[order]]) / (np.count_nonzero(size) + 1)
    place = int(np.searchsorted(reached, level - 1e-12))
    return float(value[order[place]]) if place < len(order) else 0.0


def fit_certainty(
    validation: Measured, recording: NDArray | None, decision: Decision, rule: Pooled, level: float = COVERAGE
) -> Certainty:
    """Fit prediction sets and abstention on validation predictions; never pass test windows.

    validation: as in `evaluate`. recording: `(windows,)` where a patient may have several. rule: how probabilities of
    windows become that of their recording. Without recordings of one label there is nothing per recording.
    """
    pooled = validation.per_recording(recording, rule)
    whole = None
    if validation.group is not None and not isinstance(pooled, str):
        whole = _unit(pooled, decision, level)
    return Certainty(level, _unit(validation, decision, level), whole)


def _unit(data: Measured, decision: Decision, level: float) -> UnitCertainty:
    index = group_index(data.group, len(data.label))[1]
    true, known = _true(data, decision.task)
    thresholds = [
        conformal_threshold(column[there], index[there], level) for column, there in zip(true.T, known.T, strict=True)
    ]
    sure = decision.confidence(data.probability)
    order = np.argsort(sure, kind="stable")
    weight = 1 / np.bincount(index)[index[order]]
    middle = (np.cumsum(weight) - weight / 2) / weight.sum()
    quantiles = np.interp(FRACTIONS, middle, sure[order])
    confidence = tuple(float(value) for value in quantiles)
    by_class = _by_class(data, decision.task, index, level)
    return UnitCertainty(tuple(thresholds), confidence, int(index.max()) + 1, by_class)


def _by_class(data: Measured, task: Task, index: NDArray, level: float) -> tuple[tuple[float, ...], ...]:
    """Thresholds of each class alone, or of each label where it is absent and where it is present.

    Vovk, Conditional validity of inductive conformal predictors, Machine Learning 92, 2013, 349-376. A class with too
    few patients for the level is in every set.
    """
    label = np.asarray(data.label).reshape(len(data.label), -1)
    sides = sides_of(np.asarray(data.probability, np.float64), task).reshape(len(label), label.shape[1], -1)
    return tuple(
        tuple(
            conformal_threshold(sides[there, column, side], index[there], level)
            for side in range(sides.shape[2])
            for there in (label[:, column] == side,)
        )
        for column in range(label.shape[1])
    )


def _true(data: Measured, task: Task) -> tuple[Array, NDArray[np.bool_]]:
    """Probability of the true class, (windows, 1) or (windows, labels), and where the label is known."""
    label, probability = np.asarray(data.label), np.asarray(data.probability, np.float64)
    if task == "multiclass":
        true = probability[np.arange(len(label)), label]
    else:
        true = np.where(label == 1, probability, 1 - probability)
    return true.reshape(len(label), -1), (label >= 0).reshape(len(label), -1)


def measured_coverage(
    data: Measured, unit: UnitCertainty, task: Task, level: float, *, by_class: bool = False
) -> dict[str, Any]:
    """Return what prediction sets cover, counted by patient or recording. by_class: of the sets of each class.

    `{"promised", "found": {"value", "ci_low", "ci_high"}, "broken", "size", "single", "empty", "by_class"}`: "found"
    is the mean over groups of the fraction of their windows (of labels: windows and labels) whose true class is in the
    set, with a bootstrap interval over groups, or an exact one where all groups are equal; "broken" whether the promise
    is above the interval; "size" the mean number of classes in a set, "single" and "empty" fractions of sets;
    "by_class" coverage of the windows of each true class by its index (of labels: by 0 and 1).
    """
    covered, known, sets = _covered(data, unit, task, by_class)
    index = group_index(data.group, len(data.label))[1]
    total, hits = (
        np.bincount(index, weights=each.sum(axis=1)) for each in (known.astype(float), (covered & known).astype(float))
    )
    there = total > 0
    rate = hits[there] / total[there]
    draws = np.concatenate(
        [counts @ rate / len(rate) for counts in resampled_counts(len(rate), len(rate), RESAMPLES, seed=0)]
    )
    found = interval("coverage", float(rate.mean()), draws, len(rate), 0.95)
    low, high = found["ci_low"], found["ci_high"]
    size = sets.sum(axis=-1)
    label = np.asarray(data.label).reshape(known.shape)
    return {
        "promised": level,
        "found": {"value": float(rate.mean()), "ci_low": defined(low), "ci_high": defined(high)},
        "groups": len(rate),
        "broken": bool(high < level),
        "size": float(size.mean()),
        "single": float((size == 1).mean()),
        "empty": float((size == 0).mean()),
        "by_class": {str(value): float(covered[label == value].mean()) for value in np.unique(label[known]).tolist()},
    }


def _covered(
    data: Measured, unit: UnitCertainty, task: Task, by_class: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether the true class is in the set and whether it is known, (windows, 1 or labels), and the sets."""
    sets = unit.sets(np.asarray(data.probability, np.float64), task, by_class=by_class)
    label = np.asarray(data.label).reshape(len(data.label), -1)
    sides = sets if task == "multilabel" else sets[:, None]
    return np.take_along_axis(sides, np.maximum(label, 0)[..., None], axis=-1)[..., 0], label >= 0, sets


def wrong(data: Measured, decision: Decision) -> Array:
    """Return the fraction of wrong decisions of each window: 0 or 1, of labels of its known ones, NaN without any."""
    label = np.asarray(data.label)
    different = decision(data.probability) != label
    if decision.task != "multilabel":
        return different.astype(np.float64)
    known = label >= 0
    count = known.sum(axis=1)
    return np.where(count > 0, (different & known).sum(axis=1) / np.maximum(count, 1), np.nan)


def measured_abstention(data: Measured, unit: UnitCertainty, decision: Decision) -> list[dict[str, Any]]:
    """Return the error with abstention at each of `ABSTENTIONS`, by thresholds from validation.

    Windows without a known label are left out.
    `{"fraction", "abstained", "error", "error_before", "reduction"}`: the fraction asked for and found, the error of
    what is answered and of all, and the relative reduction with an interval over groups.
    """
    error = wrong(data, decision)
    data, error = data.select(~np.isnan(error)), error[~np.isnan(error)]
    sure, index = decision.confidence(data.probability), group_index(data.group, len(error))[1]
    result = []
    for fraction in ABSTENTIONS:
        answered = (sure >= unit.least_confidence(fraction)).astype(np.float64)
        sums = [np.bincount(index, weights=each) for each in (error * answered, answered, error, np.ones(len(error)))]
        draws = np.concatenate(
            [
                _reduction(*(counts @ each for each in sums))
                for counts in resampled_counts(len(sums[0]), len(sums[0]), RESAMPLES, seed=0)
            ]
        )
        low, high = percentile_interval(draws, 0.95)
        kept, number, all_wrong, every = (float(each.sum()) for each in sums)
        value = _reduction(*(np.array([each]) for each in (kept, number, all_wrong, every)))[0]
        result.append(
            {
                "fraction": fraction,
                "abstained": 1 - number / every,
                "error": defined(kept / number if number else np.nan),
                "error_before": all_wrong / every,
                "reduction": {"value": defined(value), "ci_low": defined(low), "ci_high": defined(high)},
            }
        )
    return result


def _reduction(kept: Array, number: Array, all_wrong: Array, every: Array) -> Array:
    """One minus the error of the answered, divided by that of all; NaN without errors or answers."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((number > 0) & (all_wrong > 0), 1 - (kept / number) / (all_wrong / every), np.nan)


def measured_certainty(
    certainty: Certainty, data: Measured, recording: NDArray | None, decision: Decision, rule: Pooled
) -> dict[str, Any]:
    """Return coverage and abstention per window and per recording: `{"window": {...}, "recording": {...} or None}`."""
    pooled = None if certainty.recording is None else data.per_recording(recording, rule)
    return {
        "window": _measured(certainty.window, data, decision, certainty.level),
        "recording": None
        if certainty.recording is None or pooled is None or isinstance(pooled, str)
        else _measured(certainty.recording, pooled, decision, certainty.level),
    }


def _measured(unit: UnitCertainty, data: Measured, decision: Decision, level: float) -> dict[str, Any]:
    return {
        "coverage": measured_coverage(data, unit, decision.task, level),
        **(
            {"coverage_by_class": measured_coverage(data, unit, decision.task, level, by_class=True)}
            if unit.by_class
            else {}
        ),
        "abstention": measured_abstention(data, unit, decision),
    }
