"""Prediction sets and abstention: against mapie, by simulation, and on examples that can be counted."""

import warnings

import numpy as np
import pytest

from ecgtune.errors import SettingError
from ecgtune.evaluation.certainty import Certainty, UnitCertainty, check_certainty, set_names, set_texts
from ecgtune.evaluation.coverage import (
    conformal_threshold,
    fit_certainty,
    measured_abstention,
    measured_certainty,
    measured_coverage,
)
from ecgtune.evaluation.decision import Decision, Threshold, binary_decision
from ecgtune.evaluation.external import Measured

MULTICLASS = Decision("multiclass")


def classes(count, seed, kinds=3, strength=1.5):
    generator = np.random.default_rng(seed)
    label = generator.integers(0, kinds, count)
    logits = generator.normal(size=(count, kinds))
    logits[np.arange(count), label] += strength
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return label, probability


class Stored:
    """A fitted classifier for mapie, whose features are its probabilities."""

    def __init__(self, kinds):
        self.classes_ = np.arange(kinds)

    def fit(self, x, y):
        return self

    def predict(self, x):
        return x.argmax(axis=1)

    def predict_proba(self, x):
        return x

    def __sklearn_is_fitted__(self):
        return True


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_sets_are_those_of_mapie(level):
    mapie = pytest.importorskip("mapie.classification", reason="mapie is not installed")
    label, probability = classes(157, seed=1)
    new = classes(400, seed=2)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = mapie.SplitConformalClassifier(
            Stored(3), confidence_level=level, conformity_score="lac", prefit=True
        ).conformalize(probability, label)
        expected = oracle.predict_set(new)[1][..., 0]
    unit = fit_certainty(Measured(label, probability, None), None, MULTICLASS, "mean", level).window
    assert np.array_equal(unit.sets(new, "multiclass"), expected)


def patients(count, seed):
    """Patients with one to thirty windows each, of whom those with many windows are easy."""
    generator = np.random.default_rng(seed)
    size = generator.choice([1, 2, 30], count)
    group = np.repeat(np.arange(count), size)
    label = generator.integers(0, 2, count)[group]
    hard = np.where(size[group] == 30, 0.4, 1.5)
    logit = 3 * (label - 0.5) + hard * (generator.normal(size=count)[group] + generator.normal(size=len(group)))
    return Measured(label, 1 / (1 + np.exp(-logit)), group)


def test_coverage_holds_by_patient_and_not_by_window():
    """Mean coverage over 60 draws of validation and test patients; by windows it would be above the promise."""
    found, by_window = [], []
    for seed in range(60):
        unit = fit_certainty(patients(80, seed), None, binary_decision(), "mean").window
        test = patients(200, 1000 + seed)
        found.append(measured_coverage(test, unit, "binary", 0.9)["found"]["value"])
        sets = unit.sets(test.probability, "binary")
        by_window.append(sets[np.arange(len(test.label)), test.label].mean())
    assert np.mean(found) == pytest.approx(0.9 + 0.5 / 81, abs=0.012)
    assert np.mean(by_window) > 0.93


def test_few_patients_that_are_all_covered_do_not_show_a_coverage_of_one():
    unit = fit_certainty(patients(80, 0), None, binary_decision(), "mean").window
    sure = Measured(np.array([0, 1] * 3), np.array([0.01, 0.99] * 3), np.arange(6))
    found = measured_coverage(sure, unit, "binary", 0.9)["found"]
    assert found == {"value": 1.0, "ci_low": pytest.approx(0.025 ** (1 / 6)), "ci_high": 1.0}


def rare(count, seed):
    """Patients of whom one in six has the rare class, which looks like the other more often."""
    generator = np.random.default_rng(seed)
    label = (generator.random(count) < 1 / 6).astype(int)
    logit = 3 * label - 3 + generator.normal(size=count) * np.where(label, 1.6, 1.0)
    return Measured(label, 1 / (1 + np.exp(-logit)), np.arange(count))


