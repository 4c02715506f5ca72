"""The decision threshold: fixed, or the best one on validation."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.decision import Threshold, choose_threshold
from helpers.evaluation import binary_metrics


def quality(rule, label, probability, threshold):
    found = binary_metrics(label, probability, threshold)
    return found["f1"] if rule == "f1" else found["recall"] + found["specificity"] - 1


@pytest.mark.parametrize("rule", ["f1", "youden"])
@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=2, max_size=30))
def test_no_other_threshold_is_better(rule, windows):
    label, score = (np.array(column) for column in zip(*windows, strict=True))
    assume(0 < label.sum() < len(label))
    probability = score / 10
    chosen = choose_threshold(label, probability, rule)
    every = [quality(rule, label, probability, t) for t in np.concatenate([probability, [0.0, 1.0]])]
    assert quality(rule, label, probability, chosen.value) >= max(every) - 1e-12
    assert 0 <= chosen.value <= 1


def test_threshold_lies_midway_and_nearest_to_a_half():
    assert choose_threshold([0, 0, 1, 1], [0.1, 0.2, 0.4, 0.9], "youden").value == pytest.approx(0.3)
    # {0.9} and {0.9, 0.8, 0.6} both reach J = 1/2; the second divides nearer to 0.5.
    assert choose_threshold([1, 0, 1, 0], [0.9, 0.8, 0.6, 0.2], "youden").value == pytest.approx(0.4)
    assert choose_threshold([1, 0, 1, 0], [0.6, 0.45, 0.2, 0.1], "youden").value == pytest.approx(0.525)


def test_neighbouring_floats_are_still_divided():
    low, high = 0.3, np.nextafter(0.3, 1)
    chosen = choose_threshold([0, 1], [low, high], "youden")
    assert low < chosen.value <= high


def test_fixed_does_not_look_at_the_predictions():
    assert choose_threshold([1, 1], [0.9, 0.9], "fixed") == Threshold(0.5, "fixed")


@pytest.mark.parametrize(
    ("threshold", "sentence"),
    [
        (Threshold(0.5, "fixed"), "0.5, fixed"),
        (Threshold(0.3712, "f1"), "0.371, fitted on validation (largest F1)"),
        (Threshold(0.25, "youden"), "0.25, fitted on validation (largest recall + specificity)"),
    ],
)
def test_sentence(threshold, sentence):
    assert threshold.sentence == sentence


def test_what_cannot_be_fitted_is_one_line():
    with pytest.raises(SettingError, match="'best'; allowed: 'fixed', 'f1', 'youden'"):
        choose_threshold([0, 1], [0.1, 0.9], "best")
    with pytest.raises(DataError, match="only one class"):
        choose_threshold([1, 1], [0.1, 0.9], "f1")
