"""Predictions into metrics, intervals, paired differences and comparisons. Pure numpy: no torch, no files."""

from ecgtune.evaluation.comparison import RunRecord, compare_runs
from ecgtune.evaluation.decision import Decision, binary_decision, check_rule, choose_decision
from ecgtune.evaluation.evaluate import evaluate
from ecgtune.evaluation.groups import GroupPredictions, group_predictions, pooled_probability
from ecgtune.evaluation.intervals import bootstrap_intervals, measured_intervals
from ecgtune.evaluation.measure import Measured, measured
from ecgtune.evaluation.metrics import METRICS, auroc, binary_metrics, confusion_matrix, weighted_metrics
from ecgtune.evaluation.paired import Difference, Resampled, holm, paired_difference, resample
from ecgtune.evaluation.several import CHALLENGE, challenge_f1, challenge_places, macro_auroc
from ecgtune.evaluation.threshold import RULES, Threshold, choose_threshold

__all__ = [
    "CHALLENGE",
    "METRICS",
    "RULES",
    "Decision",
    "Difference",
    "GroupPredictions",
    "Measured",
    "Resampled",
    "RunRecord",
    "Threshold",
    "auroc",
    "binary_decision",
    "binary_metrics",
    "bootstrap_intervals",
    "challenge_f1",
    "challenge_places",
    "check_rule",
    "choose_decision",
    "choose_threshold",
    "compare_runs",
    "confusion_matrix",
    "evaluate",
    "group_predictions",
    "holm",
    "macro_auroc",
    "measured",
    "measured_intervals",
    "paired_difference",
    "pooled_probability",
    "resample",
    "weighted_metrics",
]
