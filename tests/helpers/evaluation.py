"""Metrics and intervals of predictions of two classes."""

import numpy as np

from ecgtune.evaluation.decision import binary_decision
from ecgtune.evaluation.intervals import bootstrap_intervals
from ecgtune.evaluation.metrics import weighted_metrics
from ecgtune.evaluation.scorer import make_scorer


def binary_metrics(label, probability, threshold=0.5):
    """Every metric of one set of predictions."""
    weights = np.ones((1, len(label)))
    return {name: float(value[0]) for name, value in weighted_metrics(label, probability, weights, threshold).items()}


def binary_intervals(label, probability, threshold=0.5, group=None, **options):
    """Every metric with its bootstrap interval."""
    return bootstrap_intervals(make_scorer(label, probability, binary_decision(threshold)), group, **options)
