"""Predictions into metrics, intervals, paired differences and comparisons. Pure numpy: no torch, no files."""

from ecgtune.evaluation.comparison import RunRecord, compare_runs
from ecgtune.evaluation.evaluate import evaluate
from ecgtune.evaluation.intervals import GroupPredictions, bootstrap_intervals, group_predictions
from ecgtune.evaluation.metrics import METRICS, auroc, binary_metrics, confusion_matrix, weighted_metrics
from ecgtune.evaluation.paired import Difference, Resampled, holm, paired_difference, resample
from ecgtune.evaluation.threshold import RULES, Threshold, choose_threshold

__all__ = [
    "METRICS",
    "RULES",
    "Difference",
    "GroupPredictions",
    "Resampled",
    "RunRecord",
    "Threshold",
    "auroc",
    "binary_metrics",
    "bootstrap_intervals",
    "choose_threshold",
    "compare_runs",
    "confusion_matrix",
    "evaluate",
    "group_predictions",
    "holm",
    "paired_difference",
    "resample",
    "weighted_metrics",
]
