"""Two classes, several classes, several labels: what is read from files, counted, limited and split."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ecgtune.data.dataset import Dataset, Source
from ecgtune.data.splits import split_dataset
from ecgtune.data.tasks import decided, label_counts, strata
from ecgtune.errors import DataError, SettingError
from ecgtune.io.writing import write_csv
from helpers.reading import read_windows

NAMES = ("MI", "CD", "HYP")
FLAGS = np.array([[1, 0, 0], [1, -1, 1], [0, 0, -1], [0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=np.int8)
RHYTHMS = np.array(["N", "A", "O", "N", "A", "O"])
SIGNAL = np.random.default_rng(0).normal(size=(6, 1, 8)).astype(np.float32)


def make(label, classes, signal=SIGNAL, group=None, split=None) -> Dataset:
    return Dataset(
        signal=signal,
        label=np.asarray(label),
        classes=tuple(classes),
        sampling_rate=100.0,
        leads=("II",),
        unit="unknown",
        group=None if group is None else np.asarray(group).astype(str),
        group_name=None if group is None else "patient",
        split=split,
        source=Source("windows.csv", "0" * 64),
    )


def many(windows: int, label, classes, **more) -> Dataset:
    signal = np.random.default_rng(1).normal(size=(windows, 1, 4)).astype(np.float32)
    return make(label, classes, signal, **more)


@pytest.mark.parametrize(
    ("label", "classes", "task"),
    [
        (np.array([0, 1, 0, 1, 0, 1]), ("0", "1"), "binary"),
        (np.array([0, 1, 2, 0, 1, 2]), ("A", "N", "O"), "multiclass"),
        (FLAGS, NAMES, "multilabel"),
        (FLAGS[:, :2], NAMES[:2], "multilabel"),
        (FLAGS[:, :1], NAMES[:1], "multilabel"),
    ],
)
def test_the_labels_say_the_task(label, classes, task):
    assert make(label, classes).task == task


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (FLAGS.astype(np.int64), "int64 of shape"),
        (FLAGS[:, :2], "one per window and name in classes"),
        (np.where(FLAGS == -1, 2, FLAGS).astype(np.int8), "window 1 has label 2 for CD"),
        (FLAGS[:5], "label has shape"),
    ],
)
def test_labels_that_do_not_fit_are_refused(label, message):
    with pytest.raises(DataError, match=message):
        make(label, NAMES)


def write_windows(path: Path, label: np.ndarray, classes: tuple[str, ...]) -> Path:
    return write_csv(make(label, classes), path)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("again", [False, True])
def test_several_columns_of_a_csv(tmp_path, cache_folder, cache, again):
    path = write_windows(tmp_path / "w.csv", FLAGS, NAMES)
    for _ in range(1 + again):
        dataset = read_windows(path, sampling_rate=100, labels=NAMES, cache=cache)
        assert dataset.task == "multilabel"
        assert dataset.classes == NAMES
        assert dataset.label.dtype == np.int8
        assert_array_equal(dataset.label, FLAGS)
        assert_array_equal(dataset.signal, SIGNAL)


@pytest.mark.parametrize("cell", ["", "nan", "NA", "None", "-1", "-1.0", " "])
def test_what_counts_as_missing(tmp_path, cell):
    rows = ["signal_0,signal_1,AF,MI", f"1,2,1,{cell}", "2,1,0.0,true", "3,1,1.0,False", "4,1,0,1"]
    (tmp_path / "w.csv").write_text("\n".join(rows))
    label = read_windows(tmp_path / "w.csv", sampling_rate=100, labels=["AF", "MI"], cache=False).label
    assert_array_equal(label, [[1, -1], [0, 1], [1, 0], [0, 1]])


def test_columns_in_the_order_that_is_asked_for(tmp_path):
    rows = ["MI,signal_0,signal_1,record,AF", "1,1,2,a,0", "0,2,1,a,0", "1,3,1,b,1", "0,4,1,b,1"]
    (tmp_path / "w.csv").write_text("\n".join(rows))
    dataset = read_windows(tmp_path / "w.csv", sampling_rate=100, labels=["AF", "MI"])
    assert_array_equal(dataset.label, [[0, 1], [0, 0], [1, 1], [1, 0]])
    assert dataset.samples == 2


def test_classes_by_name_from_csv_and_npz(tmp_path):
    codes = np.array([1, 0, 2, 1, 0, 2])
    write_windows(tmp_path / "w.csv", codes, ("A", "N", "O"))
    np.savez(tmp_path / "w.npz", signal=SIGNAL, label=RHYTHMS, sampling_rate=100)
    for name in ("w.csv", "w.npz"):
        dataset = read_windows(tmp_path / name, sampling_rate=100)
        assert (dataset.task, dataset.classes) == ("multiclass", ("A", "N", "O"))
        assert_array_equal(dataset.label, codes)


@pytest.mark.parametrize("kind", ["int8", "float"])
def test_several_labels_of_an_npz(tmp_path, kind):
    label = FLAGS if kind == "int8" else np.where(FLAGS == -1, np.nan, FLAGS)
    np.savez(tmp_path / "w.npz", signal=SIGNAL, label=label, classes=np.array(NAMES), sampling_rate=100)
    dataset = read_windows(tmp_path / "w.npz")
    assert dataset.classes == NAMES
    assert_array_equal(dataset.label, FLAGS)
    some = read_windows(tmp_path / "w.npz", labels=["HYP", "MI"])
    assert some.classes == ("HYP", "MI")
    assert_array_equal(some.label, FLAGS[:, [2, 0]])
    np.savez(tmp_path / "apart.npz", signal=SIGNAL, **dict(zip(NAMES, label.T, strict=True)), sampling_rate=100)
    assert_array_equal(read_windows(tmp_path / "apart.npz", labels=NAMES).label, FLAGS)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"label": "MI", "labels": NAMES}, SettingError, "both given; give label for one column"),
        ({"labels": ["MI", "MI"]}, SettingError, "'MI' twice"),
        ({"labels": []}, SettingError, "are empty"),
        ({"labels": ["MI", "AF"]}, DataError, "no column 'AF' for the labels"),
        ({"labels": NAMES, "group": "MI"}, DataError, "'MI' cannot be both label and group"),
    ],
)
def test_labels_that_cannot_be_read(tmp_path, options, error, message):
    path = write_windows(tmp_path / "w.csv", FLAGS, NAMES)
    with pytest.raises(error, match=message) as caught:
        read_windows(path, sampling_rate=100, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [["AF"], ["MI", "AF"]])
def test_labels_that_an_archive_does_not_have(tmp_path, labels):
    np.savez(tmp_path / "w.npz", signal=SIGNAL, label=FLAGS, classes=np.array(NAMES), sampling_rate=100)
    with pytest.raises(DataError, match="no label 'AF'; its labels are 'MI', 'CD', 'HYP'"):
        read_windows(tmp_path / "w.npz", labels=labels)
    np.savez(tmp_path / "one.npz", signal=SIGNAL, label=RHYTHMS, sampling_rate=100)
    with pytest.raises(DataError, match=r"no arrays .*AF for the labels"):
        read_windows(tmp_path / "one.npz", labels=labels)


def test_counts_and_what_can_be_measured():
    positives, known = label_counts(FLAGS, NAMES)
    assert_array_equal(positives, [3, 1, 1])
    assert_array_equal(known, [6, 5, 5])
    assert_array_equal(decided(FLAGS, NAMES), [True, True, True])
    assert_array_equal(decided(FLAGS[[0, 4]], NAMES), [False, False, False])
    assert_array_equal(decided(np.array([0, 1, 1]), ("A", "N", "O")), [True, True, False])


def test_a_window_counts_for_its_rarest_label():
    # CD and HYP have one positive each, MI has three: window 1 (MI and HYP) stands for HYP
    assert_array_equal(strata(FLAGS), [1, 3, 0, 2, 1, 0])


@settings(max_examples=30, deadline=None)
@example(seed=3773, grouped=True, task="multiclass")
@given(seed=st.integers(0, 10_000), grouped=st.booleans(), task=st.sampled_from(["multiclass", "multilabel"]))
def test_every_class_and_label_is_shared_out(seed, grouped, task):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(240), rng.integers(1, 5, 240))
    if task == "multiclass":
        label, classes = rng.choice(4, 240, p=[0.55, 0.25, 0.12, 0.08])[group], ("A", "N", "O", "~")
    else:
        flags = (rng.random((240, 3)) < [0.5, 0.3, 0.15])[group]
        label, classes = np.where(rng.random(flags.shape) < 0.1, -1, flags).astype(np.int8), NAMES
    dataset = many(len(group), label, classes, group=group if grouped else None)
    split = split_dataset(dataset, seed=seed)
    assert_array_equal(np.sort(np.concatenate(list(split.by_name().values()))), np.arange(len(group)))
    if grouped:
        owners = [set(group[rows]) for rows in split.by_name().values()]
        assert sum(map(len, owners)) == len(set.union(*owners))
    positives = label_counts(dataset.label, dataset.classes)[0]
    # A group is not divided: of a rare label, no split can be nearer to its share than about a group of 4 windows.
    allowed = np.maximum(0.08 * positives, 4)
    for rows, share in zip(split.by_name().values(), (0.70, 0.15, 0.15), strict=True):
        got = label_counts(dataset.label[rows], dataset.classes)[0]
        assert (np.abs(got - share * positives) <= allowed).all()


def test_what_a_part_cannot_measure_is_told_or_refused():
    label = np.tile(np.array([[1, 0], [0, 1], [0, 0]], dtype=np.int8), (10, 1))
    column = np.array(["train", "val", "test"])[np.arange(30) // 10]
    dataset = many(30, label, ("MI", "CD"), split=column)
    assert split_dataset(dataset).warnings[0].startswith("split by row")
    without = label.copy()
    without[20:, 1] = 0
    split = split_dataset(replace(dataset, label=without))
    assert "the test split has no windows both with and without 'CD'" in split.warnings[1]
    assert split.counts(replace(dataset, label=without))["test"]["labels"] == {
        "MI": {"positives": 3, "known": 10},
        "CD": {"positives": 0, "known": 10},
    }
    untrained = label.copy()
    untrained[:10, 1] = -1
    with pytest.raises(DataError, match="the train split has no windows both with and without 'CD'"):
        split_dataset(replace(dataset, label=untrained))
    nothing = label.copy()
    nothing[20:] = 0
    with pytest.raises(DataError, match="the test split has no windows both"):
        split_dataset(replace(dataset, label=nothing))


def test_a_limit_keeps_the_shares_of_labels(tmp_path):
    rng = np.random.default_rng(0)
    flags = (rng.random((400, 3)) < [0.4, 0.2, 0.05]).astype(np.int8)
    signal = rng.normal(size=(400, 1, 4)).astype(np.float32)
    np.savez(tmp_path / "w.npz", signal=signal, label=flags, classes=np.array(NAMES), sampling_rate=100)
    small = read_windows(tmp_path / "w.npz", limit=100)
    assert len(small) == 100
    got, whole = small.label.mean(axis=0), flags.mean(axis=0)
    np.testing.assert_allclose(got, whole, atol=0.08)  # MI is drawn by chance where it stands beside a rarer label
    assert got[2] == pytest.approx(whole[2], abs=0.01)
