"""Targets of a crop and the means of its recording, on the scale of the training recordings."""

import numpy as np
import pytest

from ecgtune.io.recordings import read_recordings
from ecgtune.pretraining.beats import find_beats
from ecgtune.pretraining.crops import CropPositions, count_crops, crop_shape, cut, fixed_positions, normalised, select
from ecgtune.pretraining.rhythm import GROUPS, MAX_DEVIATION, RhythmTargets, rhythm_targets
from helpers.pretraining import RHYTHM, beats, write_recordings

SAMPLES = 400  # of RHYTHM's crops
OWN = sum(GROUPS) // 2  # values of the crop; behind them those of its recording


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def uneven(seed: int) -> np.ndarray:
    """20 s of beats whose second half is of another heart, and noisier."""
    noise = np.random.default_rng(seed).integers(-150, 150, 1000).astype(np.int16)
    return np.concatenate([beats(10, 100, seed), beats(10, 100, seed + 100) + noise])


def load(folder, signals):
    recordings = read_recordings(write_recordings(folder / "recordings.npz", signals), sampling_rate=100.0)
    return recordings, select(recordings, (), SAMPLES, RHYTHM.crops)


def raw(recordings, rows):
    """Targets of crops side by side of recordings `rows`, one crop at a time, and the crops' recordings."""
    positions = fixed_positions(recordings, count_crops(recordings, rows, SAMPLES), SAMPLES)
    found = find_beats(recordings, rows.tolist())
    targets = []
    for number in range(len(positions.owner)):
        one = np.array([number])
        crop = normalised(cut(recordings, positions, one, SAMPLES), 1)[:, 0]
        place = found.within(positions.start[one], positions.factor[one], SAMPLES)
        targets.append(rhythm_targets(crop, *place, sampling_rate=100.0, samples_per_token=8))
    return (
        positions,
        np.concatenate([target.crop for target in targets]),
        np.concatenate([target.token for target in targets]),
    )


def standard(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    axes = tuple(range(scale.ndim - 1))
    return np.clip((values - np.nanmean(scale, axis=axes)) / np.nanstd(scale, axis=axes), -MAX_DEVIATION, MAX_DEVIATION)


def test_values_are_the_crops_and_its_recordings_on_the_scale_of_training_recordings(folder):
    recordings, selection = load(folder, [uneven(seed) for seed in range(12)])
    reader = RhythmTargets(recordings, selection, crop_shape(RHYTHM))
    used = np.arange(12)
    positions, crop, token = raw(recordings, used)
    mean = np.stack([np.nanmean(crop[positions.owner == number], axis=0) for number in used])
    both = np.concatenate([crop, mean[positions.owner]], axis=1)
    training = np.isin(positions.owner, selection.train)
    assert 0 < training.sum() < len(training)
    rows = np.arange(len(positions.owner))
    signal = normalised(cut(recordings, positions, rows, SAMPLES), 1)
    for part in (rows, rows[training][::-1], rows[~training]):
        found = reader(signal[part], positions, part)
        np.testing.assert_allclose(found.crop, standard(both[part], both[training]), rtol=1e-3, atol=2e-3)
        np.testing.assert_allclose(found.token, standard(token[part], token[training]), rtol=1e-3, atol=2e-3)
    assert np.isnan(crop).any()
    assert (np.abs(crop[:, :12] - mean[positions.owner][:, :12]) > 0.1).any()


def test_what_stands_in_validation_recordings_moves_no_training_target(folder):
    signals = [uneven(seed) for seed in range(12)]
    recordings, selection = load(folder, signals)
    positions = fixed_positions(recordings, count_crops(recordings, selection.train, SAMPLES), SAMPLES)
    rows = np.arange(len(positions.owner))
    signal = normalised(cut(recordings, positions, rows, SAMPLES), 1)
    before = RhythmTargets(recordings, selection, crop_shape(RHYTHM))(signal, positions, rows)
    for number in selection.val:
        signals[number] = np.roll(signals[number] // 2 + uneven(50 + number), 7)
    others, same_selection = load(folder, signals)
    assert np.array_equal(selection.use, same_selection.use)
    after = RhythmTargets(others, selection, crop_shape(RHYTHM))(signal, positions, rows)
    assert np.array_equal(after.crop, before.crop, equal_nan=True)
    assert np.array_equal(after.token, before.token, equal_nan=True)


def test_a_stretched_crop_has_other_intervals_and_the_same_recording(folder):
    recordings, selection = load(folder, [beats(20, 100, seed) for seed in range(12)])
    reader = RhythmTargets(recordings, selection, crop_shape(RHYTHM))
    _, crop, token = raw(recordings, selection.train)
    owner = np.repeat(selection.train, 2)
    factor = np.where(np.arange(len(owner)) % 2, 1.2, 1.0)
    positions = CropPositions(owner, recordings.offset[owner] + 700.0, factor)
    rows = np.arange(len(owner))
    found = reader(normalised(cut(recordings, positions, rows, SAMPLES), 1), positions, rows)
    plain, fast = found.crop[::2], found.crop[1::2]
    for value in range(3):  # logarithms of the mean, shortest and longest interval
        change = (fast - plain)[:, value] * np.nanstd(crop[:, value])
        np.testing.assert_allclose(change[~np.isnan(change)], -np.log(1.2), atol=0.03)
        assert not np.isnan(change).all()
    interval = np.nanmedian(found.token[1::2, :, 3], axis=1) - np.nanmedian(found.token[::2, :, 3], axis=1)
    np.testing.assert_allclose(interval * np.nanstd(token[:, :, 3]), -np.log(1.2), atol=0.03)
    assert np.array_equal(fast[:, OWN:], plain[:, OWN:], equal_nan=True)


def test_a_recording_in_which_nothing_beats_has_a_spectrum_and_no_bumps(folder, monkeypatch):
    recordings, selection = load(folder, [beats(20, 100, seed) for seed in range(12)])
    silent = int(selection.train[-1])

    def find(recordings, rows):
        return find_beats(recordings, set(rows) - {silent})

    monkeypatch.setattr("ecgtune.pretraining.rhythm.find_beats", find)
    reader = RhythmTargets(recordings, selection, crop_shape(RHYTHM))
    positions = fixed_positions(recordings, count_crops(recordings, np.array([silent]), SAMPLES), SAMPLES)
    rows = np.arange(5)
    found = reader(normalised(cut(recordings, positions, rows, SAMPLES), 1), positions, rows)
    known = np.repeat([False, False, False, True] * 2, GROUPS)
    assert np.array_equal(~np.isnan(found.crop), np.tile(known, (5, 1)))
    assert np.array_equal(~np.isnan(found.token), np.tile([True, False, False, False, False], (5, 50, 1)))
