"""Simulated windows are physically plausible, repeatable, and as hard as they claim to be."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.signal import butter, find_peaks, sosfiltfilt, welch
from sklearn.ensemble import HistGradientBoostingClassifier

from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.data.signal.filters import resample, zscore
from ecgtune.data.simulation import simulate
from ecgtune.data.splits import split_dataset
from ecgtune.errors import SettingError
from ecgtune.io.again import read_again


@pytest.fixture(scope="module")
def dataset():
    return simulate(2000)


def beats(signal: np.ndarray) -> list[np.ndarray]:
    """Samples of the R peaks of each window at 100 Hz: peaks of the smoothed energy of the slope."""
    slope = np.gradient(sosfiltfilt(butter(2, [5, 20], "band", fs=100, output="sos"), signal), axis=1)
    found = []
    for energy in slope**2:
        smooth = np.convolve(energy, np.ones(10) / 10, "same")
        found.append(find_peaks(smooth, height=0.25 * np.percentile(smooth, 97), distance=30)[0])
    return found


def features(signal: np.ndarray) -> np.ndarray:
    """What a cardiologist looks at: intervals, the mean wave before the R peak, and the power of each band."""
    clean = sosfiltfilt(butter(2, [0.7, 35], "band", fs=100, output="sos"), signal)
    power = welch(signal, 100, nperseg=200)[1]
    rows = []
    for window, peaks, band in zip(clean, beats(signal), power / power.sum(axis=1, keepdims=True), strict=True):
        interval = np.diff(peaks) / 100 if len(peaks) > 2 else np.ones(2)
        step = np.abs(np.diff(interval))
        before = np.array([window[p - 30 : p - 5] for p in peaks if p >= 30])
        mean = before.mean(axis=0) if len(before) else np.zeros(25)
        spread = before.std(axis=0).mean() if len(before) else 0.0
        rows.append(
            [
                interval.mean(),
                interval.std() / interval.mean(),
                step.mean() / interval.mean(),
                np.median(step),
                interval.min(),
                interval.max(),
                np.ptp(mean),
                spread,
                np.ptp(mean) / (spread + 1e-3),
                *(band[a:b].sum() for a, b in ((2, 8), (8, 20), (20, 40), (40, 101))),
                *mean[::3],
            ]
        )
    return np.array(rows)


def test_shape_labels_groups_and_source(dataset):
    assert dataset.signal.shape == (2000, 1, 600)
    assert dataset.signal.dtype == np.float32
    assert dataset.unit == "mV"
    assert dataset.classes == ("0", "1")
    assert dataset.group_name == "patient"
    assert len(np.unique(dataset.group)) == 250
    assert 0.4 < dataset.label.mean() < 0.6
    assert dataset.source.path == "simulated, seed 0"
    assert len(dataset.source.sha256) == 64


def test_the_seed_decides():
    one, same, other = (simulate(50, seed=seed) for seed in (1, 1, 2))
    assert_array_equal(one.signal, same.signal)
    assert one.source == same.source
    assert one.source.sha256 != other.source.sha256
    assert not np.array_equal(one.signal, other.signal)


def test_twelve_leads_see_the_beats_of_lead_ii_and_are_those_of_a_heart():
    one, all_ = simulate(60, seed=1), simulate(60, seed=1, leads="all")
    rows = {name: all_.signal[:, place] for place, name in enumerate(all_.leads)}
    assert all_.leads == STANDARD_LEADS
    assert_array_equal(rows["II"], one.signal[:, 0])  # to the bit
    assert_array_equal(all_.label, one.label)
    assert_array_equal(simulate(60, seed=1, leads=["V1", "aVL"]).signal, all_.signal[:, [6, 4]])
    assert np.allclose(rows["III"], rows["II"] - rows["I"], atol=1e-5)
    assert np.allclose(rows["aVR"] + rows["aVL"] + rows["aVF"], 0, atol=1e-5)
    quiet = {
        name: sosfiltfilt(butter(2, [1, 30], "band", fs=100, output="sos"), values) for name, values in rows.items()
    }
    upright = {name: np.median(values.max(axis=1) + values.min(axis=1)) for name, values in quiet.items()}
    assert all(upright[name] > 0 for name in ("I", "II", "V5", "V6"))
    assert all(upright[name] < 0 for name in ("aVR", "V1"))


def test_leads_are_read_again_by_their_source():
    dataset = simulate(20, seed=1, leads=["I", "V1"])
    again = read_again(json.loads(json.dumps(dataset.source.reading)), dataset.source.sha256)
    assert_array_equal(again.signal, dataset.signal)
    assert "leads" not in simulate(20, seed=1).source.reading


@pytest.mark.parametrize("leads", [(), ("II", "ii"), "X", ["I", "V9"]])
def test_leads_that_cannot_be_simulated_are_refused(leads):
    with pytest.raises(SettingError, match="lead"):
        simulate(20, leads=leads)


def test_most_patients_have_one_rhythm_and_some_have_both(dataset):
    share = np.array([dataset.label[dataset.group == name].mean() for name in np.unique(dataset.group)])
    assert 0.05 < ((share > 0) & (share < 1)).mean() < 0.25


def test_amplitudes_are_millivolts_of_a_real_lead(dataset):
    height = np.ptp(dataset.signal[:, 0], axis=1)
    assert 0.7 < np.median(height) < 2.5
    assert np.percentile(height, 99) < 8
    assert height.min() > 0.1


def test_rates_are_those_of_people(dataset):
    rate = np.array([60 * 100 / np.diff(p).mean() for p in beats(dataset.signal[:, 0]) if len(p) > 2])
    low, middle, high = np.percentile(rate, [2, 50, 98])
    assert 40 < low < 65
    assert 65 < middle < 100
    assert 110 < high < 190


def test_fibrillation_is_irregular_and_has_no_p_wave(dataset):
    """Over all windows the two signs of the textbook hold, though single windows may show neither."""
    table = features(dataset.signal[:, 0])
    for column, sign in ((2, 1), (8, -1)):  # successive intervals differ; the mean wave before R stands out
        sinus, fibrillation = (np.median(table[dataset.label == value, column]) for value in (0, 1))
        assert sign * (fibrillation - sinus) > 0.2 * abs(sinus)


def test_difficulty_a_good_model_is_right_in_80_to_95_percent():
    """Gradient boosting on what a cardiologist looks at, by patient; a small convolutional network gets 1 to 4 more."""
    accuracy = []
    for seed in (0, 1):
        data = simulate(2000, seed=seed)
        split = split_dataset(data, seed=seed)
        table = features(zscore(data.signal[:, 0]))
        model = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.06, random_state=0)
        model.fit(table[split.train], data.label[split.train])
        held_out = np.concatenate([split.val, split.test])
        accuracy.append((model.predict(table[held_out]) == data.label[held_out]).mean())
    assert min(accuracy) > 0.80
    assert max(accuracy) < 0.95


def test_one_sign_alone_is_not_enough(dataset):
    """The best threshold on the irregularity of intervals leaves a fifth of the windows wrong."""
    irregular = features(dataset.signal[:, 0])[:, 2]
    thresholds = np.percentile(irregular, np.arange(1, 100))
    best = max(((irregular > t) == dataset.label).mean() for t in thresholds)
    assert 0.65 < best < 0.82


@pytest.mark.parametrize(("rate", "seconds", "samples"), [(500, 5, 2500), (300, 10, 3000), (40, 2, 80)])
def test_other_rates_and_lengths(rate, seconds, samples):
    data = simulate(20, sampling_rate=rate, seconds=seconds)
    assert data.signal.shape == (20, 1, samples)
    assert data.sampling_rate == rate
    assert np.isfinite(data.signal).all()
    if rate > 100:  # the same hearts: beats are still found after resampling
        found = beats(resample(data.signal[:, 0].astype(float), rate, 100))
        assert np.median([len(p) for p in found]) == pytest.approx(seconds * 80 / 60, rel=0.35)


def test_chunks_of_windows_are_all_filled():
    data = simulate(5000, seconds=6, patients=600)
    assert (np.ptp(data.signal, axis=2) > 0.05).all()


def test_small_sets_split_by_patient():
    for seed in range(10):
        data = simulate(120, seconds=2, seed=seed)
        assert len(split_dataset(data, seed=seed).test) > 8


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"windows": 1}, "at least 2 patients"),
        ({"windows": 10, "patients": 11}, "10 windows of 11 patients"),
        ({"windows": 10, "patients": 1}, "10 windows of 1 patient "),
        ({"sampling_rate": 30}, "at 30 Hz cannot be simulated"),
        ({"sampling_rate": float("nan")}, "cannot be simulated"),
        ({"seconds": 1}, "1 s at 100 Hz"),
        ({"seed": -1}, "seed is -1; allowed: 0 or more"),
        ({"seed": 10**26}, "seed is 100000000000000000000000000; allowed: at most 9007199254740992"),
        ({"seed": 1.5}, "seed is 1.5; allowed: 0 or more .a whole number"),
        ({"seed": "a"}, "seed is a; allowed"),
        ({"seed": True}, "seed is True; allowed"),
    ],
)
def test_what_cannot_be_simulated(arguments, part):
    with pytest.raises(SettingError, match=part):
        simulate(**arguments)
