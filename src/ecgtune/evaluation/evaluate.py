"""Entries `window` and `group` of metrics.json from test predictions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from ecgtune.data.tasks import label_counts
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.groups import Pooled, group_predictions
from ecgtune.evaluation.intervals import Interval, bootstrap_intervals
from ecgtune.evaluation.metrics import METRICS
from ecgtune.evaluation.scorer import Scorer, make_scorer


@dataclass(frozen=True)
class Grouping:
    """Units of the windows.

    group: `(windows,)`, the unit of the bootstrap, None without groups; name: its kind, "record" or "patient".
    recording: `(windows,)`, the unit of pooling if a group (a patient) may have several recordings. pooled: mean or
    maximum of the windows' probabilities for a recording or group.
    """

    group: ArrayLike | None = None
    name: str = "record"
    recording: ArrayLike | None = None
    pooled: Pooled = "mean"


def evaluate(
    label: ArrayLike,
    probability: ArrayLike,
    grouping: Grouping,
    decision: Decision,
    classes: Sequence[str] = (),
    *,
    f1_over: Sequence[str] = (),
    resamples: int = 1000,
) -> dict[str, Any]:
    """Compute metrics with 95 % intervals per window and per group, in the layout of metrics.json.

    label, probability: of the test split, `(windows,)` twice for two classes, `(windows,)` and `(windows, classes)` for
    more, both `(windows, labels)` for labels. classes: names, needed for more than two classes or labels. f1_over: the
    classes of `challenge_f1`, a mean F1. resamples: of the bootstrap.

    Returns `{"window": {"n", "metrics": {name: {"value", "ci_low", "ci_high"}}, "confusion": [[tn, fp], [fn, tp]]},
    "group": the same per recording or group, with its name as "of", or {"reason": ...}}`, with `too_few` in metrics of
    which all resamples agree, and `labels` and
    `labels_in_mean` for several (see docs/architecture.md): plain Python values, None for an undefined metric.
    """

    def level_of(label: ArrayLike, probability: ArrayLike, group: ArrayLike | None) -> dict[str, Any]:
        scorer = make_scorer(label, probability, decision, classes, f1_over, each=True)
        return _level(scorer, group, classes, resamples)

    group, recording = grouping.group, grouping.recording
    window = level_of(label, probability, group)
    unit, unit_name = (group, grouping.name) if recording is None else (recording, "recording")
    groups = group_predictions(label, probability, unit, unit_name, grouping.pooled)
    if isinstance(groups, str):
        return {"window": window, "group": {"reason": groups}}
    owners = None if recording is None else groups.owners(recording, group)
    return {"window": window, "group": {"of": unit_name, **level_of(groups.label, groups.probability, owners)}}


def _level(scorer: Scorer, group: ArrayLike | None, classes: Sequence[str], resamples: int) -> dict[str, Any]:
    intervals = bootstrap_intervals(scorer, group, resamples=resamples)
    confusion = scorer.confusion()
    result = {
        "n": len(scorer.label),
        "metrics": {name: plain(entry) for name, entry in intervals.items() if isinstance(name, str)},
        "confusion": confusion,
    }
    if scorer.decision.task == "binary":
        return result
    labels = {}
    for index, (name, positives, known) in enumerate(zip(classes, *label_counts(scorer.label, classes), strict=True)):
        present = 0 < positives < known
        labels[name] = {
            "positives": int(positives),
            "known": int(known),
            "prevalence": int(positives) / int(known) if known else None,
            "metrics": {metric: plain(intervals[metric, index]) for metric in METRICS} if present else None,
        }
    result["labels_in_mean"] = sum(entry["metrics"] is not None for entry in labels.values())
    result["labels"] = labels
    if scorer.decision.task == "multilabel":
        del result["confusion"]
        for entry, counts in zip(labels.values(), confusion, strict=True):
            entry["confusion"] = counts
    return result


def plain(entry: Interval) -> dict[str, float | None]:
    """The entry for JSON: None for NaN."""
    return {key: value if value is True else defined(value) for key, value in entry.items()}


def defined(value: float) -> float | None:
    """Return the value, None for NaN (JSON has no NaN)."""
    return None if math.isnan(value) else float(value)
