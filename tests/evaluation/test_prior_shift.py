"""Probabilities at another prevalence: against Bayes' rule, simulated shifts and a published formula."""

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import expit

from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.calibration.measures import calibration_line
from ecgtune.evaluation.prior_shift import estimated_prevalence, prevalence_of, shifted, stated_prevalence


def signals(prevalence, windows, seed=0, distance=1.5):
    """Labels, scores of two normal distributions, and the posterior at a prevalence of one half."""
    generator = np.random.default_rng(seed)
    label = (generator.random(windows) < prevalence).astype(int)
    score = generator.normal(distance * label, 1)
    return label, expit(distance * score - distance**2 / 2)


@pytest.mark.parametrize("after", [0.05, 0.3, 0.9])
def test_shift_is_bayes_rule(after):
    score = np.linspace(-3, 4, 20)
    likelihood = [stats.norm.pdf(score, mean) for mean in (0, 1.5)]
    expected = after * likelihood[1] / (after * likelihood[1] + (1 - after) * likelihood[0])
    half = likelihood[1] / (likelihood[0] + likelihood[1])
    assert shifted(half, [0.5, 0.5], [1 - after, after], "binary") == pytest.approx(expected)
    both = np.stack([1 - half, half], axis=1)
    assert shifted(both, [0.5, 0.5], [1 - after, after], "multiclass")[:, 1] == pytest.approx(expected)
    labels = shifted(np.stack([half, half], axis=1), [0.5, 0.5], [after, 0.5], "multilabel")
    assert labels[:, 0] == pytest.approx(expected)
    assert labels[:, 1] == pytest.approx(half)


def test_shift_from_half_to_five_percent_needs_no_labels():
    """The calibration intercept is within 0.1 of zero after it, and far from zero before."""
    label, probability = signals(0.05, 20_000)
    intercepts = []
    for after in (None, [0.95, 0.05], estimated_prevalence(probability, [0.5, 0.5], "binary")):
        own = probability if after is None else shifted(probability, [0.5, 0.5], after, "binary")
        intercepts.append(calibration_line(label.astype(float), own, np.arange(len(label)))[1].value)
    assert intercepts[0] < -2
    assert np.abs(intercepts[1:]).max() < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_estimate_is_the_maximum_of_the_likelihood(seed):
    _, probability = signals(0.2, 3000, seed)
    found = estimated_prevalence(probability, [0.5, 0.5], "binary")[1]

    def unlikely(prevalence):
        return -np.log(prevalence * probability / 0.5 + (1 - prevalence) * (1 - probability) / 0.5).sum()

    best = optimize.minimize_scalar(unlikely, bounds=(1e-6, 1 - 1e-6), method="bounded", options={"xatol": 1e-8}).x
    assert found == pytest.approx(best, abs=1e-4)
    assert found == pytest.approx(0.2, abs=0.04)


def test_estimates_of_several_classes_and_labels():
    generator = np.random.default_rng(0)
    label = generator.choice(3, 6000, p=[0.1, 0.2, 0.7])
    score = generator.normal(size=(6000, 3)) + 2 * np.eye(3)[label]
    density = np.exp(2 * score)  # ratio of the class's density to that of the others
    probability = density / density.sum(axis=1, keepdims=True)
    assert estimated_prevalence(probability, np.full(3, 1 / 3), "multiclass") == pytest.approx(
        [0.1, 0.2, 0.7], abs=0.03
    )
    pairs = [signals(prevalence, 4000, seed) for seed, prevalence in enumerate((0.1, 0.6))]
    columns = np.stack([probability for _, probability in pairs], axis=1)
    assert estimated_prevalence(columns, [0.5, 0.5], "multilabel") == pytest.approx([0.1, 0.6], abs=0.04)
    with pytest.raises(DataError, match="no windows"):
        estimated_prevalence([], [0.5, 0.5], "binary")


def test_prevalences_of_labels():
    assert prevalence_of(np.array([0, 1, 1, 1]), ("a", "b")) == pytest.approx([0.25, 0.75])
    found = prevalence_of(np.array([[1, -1], [0, -1]]), ("a", "b"))
    assert found[0] == 0.5
    assert np.isnan(found[1])
    assert shifted(np.full((2, 2), 0.3), found, [0.1, 0.2], "multilabel")[:, 1] == pytest.approx(0.3)


def test_stated_prevalences():
    before = np.array([0.2, 0.3, 0.5])
    found = stated_prevalence({"c": 0.1}, before, ("a", "b", "c"), "multiclass")
    assert found == pytest.approx([0.36, 0.54, 0.1])
    assert stated_prevalence({"a": 0.1}, before, ("a", "b", "c"), "multilabel") == pytest.approx([0.1, 0.3, 0.5])
    for stated, message in (
        ({"d": 0.1}, "no such class; allowed: a, b, c"),
        ({"a": 1.5}, "allowed: between 0 and 1"),
        ({"a": 0.7, "b": 0.5}, "1.2 in all"),
    ):
        with pytest.raises(SettingError, match=message):
            stated_prevalence(stated, before, ("a", "b", "c"), "multiclass")
