"""Arrays of a Python session: the same dataset as from a file, one line for each that cannot be used, and `auto`."""

from dataclasses import fields

import numpy as np
import pytest

import ecgtune
from ecgtune.config.auto import AutoSettings
from ecgtune.errors import DataError, SettingError
from ecgtune.io.arrays import ArraySettings, read_arrays, write_npz
from ecgtune.utils.files import json_value

RNG = np.random.default_rng(0)
SIGNAL = RNG.normal(size=(8, 2, 300)).astype(np.float32)
LABEL = np.array(["N", "AF"] * 4)
FLAGS = np.array([[1, 0], [0, 1], [1, -1], [0, 0]] * 2)
GIVEN = {"signal": SIGNAL, "label": LABEL, "sampling_rate": 100, "leads": ["I", "II"]}


def made(**change):
    given = {**GIVEN, **change}
    names = {item.name for item in fields(ArraySettings)}
    settings = ArraySettings(**{name: given.pop(name) for name in names & given.keys()})
    return read_arrays(**given, settings=settings)


def objects(*values):
    return np.array([*values], dtype=object)


@pytest.mark.parametrize(
    ("change", "label", "classes"),
    [
        ({}, [0, 1] * 4, ("N", "AF")),
        ({"positive": "N"}, [1, 0] * 4, ("AF", "N")),
        ({"label": [0, 1] * 4}, [0, 1] * 4, ("0", "1")),
        ({"label": [True, False] * 4}, [1, 0] * 4, ("False", "True")),
        ({"label": [0.0, 1.0] * 4, "classes": ["AF", "N"]}, [0, 1] * 4, ("AF", "N")),
        ({"label": objects(*LABEL)}, [0, 1] * 4, ("N", "AF")),
        ({"label": ["c", "a", "b", "a"] * 2, "classes": ["c", "a", "b"]}, [0, 1, 2, 1] * 2, ("c", "a", "b")),
        ({"label": FLAGS, "classes": ["MI", "HYP"]}, FLAGS.tolist(), ("MI", "HYP")),
        ({"label": np.where(FLAGS < 0, np.nan, FLAGS), "classes": ["MI", "HYP"]}, FLAGS.tolist(), ("MI", "HYP")),
    ],
)
def test_labels_are_numbers_text_or_a_matrix(change, label, classes):
    dataset = made(**change)
    assert (dataset.label.tolist(), dataset.classes) == (label, classes)
    assert np.array_equal(dataset.signal, SIGNAL)


def test_spaces_around_a_label_make_no_class():
    label = np.array(["AF", " AF", "AF ", "N", "N\t", "N"] * 4)
    dataset = ecgtune.read_arrays(ecgtune.simulate(24, seed=1).signal, label, sampling_rate=100)
    assert set(dataset.classes) == {"AF", "N"}
    assert (dataset.label == (np.char.strip(label) == dataset.classes[1])).all()


def test_units_groups_splits_and_axes_are_as_stated():
    patients = objects(1.0, 1.0, 2, 2, 3, 3, 4, 4)
    dataset = made(
        signal=1000 * SIGNAL.swapaxes(1, 2), layout="NTC", unit="uV", group=patients, split=["train"] * 6 + ["dev"] * 2
    )
    assert np.allclose(dataset.signal, SIGNAL, atol=1e-6)
    assert (dataset.unit, dataset.group_name, dataset.leads) == ("mV", "patient", ("I", "II"))
    assert dataset.group.tolist() == list("11223344")
    assert dataset.split.tolist() == ["train"] * 6 + ["val"] * 2
    one = made(signal=SIGNAL[:, 0], leads=None)
    assert (one.leads, one.unit, one.signal.shape) == (("II",), "unknown", (8, 1, 300))
    assert len(made(signal=np.where(np.arange(8)[:, None, None] == 3, np.nan, SIGNAL), drop_invalid=True)) == 7


NAN = SIGNAL.copy()
NAN[3, 1, 7] = np.nan
FLAT = SIGNAL.copy()
FLAT[5] = 0.5

