"""Labels of other data sets, and a run on its own and on other data."""

import numpy as np
import pytest

from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.decision import Decision, Threshold, binary_decision
from ecgtune.evaluation.external import Measured, compare_data, operating_point
from ecgtune.evaluation.label_mapping import map_labels, parsed_mapping

AF = ("other", "AF")


def test_a_mapping_is_a_list_of_pairs():
    assert parsed_mapping("AFIB=AF, AFL = AF") == {"AFIB": "AF", "AFL": "AF"}
    for text, message in (("AFIB", "is no pair"), ("A=b,A=c", "has two classes"), ("=b", "is no pair")):
        with pytest.raises(SettingError, match=message):
            parsed_mapping(text)


def test_classes_are_mapped_and_others_left_out_and_counted():
    label = np.array([0, 1, 2, 3, 2, 3])
    found = map_labels(label, ("AFIB", "AFL", "SR", "PACE"), parsed_mapping("AFIB=AF,AFL=AF,SR=other"), AF, "binary")
    assert found.label.tolist() == [1, 1, 0, 0]
    assert found.rows.tolist() == [0, 1, 2, 4]
    assert found.left_out == {"PACE": 2}
    assert found.unused == ("PACE",)
    everything = map_labels(
        label, ("AFIB", "AFL", "SR", "PACE"), parsed_mapping("AFIB=AF,AFL=AF,*=other"), AF, "binary"
    )
    assert everything.label.tolist() == [1, 1, 0, 0, 0, 0]


def test_labels_are_joined_and_missing_ones_stay_missing():
    label = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0], [-1, 1, 0]])
    mapping = parsed_mapping("AFIB=AF,AFL=AF")
    found = map_labels(label, ("AFIB", "AFL", "PVC"), mapping, ("AF", "PVC", "MI"), "multilabel")
    assert found.label.tolist() == [[1, 0, -1], [0, 1, -1], [-1, 0, -1], [1, 0, -1]]
    assert found.absent == ("MI",)
    binary = map_labels(label, ("AFIB", "AFL", "PVC"), mapping, AF, "binary")
    assert binary.label.tolist() == [1, 0, 1]
    assert binary.left_out == {"no label": 1}
    several = map_labels(label, ("A", "B", "C"), {}, ("A", "B", "C"), "multiclass")
    assert several.label.tolist() == [0, 2, 1]
    one = map_labels(np.array([0, 1, 2]), ("AF", "SR", "PVC"), {}, ("AF", "PVC", "MI"), "multilabel")
    assert one.label.tolist() == [[1, 0, -1], [0, 0, -1], [0, 1, -1]]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, 'none is the same; map them, such as --map "x=other"'),
        ({"z": "AF"}, "the data have no label z; allowed: x, y"),
        ({"x": "VT"}, "the run has no class VT; allowed: other, AF"),
    ],
)
def test_mappings_that_cannot_be_are_refused(mapping, message):
    with pytest.raises(SettingError, match=message.replace("*", r"\*")):
        map_labels(np.array([0, 1]), ("x", "y"), mapping, AF, "binary")


