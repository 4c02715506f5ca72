"""The positive class of two: the default that a person would choose, and the one that is asked for."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ecgtune.data.positive import choose_positive, positive_sentence, stored_positive
from ecgtune.data.simulation import simulate
from ecgtune.errors import SettingError

DATA = simulate(8, sampling_rate=100, seconds=2, patients=8)


@pytest.mark.parametrize(
    ("classes", "counts", "positive", "said"),
    [
        (("AF", "other"), (9, 3), "AF", "'other' is a name of a negative class; --positive other for the other"),
        (("AF", "N"), (9, 3), "AF", "'N' is a name"),
        (("MI", "NORM"), (9, 3), "MI", "'NORM' is a name"),
        (("AF", "Normal ECG"), (9, 3), "AF", "--positive 'Normal ECG'"),
        (("AF", "no AF"), (9, 3), "AF", "'no AF' is a name"),
        (("AF", "non-AF"), (9, 3), "AF", "'non-AF' is a name"),
        (("AF", "nonAF"), (9, 3), "AF", "'nonAF' is a name"),
        (("AF", "NotAF"), (9, 3), "AF", "'NotAF' is a name"),
        (("AF", "NaN"), (9, 3), "AF", "'NaN' is a name"),
        (("ctrl", "MI"), (3, 9), "MI", "'ctrl' is a name"),
        (("AF", "unknown"), (9, 3), "AF", "'unknown' is a name"),
        (("ECG normal", "MI"), (3, 9), "MI", "'ECG normal' is a name"),
        (("class 0", "class 1"), (3, 9), "class 1", "'class 0' is a name"),
        (("class 10", "class 1"), (3, 9), "class 10", "the rarer one"),
        (("MI negative", "MI positive"), (3, 9), "MI positive", "'MI negative' is a name"),
        (("abnormal", "normal"), (9, 3), "abnormal", "'normal' is a name"),
        (("AFIB", "sinus rhythm"), (9, 3), "AFIB", "'sinus rhythm' is a name"),
        (("0", "1"), (3, 9), "1", "'0' is a name"),
        (("-1", "1"), (3, 9), "1", "--positive '-1' for the other"),
        (("False", "True"), (3, 9), "True", "'False' is a name"),
        (("None", "PVC"), (3, 9), "PVC", "'None' is a name"),
        (("AF", "sinus tachycardia"), (9, 3), "sinus tachycardia", "the rarer one, 3 of 12; --positive AF"),
        (("1", "2"), (3, 9), "1", "the rarer one, 3 of 12"),
        (("none", "other"), (3, 9), "none", "the rarer one, 3 of 12"),
        (("A", "B"), (6, 6), "B", "the second by name; --positive A"),
    ],
)
def test_the_class_of_the_finding_is_positive(classes, counts, positive, said):
    index, reason = choose_positive(counts, classes)
    assert classes[index] == positive
    assert "--" not in reason  # a result names no flag
    assert said in positive_sentence(positive, reason, classes[1 - index])


def test_the_positive_class_is_the_second_and_labels_follow():
    named = replace(DATA, classes=("AF", "other"))
    assert named.positive == "other"  # the caller's order
    turned = named.with_positive()
    assert turned.classes == ("other", "AF")
    assert_array_equal(turned.label, 1 - DATA.label)
    assert turned.positive_sentence == (
        "positive class: AF ('other' is a name of a negative class; --positive other for the other)"
    )
    asked = turned.with_positive("other")
    assert_array_equal(asked.label, DATA.label)
    assert asked.positive_sentence == "positive class: other (as given)"


def test_labels_of_0_and_1_stay_as_they_are():
    assert DATA.with_positive().label is DATA.label
    assert DATA.with_positive().classes == ("0", "1")


@pytest.mark.parametrize(
    ("changes", "name", "said"),
    [
        ({"classes": ("AF", "other")}, "af", ["--positive af", "no class of that name", "AF, other"]),
        ({"classes": ("A", "B", "C")}, "B", ["--positive B", "each of the 3 classes"]),
        ({"classes": ("A", "B"), "label": np.eye(2, dtype=np.int8)[DATA.label]}, "B", ["each of the 2 classes"]),
    ],
)
def test_a_class_that_is_not_there(changes, name, said):
    dataset = replace(DATA, **changes)
    with pytest.raises(SettingError) as error:
        dataset.with_positive(name)
    assert all(part in str(error.value) for part in said)


def test_several_classes_and_labels_have_none():
    several = replace(DATA, classes=("A", "B", "C"))
    assert several.with_positive() is several
    assert (several.positive, several.positive_sentence) == (None, "")


def test_results_of_an_earlier_version_have_the_second_by_name():
    assert stored_positive({"classes": ["AF", "other"]})[0] == "other"
