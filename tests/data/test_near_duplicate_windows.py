"""The same signal under two names in a file of windows: found across splits, refused or told; other signals are not."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from ecgtune.data.near_duplicates import closest, fingerprint, fingerprints, near_duplicate_groups
from ecgtune.data.simulation import simulate
from ecgtune.data.splits import split_dataset
from ecgtune.errors import DataError
from ecgtune.io.windows import read_dataset

MODULE = import_module("ecgtune.data.near_duplicates")
DATA = simulate(120, patients=60, seed=1)
FIRST, SECOND = sorted(set(DATA.group.tolist()))[:2]

CHANGES = {
    "equal": lambda x: x,
    "gain": lambda x: 3.7 * x,
    "offset": lambda x: x - 2.5,
    "upside down": lambda x: -x,
    "in steps of 20 uV": lambda x: np.rint(x * 50) / 50,
    "10 ms later": lambda x: np.roll(x, 1, axis=-1),
}


def with_a_near_duplicate(change=CHANGES["gain"]):
    """A window of the second patient is one of the first's, and the first one stands in train, the second in test."""
    signal, group = DATA.signal.copy(), DATA.group
    source, copy = np.flatnonzero(group == FIRST)[0], np.flatnonzero(group == SECOND)[0]
    signal[copy] = change(signal[source])
    parts = {name: rows.copy() for name, rows in split_dataset(DATA).by_name().items()}
    split = np.full(len(DATA), "train", dtype="U5")
    for name, rows in parts.items():
        split[rows] = name
    split[group == FIRST], split[group == SECOND] = "train", "test"
    return replace(DATA, signal=signal.astype(np.float32), split=split)


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_and_nothing_else(change):
    data = with_a_near_duplicate(CHANGES[change])
    split = split_dataset(data)
    assert near_duplicate_groups(data, split.by_name()).pairs == ((FIRST, SECOND),)
    assert near_duplicate_groups(DATA, split_dataset(DATA).by_name()).pairs == ()


def test_in_a_split_of_the_file_they_are_told_with_their_number():
    warning = split_dataset(with_a_near_duplicate()).warnings[-1]
    assert f"1 pair of patients with the same signal in different splits ({FIRST} and {SECOND})" in warning


def test_in_a_drawn_split_they_are_refused_unless_allowed():
    data = replace(with_a_near_duplicate(), split=None)
    drawn = [split_dataset(data, seed=seed, allow_duplicates=True) for seed in range(12)]
    apart = [any("same signal" in warning for warning in split.warnings) for split in drawn]
    assert True in apart
    assert False in apart  # where both are drawn into one part there is no leak
    with pytest.raises(DataError, match=r"1 pair of patients with the same signal.*--allow-duplicates"):
        split_dataset(data, seed=apart.index(True))
    split_dataset(data, seed=apart.index(False))


@pytest.mark.parametrize(
    "change",
    [
        {"group": None, "group_name": None},
        {"signal": DATA.signal[:, :, :400]},
        {"recording": DATA.group},
    ],
    ids=["no groups", "4 seconds", "recordings, which were compared whole"],
)
def test_where_it_cannot_be_told(change):
    assert near_duplicate_groups(replace(DATA, **change), split_dataset(DATA).by_name()) is None


def test_of_very_many_windows_the_first_of_each_group_are_compared_and_that_is_told(monkeypatch):
    data = with_a_near_duplicate()
    monkeypatch.setattr(MODULE, "MOST_PAIRS", 1500)
    assert near_duplicate_groups(data, split_dataset(data).by_name()).pairs == ((FIRST, SECOND),)
    assert any("searched in the first 1 window of each patient only" in w for w in split_dataset(data).warnings)
    monkeypatch.setattr(MODULE, "MOST_PAIRS", 10)
    assert near_duplicate_groups(data, split_dataset(data).by_name()) is None


@pytest.mark.parametrize("rate", [100.0, 250.0])
def test_many_fingerprints_are_those_of_one_after_the_other(rate):
    windows = simulate(12, sampling_rate=rate, seconds=6, seed=3).signal[:, 0].copy()
    windows[3] = 0.5
    each = np.stack([fingerprint(window[None], ("II",), rate) for window in windows])
    many = fingerprints(windows, rate)
    assert many.shape == (12, 300)
    np.testing.assert_allclose(many, each[:, :300], rtol=0, atol=1e-6)
    assert not many[3].any()
    assert not each[:, 300:].any()


def test_moving_the_clock_of_many_pairs_is_moving_that_of_each():
    prints = fingerprints(DATA.signal[:, 0], 100.0)
    first, second = prints[:20], prints[20:40]
    time = np.arange(prints.shape[1]) / 50
    stretch, shift = np.linspace(-0.0012, 0.0012, 13), np.linspace(-0.02, 0.02, 5)
    for one, other, found in zip(first.astype(float), second, closest(first, second), strict=True):
        moved = CubicSpline(time, other)(time * (1 + stretch[:, None, None]) + shift[:, None])
        expected = np.abs(moved @ one / np.linalg.norm(moved, axis=-1)).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_real_windows_hold_the_same_heart_under_two_names(shared):
    """Three windows in a row of A03242 are windows of A01925, two of them of A00227; the labels differ."""
    data = read_dataset(shared / "data" / "cinc2017_windows.npz")
    data = data.select(np.isin(data.group, ["A00227", "A01925", "A03242", "A00001", "A00002", "A00009"]))
    names = np.unique(data.group)
    for name in ("A00227", "A01925"):
        parts = {"train": np.flatnonzero(data.group == "A03242"), "test": np.flatnonzero(data.group == name)}
        assert near_duplicate_groups(data, parts).pairs == ((name, "A03242"),)
    others = {"train": np.flatnonzero(data.group == "A03242"), "test": np.flatnonzero(np.isin(data.group, names[:2]))}
    assert near_duplicate_groups(data, others).pairs == ()