def predictions(seed, strength=1.0, windows=400):
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, windows)
    score = np.clip(0.5 + strength * 0.25 * (2 * label - 1) + generator.normal(0, 0.2, windows), 0, 1)
    return Measured(label, score, np.arange(windows) // 4)


def test_the_difference_has_an_interval_and_its_sign():
    worse = compare_data(predictions(0), predictions(1, 0.3), binary_decision(), AF)
    auroc = worse["metrics"]["auroc"]
    assert auroc["difference"]["value"] == pytest.approx(auroc["external"]["value"] - auroc["internal"]["value"])
    assert auroc["difference"]["ci_low"] < auroc["difference"]["value"] < auroc["difference"]["ci_high"] < 0
    same = compare_data(predictions(2), predictions(3), binary_decision(), AF)["metrics"]["auroc"]["difference"]
    assert same["ci_low"] < 0 < same["ci_high"]
    assert set(worse["calibration"]["external"]["each"]) == {"AF"}


def test_two_sides_without_an_error_are_not_shown_to_be_equal():
    label = np.arange(20) % 2
    perfect = Measured(label, 0.1 + 0.8 * label, None)
    entry = compare_data(perfect, perfect, binary_decision(), AF)["metrics"]["accuracy"]["difference"]
    assert entry == {"value": 0.0, "ci_low": None, "ci_high": None, "too_few": True}


def test_intervals_of_the_difference_cover_zero_for_equal_data():
    covered = []
    for seed in range(12):
        entry = compare_data(
            predictions(seed, windows=120), predictions(100 + seed, windows=120), binary_decision(), AF
        )["metrics"]["accuracy"]["difference"]
        covered.append(entry["ci_low"] <= 0 <= entry["ci_high"])
    assert np.mean(covered) >= 0.7


def test_means_are_over_labels_that_both_have():
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, (100, 3))
    probability = np.clip(label * 0.4 + generator.random((100, 3)) * 0.6, 0, 1)
    other = label.copy()
    other[:, 2] = -1
    decision = Decision("multilabel", (Threshold(0.5, "fixed"),) * 3)
    found = compare_data(
        Measured(label, probability, None), Measured(other, probability, None), decision, ("a", "b", "c")
    )
    assert found["classes"] == ["a", "b"]
    assert set(found["labels"]) == {"a", "b"}
    means = [found["labels"][name]["auroc"]["external"]["value"] for name in "ab"]
    assert found["metrics"]["auroc"]["external"]["value"] == pytest.approx(np.mean(means))
    assert found["metrics"]["auroc"]["difference"]["value"] == pytest.approx(0)
    alone = compare_data(None, Measured(other, probability, None), decision, ("a", "b", "c"))
    assert alone["metrics"]["auroc"]["internal"] is None
    assert alone["metrics"]["auroc"]["difference"] is None
    with pytest.raises(DataError, match="nothing to measure"):
        compare_data(None, Measured(np.ones((5, 3), int), probability[:5], None), decision, ("a", "b", "c"))


def test_means_are_over_classes_that_both_have():
    """The external data have no noise: the run's own F1 of it is in no mean, or the two means would differ by it."""
    classes, decision = ("N", "AF", "noise"), Decision("multiclass")
    label = np.arange(90) % 3
    probability = np.where(np.eye(3)[label] == 1, 0.6, 0.2)
    probability[label == 2] = (0.5, 0.3, 0.2)  # noise is never found
    internal = Measured(label, probability, None)
    external = internal.select(label < 2)
    found = compare_data(internal, external, decision, classes)
    assert found["classes"] == ["N", "AF"]
    for name in ("f1", "auroc"):
        sides = found["metrics"][name]
        for side in ("internal", "external"):
            means = [found["labels"][label][name][side]["value"] for label in ("N", "AF")]
            assert sides[side]["value"] == pytest.approx(np.mean(means))
    assert found["metrics"]["recall"]["difference"]["value"] == pytest.approx(0)
    assert found["metrics"]["accuracy"]["internal"]["value"] == pytest.approx(2 / 3)  # of the whole decision


def test_predictions_per_recording():
    data = Measured(np.array([1, 1, 0, 0]), np.array([0.2, 0.8, 0.1, 0.3]), np.array(["p", "p", "q", "q"]))
    pooled = data.per_recording(np.array(["r1", "r1", "r2", "r2"]), "mean")
    assert pooled.probability.tolist() == pytest.approx([0.5, 0.2])
    assert pooled.group.tolist() == ["p", "q"]
    assert "different labels" in Measured(np.array([1, 0]), np.array([0.2, 0.8]), np.array(["p", "p"])).per_recording(
        None, "mean"
    )


def test_an_operating_point_keeps_its_sensitivity_and_counts_what_it_flags():
    validation, test = predictions(0, windows=2000), predictions(1, windows=2000)
    found = operating_point(validation, test, 0.9, prevalence=0.03)
    assert found["sensitivity"]["value"] == pytest.approx(0.9, abs=0.03)
    expected = 1000 * (0.03 * found["sensitivity"]["value"] + 0.97 * (1 - found["specificity"]["value"]))
    assert found["flagged_per_1000"]["value"] == pytest.approx(expected)
    precision = 1000 * 0.03 * found["sensitivity"]["value"] / expected
    assert found["precision"]["value"] == pytest.approx(precision)
    assert found["precision"]["ci_low"] < precision < found["precision"]["ci_high"] < 0.5
    assert found["flagged_per_1000"]["ci_low"] < expected < found["flagged_per_1000"]["ci_high"]
    own = operating_point(validation, test, 0.9)
    stated = operating_point(validation, test, 0.9, prevalence=float(test.label.mean()))
    assert stated["precision"]["value"] == pytest.approx(own["precision"]["value"])
    flagged = (test.probability >= own["threshold"]).mean()
    assert own["flagged_per_1000"]["value"] == pytest.approx(1000 * flagged)
