"""Which windows a report shows."""

import numpy as np

from ecgtune.evaluation.cases import KINDS, choose_cases
from ecgtune.evaluation.decision import Decision, Threshold, binary_decision
from ecgtune.evaluation.external import Measured


def test_two_classes():
    probability = np.array([0.9, 0.8, 0.1, 0.45, 0.55, 0.99, 0.3, 0.6])
    label = np.array([1, 0, 0, 1, 1, 1, 0, 0])
    group = np.array(["a", "b", "c", "d", "e", "a", "f", "g"])
    found = choose_cases(Measured(label, probability, group), binary_decision(), 1)
    assert [each.kind for each in found] == list(KINDS)
    assert [each.place for each in found] == [1, 3, 5, 4]
    assert [each.number for each in found] == [1, 0, 1, 1]  # the predicted class is explained
    assert [each.confidence for each in found] == [0.8, 0.55, 0.99, 0.55]
    again = choose_cases(Measured(label, probability, group), binary_decision(), 9)
    assert len(again) == 7  # one of each patient
    assert not choose_cases(Measured(label, probability, group), binary_decision(), 0)


def test_several_classes_without_groups():
    probability = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4]])
    found = choose_cases(Measured(np.array([0, 2, 2]), probability, None), Decision("multiclass"), 2)
    assert [(each.kind, each.place, each.number) for each in found] == [
        ("wrong, surest", 1, 1),
        ("right, surest", 0, 0),
        ("right, surest", 2, 2),
    ]


def test_labels_explain_what_is_furthest_from_the_truth():
    decision = Decision("multilabel", (Threshold(0.5, "fixed"),) * 3)
    probability = np.array([[0.9, 0.6, 0.2], [0.2, 0.7, 0.4], [0.9, 0.1, 0.1], [0.5, 0.5, 0.5]])
    label = np.array([[0, 0, 1], [0, 1, 0], [1, -1, 0], [-1, -1, -1]], np.int8)
    found = choose_cases(Measured(label, probability, None), decision, 2)
    assert [(each.kind, each.place, each.number) for each in found] == [
        ("wrong, surest", 0, 0),
        ("right, surest", 2, 0),
        ("right, surest", 1, 1),
    ]
