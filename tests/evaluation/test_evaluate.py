"""The `window` and `group` parts of metrics.json."""

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from ecgtune.evaluation.decision import binary_decision
from ecgtune.evaluation.evaluate import Grouping, evaluate
from ecgtune.evaluation.metrics import METRICS
from helpers.evaluation import binary_metrics

FIXED = binary_decision()


def predictions(groups=12, each=4):
    generator = np.random.default_rng(0)
    group = np.repeat([f"A{number:05d}" for number in range(groups)], each)
    label = np.repeat(np.arange(groups) % 2, each)
    return label, np.clip(0.3 + 0.4 * label + generator.normal(0, 0.2, len(label)), 0, 1), group


def test_layout_of_metrics_json():
    label, probability, group = predictions()
    found = evaluate(label, probability, Grouping(group), FIXED, resamples=50)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found) == ["window", "group"]
    for level, n in (("window", 48), ("group", 12)):
        assert list(found[level]) == [*(["of"] if level == "group" else []), "n", "metrics", "confusion"]
        assert found[level]["n"] == n
        assert tuple(found[level]["metrics"]) == METRICS
        assert sum(map(sum, found[level]["confusion"])) == n
        for entry in found[level]["metrics"].values():
            assert list(entry)[:3] == ["value", "ci_low", "ci_high"]
            if entry["ci_low"] is None:
                assert entry["too_few"]
            else:
                assert entry["ci_low"] <= entry["value"] <= entry["ci_high"]


def test_window_and_group_numbers():
    label, probability, group = predictions()
    found = evaluate(label, probability, Grouping(group), binary_decision(0.4, "f1"), resamples=20)
    assert found["window"]["metrics"]["f1"]["value"] == binary_metrics(label, probability, 0.4)["f1"]
    assert found["window"]["confusion"] == sk.confusion_matrix(label, probability >= 0.4).tolist()
    means = probability.reshape(12, 4).mean(axis=1)
    expected = binary_metrics(label[::4], means, 0.4)
    assert found["group"]["metrics"]["auroc"]["value"] == pytest.approx(expected["auroc"])
    assert found["group"]["confusion"] == sk.confusion_matrix(label[::4], means >= 0.4).tolist()


def test_a_recording_of_a_patient_has_a_prediction_of_its_own():
    """Two recordings a patient, one of each label: the patient has no label, the recordings have."""
    label, probability, recording = predictions()
    patient = np.repeat([f"P{number}" for number in range(6)], 8)
    alone = evaluate(label, probability, Grouping(patient, "patient"), FIXED, resamples=200)
    assert "6 of 6 patients have windows of different labels" in alone["group"]["reason"]
    found = evaluate(label, probability, Grouping(patient, "patient", recording), FIXED, resamples=200)
    assert found["window"] == alone["window"]
    assert (found["group"]["of"], found["group"]["n"]) == ("recording", 12)
    means = probability.reshape(12, 4).mean(axis=1)
    # The same as windows that are recordings already: intervals are over patients, of whom each has two.
    direct = evaluate(label[::4], means, Grouping(patient[::4]), FIXED, resamples=200)["window"]
    assert found["group"]["metrics"] == direct["metrics"]
    assert direct["metrics"] != evaluate(label[::4], means, Grouping(), FIXED, resamples=200)["window"]["metrics"]


def test_without_groups_the_reason_is_there():
    label, probability, _ = predictions()
    assert (
        "no record or patient column" in evaluate(label, probability, Grouping(), FIXED, resamples=5)["group"]["reason"]
    )


def test_undefined_is_null():
    found = evaluate([0, 1, 0, 1], [0.1] * 4, Grouping(), FIXED, resamples=20)
    assert found["window"]["metrics"]["precision"] == {"value": None, "ci_low": None, "ci_high": None}
    assert found["window"]["metrics"]["auroc"]["value"] == 0.5
