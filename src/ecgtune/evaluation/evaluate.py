"""From test predictions to the `window` and `group` parts of metrics.json."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ecgtune.evaluation.intervals import bootstrap_intervals, group_predictions
from ecgtune.evaluation.metrics import checked_predictions, confusion_matrix
from ecgtune.evaluation.threshold import Threshold


def evaluate(
    label: ArrayLike,
    probability: ArrayLike,
    group: ArrayLike | None,
    threshold: Threshold,
    *,
    group_name: str = "record",
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Metrics per window and per group with intervals, in the layout of metrics.json.

    label, probability, group: `(windows,)` of the test split (group None without groups). Returns
    `{"window": {"n", "metrics": {name: {"value", "low", "high"}}, "confusion": [[tn, fp], [fn, tp]]},
    "group": the same per group, or {"reason": ...}}`; plain Python values, None for an undefined metric, so that it
    can be written as JSON as it is.
    """
    options = {"resamples": resamples, "seed": seed, "level": level}
    label, probability = checked_predictions(label, probability)
    window = _level(label, probability, group, threshold.value, **options)
    groups = group_predictions(label, probability, group, group_name)
    if isinstance(groups, str):
        return {"window": window, "group": {"reason": groups}}
    return {"window": window, "group": _level(groups.label, groups.probability, None, threshold.value, **options)}


def _level(
    label: np.ndarray, probability: np.ndarray, group: ArrayLike | None, threshold: float, **options: Any
) -> dict[str, Any]:
    intervals = bootstrap_intervals(label, probability, threshold, group, **options)
    return {
        "n": len(label),
        "metrics": {name: {key: defined(v) for key, v in entry.items()} for name, entry in intervals.items()},
        "confusion": confusion_matrix(label, probability >= threshold),
    }


def defined(value: float) -> float | None:
    """The value as JSON can hold it: None for NaN."""
    return None if math.isnan(value) else float(value)