def test_sets_by_class_cover_the_rare_class_too():
    """Mean coverage of each class over 40 draws; overall sets cover the rare class less."""
    found = {True: [], False: []}
    for seed in range(40):
        unit = fit_certainty(rare(300, seed), None, binary_decision(), "mean").window
        for by_class, own in found.items():
            measured = measured_coverage(rare(400, 1000 + seed), unit, "binary", 0.9, by_class=by_class)
            own.append([measured["by_class"]["0"], measured["by_class"]["1"], measured["size"]])
    overall, by_class = np.mean(found[False], axis=0), np.mean(found[True], axis=0)
    assert overall[1] < 0.75
    assert by_class[:2] == pytest.approx([0.9, 0.9], abs=0.025)
    assert by_class[2] > overall[2]


def test_a_class_with_too_few_patients_is_in_every_set():
    label = np.repeat([0, 1], [40, 5])
    unit = fit_certainty(Measured(label, label * 0.8 + 0.1, None), None, binary_decision(), "mean").window
    assert unit.by_class[0][0] > 0.8
    assert unit.by_class[0][1] == 0.0
    assert unit.sets(np.array([0.01]), "binary", by_class=True).tolist() == [[True, True]]
    several = Decision("multilabel", (Threshold(0.5, "fixed"),) * 2)
    flags = np.stack([label, 1 - label], axis=1)
    unit = fit_certainty(Measured(flags, flags * 0.8 + 0.1, None), None, several, "mean").window
    assert np.shape(unit.by_class) == (2, 2)
    assert (unit.by_class[0][1], unit.by_class[1][0]) == (0.0, 0.0)
    assert unit.sets(np.full((3, 2), 0.5), "multilabel", by_class=True).shape == (3, 2, 2)


def test_the_threshold_is_the_weighted_quantile():
    true = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert conformal_threshold(true, level=0.9) == 0.1  # the ninth of ten places
    assert conformal_threshold(true, level=0.5) == 0.5
    assert conformal_threshold(true[:8], level=0.9) == 0.0  # too few: all classes
    assert conformal_threshold(np.repeat(true, 5), np.repeat(np.arange(9), 5), 0.9) == 0.1
    assert conformal_threshold([], None, 0.9) == 0.0


