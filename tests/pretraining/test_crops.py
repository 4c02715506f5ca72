"""Crops: where they are cut, what is done to them, which recordings they never touch."""

import numpy as np
import pytest

from ecgtune.errors import DataError
from ecgtune.io.recordings import read_recordings
from ecgtune.pretraining.crops import count_crops, cut, fixed_positions, normalised, random_positions, select
from ecgtune.recipes.pretraining import Crops
from helpers.pretraining import beats, write_recordings


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def ramps(tmp_path):
    """Recordings whose samples are their positions in the whole, 10 per sample."""
    whole = (10 * np.arange(2600)).astype(np.int16)
    return read_recordings(
        write_recordings(tmp_path / "ramps.npz", np.split(whole, [500, 700, 1900])), sampling_rate=100.0
    )


def test_reasons_are_counted_one_each(tmp_path):
    good = [beats(10, 100, seed) for seed in range(6)]
    flat = np.zeros(1000, np.int16)
    clipped = np.clip(beats(10, 100, 9), -50, 300)
    short = beats(1, 100, 8)
    names = ["a", "b", "c", "d", "e", "f", "flat", "clipped", "short", "out"]
    file = write_recordings(tmp_path / "r.npz", [*good, flat, clipped, short, flat], names)
    recordings = read_recordings(file, sampling_rate=100.0)
    selection = select(recordings, {"out", "a", "elsewhere"}, 200, Crops(val_fraction=0.4))
    assert selection.counts == {"train": 3, "val": 2, "left_out": 2, "short": 1, "flat": 1, "clipped": 1}
    assert dict(zip(names, selection.use, strict=True)).items() >= {
        "a": "left_out", "out": "left_out", "short": "short", "flat": "flat", "clipped": "clipped",
    }.items()  # fmt: skip
    again = select(recordings, {"set/out.mat", "a", "./a.hea", "elsewhere"}, 200, Crops(val_fraction=0.4))
    assert (again.use == selection.use).all()
    assert {tuple(select(recordings, (), 200, Crops(val_seed=seed)).val) for seed in range(9)} != {tuple(selection.val)}


def test_too_few_or_the_wrong_recordings_to_leave_out(tmp_path):
    recordings = read_recordings(write_recordings(tmp_path / "r.npz"), sampling_rate=100.0)
    with pytest.raises(DataError, match=r"0 recordings usable.*12 short.*30 s"):
        select(recordings, (), 3000, Crops())
    with pytest.raises(DataError, match=r"none of its recordings .R00, .* is among the 1 to leave out .A1"):
        select(recordings, {"A1"}, 200, Crops())


def test_random_crops_lie_inside_their_recordings_and_are_new_every_epoch(ramps):
    owner = count_crops(ramps, np.array([0, 2, 3]), 100)
    assert np.bincount(owner).tolist() == [5, 0, 12, 7]
    first = random_positions(ramps, owner, 100, 0.0, seed=1, epoch=0)
    crops = cut(ramps, first, np.arange(len(owner)), 100)
    assert crops.shape == (24, 1, 100)
    assert (np.diff(crops) == 10).all()
    assert (crops[:, 0, 0] / 10 >= ramps.offset[owner]).all()
    assert (crops[:, 0, -1] / 10 < ramps.offset[owner + 1]).all()
    again = random_positions(ramps, owner, 100, 0.0, seed=1, epoch=0)
    assert np.array_equal(again.start, first.start)
    for other in (
        random_positions(ramps, owner, 100, 0.0, seed=1, epoch=1),
        random_positions(ramps, owner, 100, 0, 2, 0),
    ):
        assert (other.start != first.start).mean() > 0.9


def test_stretched_crops_run_at_their_own_speed_and_stay_inside(ramps):
    owner = count_crops(ramps, np.array([0, 1, 3]), 200)
    positions = random_positions(ramps, owner, 200, 0.2, seed=0, epoch=0)
    crops = cut(ramps, positions, np.arange(len(owner)), 200)[:, 0]
    np.testing.assert_allclose(np.diff(crops), 10 * positions.factor[:, None].repeat(199, 1), atol=2e-2)
    assert positions.factor.min() >= 0.8
    assert positions.factor.max() <= 1.2
    assert (positions.factor[owner == 1] <= 1).all()  # 200 samples give no more
    assert np.ptp(positions.factor) > 0.1
    assert (crops[:, 0] / 10 >= ramps.offset[owner] - 1e-3).all()
    assert (crops[:, -1] / 10 <= ramps.offset[owner + 1] - 1 + 1e-3).all()


def test_validation_crops_stand_side_by_side(ramps):
    owner = count_crops(ramps, np.array([0, 3]), 200)
    crops = cut(ramps, fixed_positions(ramps, owner, 200), np.arange(len(owner)), 200)
    assert (crops[:, 0, 0] / 10).tolist() == [0, 200, 1900, 2100, 2300]


def test_several_leads_stay_in_their_channels(tmp_path):
    signal = np.stack([np.arange(1000), -np.arange(1000)]).astype(np.int16)
    file = write_recordings(tmp_path / "r.npz", [signal[:, :600], signal[:, 600:]], leads=np.array(["I", "II"]))
    recordings = read_recordings(file, sampling_rate=100.0)
    crops = cut(recordings, fixed_positions(recordings, np.array([1, 1]), 150), np.arange(2), 150)
    assert crops.shape == (2, 2, 150)
    assert (crops[:, 0] == -crops[:, 1]).all()
    assert crops[:, 0, 0].tolist() == [600, 750]


def test_normalised_segments():
    crops = np.random.default_rng(0).normal(3, 5, (4, 2, 60)).astype(np.float32)
    parts = normalised(crops, 2)
    assert parts.shape == (8, 2, 30)
    np.testing.assert_allclose(parts.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(parts.std(-1), 1, atol=1e-5)
    second = crops[1, 0, 30:]
    np.testing.assert_allclose(parts[3, 0], (second - second.mean()) / second.std(), atol=1e-5)
