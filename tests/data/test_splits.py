"""No group in two parts, both classes in all, the shares that were asked for, and the truth in every warning."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ecgtune.data.dataset import Dataset, Source
from ecgtune.data.simulation import simulate
from ecgtune.data.splits import duplicate_windows, split_dataset
from ecgtune.errors import DataError, SettingError
from ecgtune.io.windows import read_dataset


def make(label, group=None, split=None, group_name: str | None = "patient", signal=None) -> Dataset:
    label = np.asarray(label, dtype=np.int64)
    if signal is None:
        signal = np.arange(len(label) * 4, dtype=np.float32).reshape(-1, 1, 4)
    return Dataset(
        signal=signal,
        label=label,
        classes=("0", "1"),
        sampling_rate=100.0,
        leads=("II", "V1")[: signal.shape[1]],
        unit="unknown",
        group=None if group is None else np.asarray(group).astype(str),
        group_name=None if group is None else group_name,
        split=None if split is None else np.asarray(split),
        source=Source("windows.csv", "0" * 64),
    )


def check_parts(dataset: Dataset, split) -> None:
    rows = np.concatenate(list(split.by_name().values()))
    assert_array_equal(np.sort(rows), np.arange(len(dataset)))
    for part in split.by_name().values():
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
        assert set(dataset.label[part]) == {0, 1}
    if dataset.group is not None:
        groups = [set(dataset.group[part]) for part in split.by_name().values()]
        assert not groups[0] & groups[1]
        assert not groups[0] & groups[2]
        assert not groups[1] & groups[2]


@settings(max_examples=60, deadline=None)
@given(
    groups=st.integers(30, 150),
    mixed=st.floats(0, 1),
    positives=st.floats(0.2, 0.8),
    seed=st.integers(0, 10_000),
)
def test_groups_stay_whole_and_shares_are_near(groups, mixed, positives, seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, groups)
    group = np.repeat(np.arange(groups), sizes)
    of_group = (rng.permutation(groups) < max(4, round(positives * groups))).astype(int)
    of_group[:4] = 0
    label = np.where(rng.random(len(group)) < 0.3 * mixed, 1, of_group[group])
    label[np.isin(group, np.arange(4))] = 0
    dataset = make(label, group)
    split = split_dataset(dataset, seed=seed)
    check_parts(dataset, split)
    for value in (0, 1):
        members = label == value
        largest = np.bincount(group[members]).max() / members.sum()  # no method does better than about one group
        for rows, share in zip(split.by_name().values(), (0.70, 0.15, 0.15), strict=True):
            assert abs(members[rows].sum() / members.sum() - share) < 0.02 + largest


def test_shares_are_exact_within_a_hundredth_on_many_groups():
    dataset = simulate(2000, seconds=2)
    for seed in range(20):
        split = split_dataset(dataset, seed=seed)
        check_parts(dataset, split)
        for value in (0, 1):
            members = dataset.label == value
            got = [members[rows].sum() / members.sum() for rows in split.by_name().values()]
            np.testing.assert_allclose(got, (0.70, 0.15, 0.15), atol=0.01)


def test_large_and_small_groups_are_spread_over_the_parts():
    group = np.repeat(np.arange(300), np.where(np.arange(300) % 10 == 0, 20, 2))
    dataset = make(np.arange(300)[group] // 10 % 2, group)
    split = split_dataset(dataset, seed=1)
    for rows in (split.val, split.test):
        _, sizes = np.unique(group[rows], return_counts=True)
        assert 2 <= (sizes == 20).sum() <= 8  # of 30, 4.5 expected


@pytest.mark.parametrize("groups_per_class", [3, 4, 5])
def test_as_few_groups_as_parts_still_split(groups_per_class):
    sizes = [9, 1, 4, 2, 7][:groups_per_class] * 2
    group = np.repeat(np.arange(2 * groups_per_class), sizes)
    dataset = make(group % 2, group)
    for seed in range(30):
        check_parts(dataset, split_dataset(dataset, seed=seed))


@pytest.mark.parametrize("grouped", [True, False])
def test_the_seed_decides(grouped):
    dataset = make(np.arange(200) % 2, np.arange(200) // 4 if grouped else None)
    one, same, other = (split_dataset(dataset, seed=seed) for seed in (1, 1, 2))
    for name in ("train", "val", "test"):
        assert_array_equal(getattr(one, name), getattr(same, name))
    assert not np.array_equal(one.test, other.test)


def test_by_row_the_counts_are_exact_and_the_warning_says_so():
    dataset = make(np.repeat([0, 1], [1000, 200]))
    split = split_dataset(dataset)
    check_parts(dataset, split)
    assert {name: c["windows"] for name, c in split.counts(dataset).items()} == {"train": 840, "val": 180, "test": 180}
    assert {name: c["positives"] for name, c in split.counts(dataset).items()} == {"train": 140, "val": 30, "test": 30}
    assert split.counts(dataset)["val"]["groups"] is None
    assert split.unit == "row"
    assert split.origin == "drawn 70/15/15 by row, stratified by label, seed 0"
    assert len(split.warnings) == 1
    assert "windows of one person may be in several splits" in split.warnings[0]


def test_fractions_are_the_callers():
    dataset = make(np.arange(400) % 2)
    split = split_dataset(dataset, fractions=(0.5, 0.25, 0.25))
    assert [len(rows) for rows in split.by_name().values()] == [200, 100, 100]


@pytest.mark.parametrize(
    "fractions", [(0.7, 0.3), (0.7, 0.3, 0.0), (0.7, 0.2, 0.2), (1.4, -0.2, -0.2), (float("nan"),) * 3]
)
def test_other_fractions_are_refused(fractions):
    with pytest.raises(SettingError, match="three positive numbers with the sum 1"):
        split_dataset(make(np.arange(100) % 2), fractions=fractions)


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_other_seeds_are_refused(seed):
    with pytest.raises(SettingError, match=f"seed is {seed}; allowed: 0 or more"):
        split_dataset(make(np.arange(100) % 2), seed=seed)


def test_records_are_the_unit_when_the_file_names_records():
    split = split_dataset(make(np.arange(200) // 2 % 2, np.arange(200) // 2, group_name="record"))
    assert split.unit == "record"
    assert split.warnings == ()


def test_a_whole_split_column_is_honoured():
    column = np.array(["train", "val", "test", "train"] * 10)
    dataset = make(np.arange(40) // 4 % 2, np.arange(40), column)
    split = split_dataset(dataset, seed=9)
    for name, rows in split.by_name().items():
        assert_array_equal(rows, np.flatnonzero(column == name))
    assert split.origin == "from the file's split column"
    assert split.warnings == ()


@pytest.mark.parametrize("other", ["val", "test"])
def test_two_parts_in_the_file_become_three(other):
    group = np.repeat(np.arange(100), 2)
    column = np.where(group < 80, "train", other)
    dataset = make(group % 2, group, column)
    split = split_dataset(dataset)
    check_parts(dataset, split)
    assert_array_equal(split.test, np.flatnonzero(column == other))
    assert len(split.val) == pytest.approx(160 * 0.15 / 0.85, abs=2)
    assert f"test: the file's {other} windows; validation: 17.6 % of the file's training windows" in split.origin
    assert f"only train and {other}" in split.warnings[0]


@pytest.mark.parametrize(
    ("dataset", "part"),
    [
        (make([0, 1] * 10, split=["train"] * 20), "split column has only train;"),
        (make([0, 1] * 10, split=["val", "test"] * 10), "split column has only val and test; train"),
        (make([0, 1] * 2, ["a", "a", "b", "b"]), "2 patients cannot fill 3 splits"),
        (make([0, 1] * 5, list("aaaaabbbbb"), ["train"] * 5 + ["val"] * 5), "1 patient cannot fill 2 splits"),
        (make([0] * 9 + [1], list("abcdefghij")), "has no window of class '1'; each of train, val and test"),
        (make([0] * 9 + [1, 1]), "has no window of class '1'"),
        (
            make([0, 1, 0, 1, 0, 0], split=["train", "train", "val", "val", "test", "test"]),
            "the test split has no window of class '1'",
        ),
    ],
    ids=["only train", "no train", "few groups", "few training groups", "rare group", "rare row", "file"],
)
def test_splits_that_cannot_be_are_one_line(dataset, part):
    with pytest.raises(DataError, match=part) as caught:
        split_dataset(dataset)
    assert "\n" not in str(caught.value)
    assert "windows.csv" in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(share=st.sampled_from([0.1, 0.25, 0.5, 0.8]), seed=st.integers(0, 1000), kind=st.sampled_from(["drawn", "file"]))
def test_a_share_of_the_labels_is_kept_by_group_and_class(share, seed, kind):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(240), rng.integers(1, 7, 240))
    label = np.where(rng.random(len(group)) < 0.1, 1, group % 2)
    column = np.array(["train", "val", "test"])[(group // 2) % 3] if kind == "file" else None
    dataset = make(label, group, column)
    whole, part = (split_dataset(dataset, seed=seed, label_fraction=value) for value in (1.0, share))
    assert_array_equal(part.test, whole.test)
    for name in ("train", "val"):
        before, after = getattr(whole, name), getattr(part, name)
        assert (np.diff(after) > 0).all()
        assert set(after) < set(before)
        assert not set(group[after]) & set(group[np.setdiff1d(before, after)])  # groups stay or go whole
        for value in (0, 1):
            members = (label[before] == value).sum()
            largest = np.bincount(group[before][label[before] == value]).max()
            assert abs((label[after] == value).sum() - share * members) <= largest + 0.02 * members


def test_a_share_of_the_labels_by_row_is_exact():
    dataset = make(np.repeat([0, 1], [1000, 200]))
    split = split_dataset(dataset, label_fraction=0.1)
    assert {name: c["windows"] for name, c in split.counts(dataset).items()} == {"train": 84, "val": 18, "test": 180}
    assert {name: c["positives"] for name, c in split.counts(dataset).items()} == {"train": 14, "val": 3, "test": 30}
    assert split.origin.endswith("; of training and validation only 10 % of the labels, drawn by row")
    assert "only" not in split_dataset(dataset).origin


@pytest.mark.parametrize("grouped", [True, False])
def test_the_seed_decides_which_labels_are_kept(grouped):
    column = np.array(["train", "val", "test"] * 200)
    dataset = make(np.arange(600) // 3 % 2, np.arange(600) if grouped else None, column)
    one, same, other = (split_dataset(dataset, seed=seed, label_fraction=0.5) for seed in (1, 1, 2))
    for name in ("train", "val"):
        assert_array_equal(getattr(one, name), getattr(same, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))
    assert_array_equal(one.test, other.test)


def test_a_tiny_share_keeps_one_group_of_each_class():
    dataset = make(np.arange(200) // 2 % 2, np.arange(200) // 2)
    split = split_dataset(dataset, label_fraction=1e-6)
    for rows in (split.train, split.val):
        assert set(dataset.label[rows]) == {0, 1}
        assert len(set(dataset.group[rows])) == 2


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan"), float("inf")])
def test_other_label_shares_are_refused(share):
    with pytest.raises(SettingError, match=r"label_fraction is .*; allowed: above 0 up to 1") as caught:
        split_dataset(make(np.arange(100) % 2), label_fraction=share)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dataset", "share", "part"),
    [
        (make([0, 1] * 15, np.arange(30) // 10, ["train"] * 10 + ["val"] * 10 + ["test"] * 10), 0.5, "train"),
        (
            make([0, 1] * 15, [*range(10), *"v" * 10, *"t" * 10], ["train"] * 10 + ["val"] * 10 + ["test"] * 10),
            0.5,
            "val",
        ),
        (
            make([0] * 9 + [1] * 3 + [0, 1] * 2, [*range(9), *"pppvwxy"], ["train"] * 12 + ["val"] * 2 + ["test"] * 2),
            0.1,
            "train",
        ),
    ],
    ids=["one group to train on", "one group to validate on", "one group of a class"],
)
def test_a_share_that_cannot_be_drawn_is_one_line(dataset, share, part):
    said = f"label_fraction {share} leaves the {part} split without a window of each class"
    with pytest.raises(DataError, match=said) as caught:
        split_dataset(dataset, label_fraction=share)
    assert "\n" not in str(caught.value)
    assert "windows.csv" in str(caught.value)


def test_duplicates_across_parts_are_counted_once_per_content():
    signal = np.random.default_rng(0).normal(size=(12, 2, 5)).astype(np.float32)
    column = np.array(["train", "train", "val", "test"] * 3)
    signal[2] = signal[0]  # val = train
    signal[3] = signal[0]  # test = train, the same content
    signal[7] = signal[6]  # test = val
    signal[5] = signal[4]  # within train: no leak
    signal[10, 0] = signal[8, 0]  # one lead only: not the same window
    dataset = make([0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 0, 1], split=column, signal=signal)
    split = split_dataset(dataset)
    found = duplicate_windows(dataset, split)
    assert found == ((0, 2), (6, 7))
    assert split.duplicates == 2
    assert "2 pairs of identical windows in different splits (rows 0 and 2, 6 and 7)" in split.warnings[-1]


@pytest.mark.slow
def test_the_real_benchmark_keeps_its_test_recordings_apart(shared):
    dataset = read_dataset(shared / "data" / "cinc2017_windows.npz")
    split = split_dataset(dataset)
    check_parts(dataset, split)
    counts = split.counts(dataset)
    assert counts["test"] == {"windows": 5316, "groups": 1224, "positives": 2658}
    assert counts["train"]["windows"] + counts["val"]["windows"] == 24_554
    assert counts["val"]["windows"] == pytest.approx(24_554 * 0.15 / 0.85, abs=5)
    assert split.unit == "record"
    assert split.duplicates == 0
    tenth = split_dataset(dataset, label_fraction=0.1)
    assert_array_equal(tenth.test, split.test)
    for name in ("train", "val"):
        kept, whole = tenth.counts(dataset)[name], counts[name]
        assert kept["windows"] == pytest.approx(whole["windows"] / 10, rel=0.02)
        assert kept["positives"] == pytest.approx(whole["positives"] / 10, rel=0.02)
        assert set(getattr(tenth, name)) < set(getattr(split, name))