def test_labels_have_sets_of_their_own_and_missing_ones_do_not_count():
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, (400, 2))
    noise = generator.normal(size=(400, 2)) * [0.5, 2]
    probability = 1 / (1 + np.exp(-(3 * (label - 0.5) + noise)))
    label[::7, 1] = -1
    decision = Decision("multilabel", (Threshold(0.5, "fixed"),) * 2)
    data = Measured(label, probability, np.arange(400) // 2)
    certainty = fit_certainty(data, None, decision, "mean")
    assert len(certainty.window.thresholds) == 2
    assert certainty.window.thresholds[0] > certainty.window.thresholds[1]
    found = measured_coverage(data, certainty.window, "multilabel", 0.9)
    assert found["found"]["value"] == pytest.approx(0.9, abs=0.01)
    assert set(found["by_class"]) == {"0", "1"}
    sets = certainty.window.sets(probability, "multilabel")
    assert sets.shape == (400, 2, 2)
    assert set_names(("MI", "HYP"), "multilabel") == ["set_MI", "set_HYP"]
    texts = {cell for row in set_texts(sets, ("MI", "HYP"), "multilabel") for cell in row}
    assert {"0", "1", "0 or 1"} <= texts


def test_texts_of_sets():
    sets = np.array([[True, True], [False, True], [False, False]])
    assert set_texts(sets, ("SR", "AF"), "binary") == [["SR or AF"], ["AF"], [""]]


def test_abstention_leaves_out_the_least_sure_and_lowers_the_error():
    validation, test = patients(300, 1), patients(300, 2)
    decision = binary_decision()
    certainty = fit_certainty(validation, None, decision, "mean")
    found = measured_abstention(test, certainty.window, decision)
    assert [each["fraction"] for each in found] == [0.05, 0.1, 0.2, 0.3]
    errors = [found[0]["error_before"], *(each["error"] for each in found)]
    assert errors == sorted(errors, reverse=True)
    tenth = found[1]
    sure = np.where(test.probability >= 0.5, test.probability, 1 - test.probability)
    answered = sure >= certainty.window.least_confidence(0.1)
    wrong = (test.probability >= 0.5) != test.label
    assert tenth["error"] == pytest.approx(wrong[answered].mean())
    assert tenth["abstained"] == pytest.approx(1 - answered.mean())
    assert tenth["reduction"]["value"] == pytest.approx(1 - wrong[answered].mean() / wrong.mean())
    assert tenth["reduction"]["ci_low"] <= tenth["reduction"]["value"] <= tenth["reduction"]["ci_high"]


def test_a_broken_promise_is_said():
    validation = patients(200, 1)
    certainty = fit_certainty(validation, None, binary_decision(), "mean")
    other = patients(200, 3)
    moved = Measured(
        other.label, other.probability[np.random.default_rng(0).permutation(len(other.label))], other.group
    )
    kept, broken = (
        measured_certainty(certainty, data, None, binary_decision(), "mean")["window"]["coverage"]
        for data in (other, moved)
    )
    assert not kept["broken"]
    assert broken["broken"]


def test_recordings_have_thresholds_of_their_own_and_all_is_stored():
    data = patients(120, 4)
    certainty = fit_certainty(data, None, binary_decision(0.4, "f1"), "mean")
    assert certainty.recording.groups == 120
    assert certainty.recording.thresholds != certainty.window.thresholds
    assert Certainty.from_dict(certainty.to_dict()) == certainty
    assert Certainty.from_dict(None) is None
    alone = fit_certainty(Measured(data.label, data.probability, None), None, binary_decision(), "mean")
    assert alone.recording is None
    with pytest.raises(SettingError, match="--abstain needs"):
        check_certainty(None, 0.1, False)
    check_certainty(certainty, None, True)
    with pytest.raises(SettingError, match="--sets class needs"):
        check_certainty(Certainty(0.9, UnitCertainty((0.1,), (0.0,) * 101, 1), None), None, True)
    damaged = certainty.to_dict()
    damaged["window"]["by_class"] = [[0.1, 0.2], [0.3, 0.4]]
    with pytest.raises(ValueError, match="by_class has 2 of 1 rows"):
        Certainty.from_dict(damaged)


def test_a_class_at_the_threshold_is_in_the_set():
    for p in np.random.default_rng(0).random(200):
        unit = UnitCertainty((1 - p,), (0.0,) * 101, 1)
        assert unit.sets(np.array([p]), "binary")[0, 0]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_steps_of_the_calibration_are_equal_in_float32_too(kind):
    """Windows on the step of the threshold are in the set and answered, also of a file that gives float32."""
    for p in np.random.default_rng(1).uniform(0.5, 1, 200):
        unit = UnitCertainty((p,), (p,) * 101, 1)
        step = np.array([p]).astype(kind)
        assert unit.sets(step, "binary")[0, 1]
        assert binary_decision().confidence(step.astype(np.float64)) >= unit.least_confidence(0.1)


def test_windows_without_a_known_label_are_no_right_answers():
    decision = Decision("multilabel", (Threshold(0.5, "fixed"),) * 2)
    label, probability = np.array([[1, 0], [1, -1], [0, 1]] * 20), np.array([[0.9, 0.6], [0.4, 0.7], [0.2, 0.8]] * 20)
    unit = UnitCertainty((0.1, 0.1), (0.0,) * 101, 60)
    known = measured_abstention(Measured(label, probability, np.arange(60)), unit, decision)
    assert known[0]["error_before"] == pytest.approx((0.5 + 1 + 0) / 3)
    more = Measured(
        np.concatenate([label, np.full((40, 2), -1)]), np.concatenate([probability, np.full((40, 2), 0.9)]), None
    )
    assert (
        measured_abstention(more, unit, decision)[0]
        == measured_abstention(Measured(label, probability, None), unit, decision)[0]
    )


def test_another_number_of_thresholds_is_refused():
    unit = UnitCertainty((0.5,), (0.5,) * 101, 3)
    stored = Certainty(0.9, unit, unit).to_dict()
    assert Certainty.from_dict(stored).recording == unit
    with pytest.raises(ValueError, match="1 of 2 values of thresholds"):
        Certainty.from_dict(stored, 2)
    with pytest.raises(ValueError, match="1 of 101 values of confidence"):
        Certainty.from_dict(stored | {"window": stored["window"] | {"confidence": [0.5]}})
