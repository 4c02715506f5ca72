"""Accuracy, confidence and losses of disturbed windows."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from ecgtune.evaluation.decision import Decision, Threshold, binary_decision
from ecgtune.evaluation.external import Measured
from ecgtune.evaluation.stress import StressTest, losses


def predictions(noise, seed=0, patients=80, each=4):
    generator = np.random.default_rng(seed)
    label = np.repeat(generator.integers(0, 2, patients), each)
    score = 1 / (1 + np.exp(-4 * (label - 0.5) - noise * generator.normal(size=len(label))))
    return label, score, np.repeat(np.arange(patients), each)


def test_metrics_are_those_of_scikit_learn_and_differences_paired():
    label, clean, group = predictions(1.0)
    disturbed = predictions(4.0)[1]
    test = StressTest(Measured(label, clean, group), binary_decision(0.4, "youden"), ("N", "AF"))
    found = test.measure(disturbed)
    values = {name: entry["value"] for name, entry in found["metrics"].items()}
    assert values["auroc"] == pytest.approx(roc_auc_score(label, disturbed))
    assert values["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(label, disturbed >= 0.4))
    assert values["confidence"] == pytest.approx(np.where(disturbed >= 0.4, disturbed, 1 - disturbed).mean())
    assert found["changed"] == np.mean((disturbed >= 0.4) != (clean >= 0.4))
    before = test.undisturbed()["auroc"]["value"]
    difference = found["difference"]["auroc"]
    assert difference["value"] == pytest.approx(values["auroc"] - before)
    assert difference["ci_low"] < difference["value"] < difference["ci_high"] < 0
    same = test.measure(clean)["difference"]["auroc"]
    assert (same["value"], same["ci_low"], same["ci_high"]) == (0, 0, 0)


def test_several_classes_and_labels():
    generator = np.random.default_rng(0)
    label = generator.integers(0, 3, 120)
    probability = generator.dirichlet(np.ones(3), 120)
    probability[np.arange(120), label] += 1
    probability /= probability.sum(axis=1, keepdims=True)
    found = StressTest(Measured(label, probability, None), Decision("multiclass"), ("a", "b", "c")).undisturbed()
    assert found["balanced_accuracy"]["value"] == pytest.approx(
        balanced_accuracy_score(label, probability.argmax(axis=1))
    )
    assert found["confidence"]["value"] == pytest.approx(probability.max(axis=1).mean())
    labels = generator.integers(0, 2, (120, 2))
    labels[:5, 0] = -1
    chances = generator.random((120, 2))
    decision = Decision("multilabel", (Threshold(0.3, "f1"), Threshold(0.6, "f1")))
    found = StressTest(Measured(labels, chances, None), decision, ("a", "b")).undisturbed()
    known = labels[:, 0] >= 0
    expected = [
        balanced_accuracy_score(labels[known, 0], chances[known, 0] >= 0.3),
        balanced_accuracy_score(labels[:, 1], chances[:, 1] >= 0.6),
    ]
    assert found["balanced_accuracy"]["value"] == pytest.approx(np.mean(expected))


def row(name, strength, value, high):
    return {"disturbance": name, "strength": strength, "difference": {"auroc": {"value": value, "ci_high": high}}}


def test_losses_name_the_strength_from_which_they_are_shown():
    rows = [
        *(row("muscle", s, v, h) for s, v, h in ((24, 0.01, 0.03), (12, -0.05, 0.01), (0, -0.2, -0.1))),
        *(row("rate", s, v, h) for s, v, h in ((0.5, -0.3, -0.2), (1.2, 0.0, 0.1), (2, -0.1, -0.05))),
        row("clipping", 0.8, 0.02, 0.05),
        row("gain", 2.0, None, None),
        *(row("short", s, -0.05, -0.01) for s in (0.9, 0.5)),
    ]
    rate, muscle, short, clipping = losses(rows, "auroc")
    assert short.everywhere
    assert not rate.everywhere
    assert (rate.disturbance, rate.value, rate.strength, rate.shown, rate.onwards) == (
        "rate",
        0.3,
        0.5,
        (0.5, 2),
        False,
    )
    assert (muscle.value, muscle.strength, muscle.shown, muscle.onwards) == (0.2, 0, (0,), True)
    assert (clipping.value, clipping.shown, clipping.onwards) == (0.0, (), False)