BAD = {
    "text": ({"signal": np.full((8, 300), "a")}, "signal is <U1 of shape (8, 300)"),
    "one axis": ({"signal": SIGNAL[0, 0]}, "(windows, samples) or (windows, leads, samples)"),
    "empty": ({"signal": SIGNAL[:0]}, "none of them 0"),
    "one sample": ({"signal": SIGNAL[:, :, :1], "layout": "NCT"}, "1 sample in a window"),
    "nan": ({"signal": NAN}, "window 3, lead II, sample 7 (counted from 0): got nan"),
    "flat": ({"signal": FLAT}, "window 5: all samples of the window are equal"),
    "too large": ({"signal": SIGNAL * np.float64(1e300)}, "no finite number"),
    "rate": ({"sampling_rate": 5}, "sampling_rate 5 Hz is not allowed; between 20 and 10000 Hz is"),
    "rate as text": ({"sampling_rate": "100 Hz"}, "sampling_rate is '100 Hz'; a number in Hz is needed"),
    "no leads": ({"leads": None}, "name its leads in order"),
    "few leads": ({"leads": ["I"]}, "names 1 lead"),
    "unknown lead": ({"leads": ["I", "X"]}, "'X'"),
    "text for leads": ({"leads": "II"}, "a list of names is needed, leads=['II']"),
    "labels of others": ({"label": LABEL[:7]}, "label has shape (7,); one value for each of the 8 windows, (8,)"),
    "one class": ({"label": ["N"] * 8}, "all with the label 'N'; two classes are needed"),
    "no label": ({"label": objects(*LABEL[:7], None)}, "window 7: the label is missing"),
    "measurements": ({"label": np.linspace(0, 1, 8)}, "is a measurement"),
    "identifiers": ({"label": np.arange(8)}, "8 values"),
    "unknown class": ({"label": LABEL, "classes": ["N", "AFL"]}, "window 1 has label 'AF'; allowed are 'N', 'AFL'"),
    "index": ({"label": [0, 2] * 4, "classes": ["N", "AF"]}, "window 1 has label '2'; allowed are 0 to 1"),
    "fraction": ({"label": [0, 0.5] * 4, "classes": ["N", "AF"]}, "window 1 has label '0.5'"),
    "class without window": ({"classes": ["N", "AF", "O"]}, "no window has class 'O'"),
    "class twice": ({"classes": ["N", "AF", "AF"]}, "name each class once"),
    "matrix without names": ({"label": FLAGS}, "classes names 0 labels"),
    "matrix of others": ({"label": FLAGS[:6], "classes": ["a", "b"]}, "one row for each of the 8 windows"),
    "matrix of text": ({"label": FLAGS.astype(str), "classes": ["a", "b"]}, "of several columns; 0, 1 and nan"),
    "matrix of others than 0 and 1": ({"label": FLAGS * 2, "classes": ["a", "b"]}, "allowed are 1, 0 and nothing"),
    "label that all have": ({"label": np.ones((8, 2)), "classes": ["a", "b"]}, "only 1 in 8 windows"),
    "groups of others": ({"group": ["a"]}, "group has shape (1,)"),
    "no group": ({"group": objects("a", None, *"cdefgh")}, "window 1: the patient is missing"),
    "split": ({"split": ["train"] * 7 + ["holdout"]}, "split 'holdout' is unknown; allowed are train, val and test"),
    "leak": ({"group": list("aabbccdd"), "split": ["train", "test"] * 4}, "patient 'a' is in split 'test'"),
}


@pytest.mark.parametrize(("change", "said"), BAD.values(), ids=BAD)
def test_arrays_that_cannot_be_used_are_told_in_one_line(change, said):
    with pytest.raises(DataError) as error:
        made(**change)
    assert said in str(error.value)
    assert str(error.value).startswith("arrays: ")
    assert "\n" not in str(error.value)


def test_a_unit_that_is_unknown_is_refused():
    with pytest.raises(SettingError, match="allowed: mV, uV, V, nV"):
        made(unit="volts")


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "mV", "group": list("aabbccdd"), "split": ["train"] * 4 + ["test"] * 4},
        {"label": FLAGS, "classes": ["MI", "HYP"], "group": list("aabbccdd"), "group_name": "record"},
    ],
)
def test_a_dataset_that_is_written_reads_back(change, tmp_path):
    dataset = made(**change)
    write_npz(dataset, tmp_path / "windows.npz")
    settings = ecgtune.WindowSettings(positive=dataset.positive, cache=False)
    again = ecgtune.read_dataset(tmp_path / "windows.npz", settings=settings)
    for name in ("signal", "label", "group", "split"):
        assert np.array_equal(getattr(again, name), getattr(dataset, name)), name
    for name in ("classes", "leads", "unit", "sampling_rate", "group_name"):
        assert getattr(again, name) == getattr(dataset, name), name


def test_auto_takes_arrays_and_resumes(tmp_path):
    source = ecgtune.simulate(60, seed=1, seconds=3)
    dataset = read_arrays(source.signal, source.label, sampling_rate=100, classes=["AF", "N"], group=source.group)
    settings = AutoSettings(until="decide")
    for _ in range(2):
        ecgtune.auto(dataset, settings, out=tmp_path)
    found = json_value(tmp_path / "fingerprint.json")
    assert (found["windows"], found["group"], found["reading"]["positive"]) == (60, "patient", "N")
    assert len(list(tmp_path.glob("windows-*.npz"))) == 1
