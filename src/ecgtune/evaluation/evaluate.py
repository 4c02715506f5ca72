"""From test predictions to the `window` and `group` parts of metrics.json."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.groups import Pooled, group_predictions
from ecgtune.evaluation.intervals import Interval, measured_intervals
from ecgtune.evaluation.measure import Key, Measured, measured
from ecgtune.evaluation.metrics import METRICS


def evaluate(
    label: ArrayLike,
    probability: ArrayLike,
    group: ArrayLike | None,
    decision: Decision,
    classes: Sequence[str] = (),
    *,
    recording: ArrayLike | None = None,
    f1_over: Sequence[str] = (),
    group_name: str = "record",
    pooled: Pooled = "mean",
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Metrics per window and per group with intervals, in the layout of metrics.json.

    label, probability: of the test split, `(windows,)` twice for two classes, `(windows,)` and `(windows, classes)` for
    more, both `(windows, labels)` for labels; group `(windows,)`, whom the bootstrap resamples, None without groups;
    recording `(windows,)`, what is pooled to one answer where a group (a patient) may have several. classes: names,
    needed for more than two classes or labels; f1_over: those of them over which `challenge_f1` is a mean. pooled:
    whether a recording's or group's probability is the mean or the maximum of its windows'.

    Returns `{"window": {"n", "metrics": {name: {"value", "ci_low", "ci_high"}}, "confusion": [[tn, fp], [fn, tp]]},
    "group": the same per recording or group, with which of them as "of", or {"reason": ...}}`, with `labels` and
    `labels_in_mean` beside for several (see docs/architecture.md); plain Python values, None for an undefined metric,
    so that it can be written as JSON.
    """
    options = {"resamples": resamples, "seed": seed, "level": level}

    def level_of(label: ArrayLike, probability: ArrayLike, group: ArrayLike | None) -> dict[str, Any]:
        predictions = measured(label, probability, decision, classes, f1_over, each=True)
        return _level(predictions, group, classes, **options)

    window = level_of(label, probability, group)
    unit, unit_name = (group, group_name) if recording is None else (recording, "recording")
    groups = group_predictions(label, probability, unit, unit_name, pooled)
    if isinstance(groups, str):
        return {"window": window, "group": {"reason": groups}}
    owners = None if recording is None else groups.owners(recording, group)
    return {"window": window, "group": {"of": unit_name, **level_of(groups.label, groups.probability, owners)}}


def _level(predictions: Measured, group: ArrayLike | None, classes: Sequence[str], **options: Any) -> dict[str, Any]:
    intervals = measured_intervals(predictions, group, **options)
    confusion = predictions.confusion()
    result = {
        "n": len(predictions.label),
        "metrics": {name: _plain(entry) for name, entry in intervals.items() if isinstance(name, str)},
        "confusion": confusion,
    }
    if predictions.decision.task == "binary":
        return result
    present = predictions.present()
    result["labels_in_mean"] = int(present.sum())
    result["labels"] = {
        name: _label(predictions, intervals, place, bool(present[place])) for place, name in enumerate(classes)
    }
    if predictions.decision.task == "multilabel":
        del result["confusion"]
        for name, counts in zip(classes, confusion, strict=True):
            result["labels"][name]["confusion"] = counts
    return result


def _label(predictions: Measured, intervals: dict[Key, Interval], place: int, present: bool) -> dict[str, Any]:
    """One class or label: how often it is there, and its metrics unless it is absent."""
    label = predictions.label
    column = label[:, place] if label.ndim == 2 else (label == place).astype(np.int64)
    positives, known = int((column == 1).sum()), int((column >= 0).sum())
    return {
        "positives": positives,
        "known": known,
        "prevalence": positives / known if known else None,
        "metrics": {name: _plain(intervals[name, place]) for name in METRICS} if present else None,
    }


def _plain(entry: Interval) -> dict[str, float | None]:
    return {key: defined(value) for key, value in entry.items()}


def defined(value: float) -> float | None:
    """The value as JSON can hold it: None for NaN."""
    return None if math.isnan(value) else float(value)
