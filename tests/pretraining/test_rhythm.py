"""Rhythm and beat shape against other implementations, closed forms, and one crop at a time."""

import warnings
from itertools import pairwise

import neurokit2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as scipy_signal

from ecgtune.pretraining.rhythm import (
    AFTER,
    BANDS,
    BEAT_SAMPLES,
    BEFORE,
    EPSILON,
    GROUPS,
    MAX_DEVIATION,
    MIN_INTERVALS,
    TOKEN_TARGETS,
    Scale,
    Targets,
    rhythm_targets,
)

pytestmark = pytest.mark.filterwarnings("error")

RATE = 100
IRREGULARITY, MEDIAN = slice(0, 12), slice(12, 12 + BEAT_SAMPLES)
DISTANCE = slice(MEDIAN.stop, MEDIAN.stop + BEAT_SAMPLES)
ALIKE = slice(DISTANCE.stop, DISTANCE.stop + 3)
SPECTRUM = slice(ALIKE.stop, ALIKE.stop + len(BANDS) - 1)


def rows(beats: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Lists of beats (samples) as `Beats.within` gives them."""
    present = np.arange(max(1, *map(len, beats))) < np.array([len(row) for row in beats])[:, None]
    place = np.zeros(present.shape)
    place[present] = np.concatenate(beats)
    return place, present


def targets(signal: np.ndarray, beats: list[np.ndarray], samples_per_token: int = 8, rate: float = RATE) -> Targets:
    return rhythm_targets(
        signal.astype(np.float32), *rows(beats), sampling_rate=rate, samples_per_token=samples_per_token
    )


def heart(generator: np.random.Generator, samples: int, least: float = 0.3, most: float = 1.5) -> np.ndarray:
    """Beats at random intervals of `least` to `most` seconds, not on whole samples."""
    place = np.cumsum(generator.uniform(least, most, int(samples / RATE / least) + 2)) * RATE
    return place[place <= samples - 1]


def test_the_sizes_are_those_of_the_groups():
    found = targets(np.zeros((2, 600)), [heart(np.random.default_rng(0), 600), np.zeros(0)])
    assert 2 * found.crop.shape[1] == 2 * SPECTRUM.stop == sum(GROUPS)
    assert found.token.shape == (2, 75, TOKEN_TARGETS)
    assert (found.crop.dtype, found.token.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize("seed", range(20))
def test_irregularity_is_that_of_neurokit2(seed):
    place = heart(np.random.default_rng(seed), 3000)
    seconds = place / RATE
    interval = np.diff(seconds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peaks = {"RRI": 1000 * interval, "RRI_Time": seconds[1:]}
        hrv = neurokit2.hrv_time(peaks, sampling_rate=RATE).iloc[0]
    ours = targets(np.zeros((1, 3000)), [place]).crop[0, IRREGULARITY]
    population = np.sqrt((len(interval) - 1) / len(interval))  # theirs divides by n - 1
    change = np.abs(np.diff(interval))
    expected = [
        np.log(hrv["HRV_MeanNN"] / 1000),
        np.log(hrv["HRV_MinNN"] / 1000),
        np.log(hrv["HRV_MaxNN"] / 1000),
        np.log(hrv["HRV_SDNN"] / 1000 * population + EPSILON),
        np.log(hrv["HRV_RMSSD"] / 1000 + EPSILON),
        np.log(hrv["HRV_MadNN"] / 1.4826 / 1000 + EPSILON),  # theirs is scaled to a standard deviation
        np.log(np.mean([abs(b - a) for a, b in zip(interval, interval[2:], strict=False)]) + EPSILON),
        hrv["HRV_pNN50"] / 100 * len(interval) / len(change),  # theirs divides by the intervals
        np.mean([one > 0.1 for one in change]),
        hrv["HRV_CVNN"] * population,
        max(change) / (hrv["HRV_MeanNN"] / 1000),
        np.log(hrv["HRV_MaxNN"] / hrv["HRV_MinNN"]),
    ]
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_bigeminy_is_a_large_change_that_comes_back():
    place = np.cumsum([30, *[60, 110] * 4]).astype(float)
    values = targets(np.zeros((1, 800)), [place]).crop[0, IRREGULARITY]
    assert values[4] == pytest.approx(np.log(0.5 + EPSILON), abs=1e-5)
    assert values[6] == pytest.approx(np.log(EPSILON), abs=1e-5)
    assert values[7] == values[8] == 1


def beat_train(samples: int, place: np.ndarray, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A crop of equal beats at whole samples, and the beat as the median beat samples it."""

    def wave(seconds):
        return np.exp(-0.5 * (seconds / 0.02) ** 2) + 0.3 * np.exp(-0.5 * ((seconds - 0.25) / 0.05) ** 2)

    time = np.arange(samples) / RATE
    crop = sum(wave(time - p / RATE) for p in place) + noise * np.random.default_rng(seed).standard_normal(samples)
    offset = np.rint(np.linspace(-BEFORE, AFTER, BEAT_SAMPLES) * RATE) / RATE
    template = wave(offset)
    return np.asarray(crop), template - np.median(template)


def test_the_median_beat_of_equal_beats_is_the_beat():
    crop, template = beat_train(2000, np.arange(50, 1950, 90.0), 0.0)
    values = targets(crop[None], [np.arange(50, 1950, 90.0)]).crop[0]
    np.testing.assert_allclose(values[MEDIAN], template, atol=1e-3)
    np.testing.assert_allclose(values[DISTANCE], 0, atol=1e-3)
    np.testing.assert_allclose(values[ALIKE], [1, 1, 0], atol=1e-4)


def test_noise_shows_in_the_distance_and_hardly_in_the_median_beat():
    place = np.arange(40, 3540, 90.0)  # 39 beats
    crop, template = beat_train(3600, place, 0.1)
    values = targets(crop[None], [place]).crop[0]
    error = values[MEDIAN] - template
    error -= error.mean()  # the level of a beat is the median of its noisy samples
    assert np.abs(error).max() < 0.1
    assert error.std() < 0.03  # 0.1 in one beat, 0.1 * 1.25 / sqrt(39) in the median of all
    assert values[DISTANCE].mean() == pytest.approx(0.6745 * 0.1, rel=0.15)  # median of |normal|
    assert values[ALIKE][0] == pytest.approx(0.92, abs=0.03)
    assert values[ALIKE][1] < values[ALIKE][0] - values[ALIKE][2]


@pytest.mark.parametrize("seed", range(10))
def test_shape_is_that_of_a_loop_over_whole_beats(seed):
    generator = np.random.default_rng(seed)
    crop, place = generator.standard_normal(600), heart(generator, 600)
    cuts = []
    for beat in place:
        index = [round(beat + RATE * step) for step in np.linspace(-BEFORE, AFTER, BEAT_SAMPLES)]
        if beat - RATE * BEFORE >= 0 and beat + RATE * AFTER <= 599:
            cuts.append(crop.astype(np.float32)[index] - np.median(crop.astype(np.float32)[index]))
    median = np.median(cuts, axis=0)
    alike = [np.corrcoef(cut, median)[0, 1] for cut in cuts]
    expected = [*median, *np.median(np.abs(cuts - median), axis=0), np.mean(alike), min(alike), np.std(alike)]
    ours = targets(crop[None], [place]).crop[0, MEDIAN.start : ALIKE.stop]
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("samples", [600, 601, 200])
def test_the_spectrum_is_scipys_periodogram_up_to_a_constant(samples):
    crops = np.random.default_rng(0).standard_normal((5, samples)).astype(np.float32)
    hertz, density = scipy_signal.periodogram(crops, RATE, window=np.hanning(samples), detrend=False)
    bands = [(hertz >= low) & (hertz < high) for low, high in pairwise(BANDS)]
    expected = np.log(np.stack([density[:, band].mean(axis=1) for band in bands], axis=1))
    ours = targets(crops, [np.zeros(0)] * 5).crop[:, SPECTRUM]
    assert np.ptp(ours) > 1
    np.testing.assert_allclose(ours - expected, (ours - expected)[0, 0], atol=1e-3)


@pytest.mark.parametrize("band", range(len(BANDS) - 1))
def test_a_sine_lands_in_its_band(band):
    time = np.arange(1000) / RATE
    crop = np.sin(2 * np.pi * (BANDS[band] + BANDS[band + 1]) / 2 * time)
    power = targets(crop[None], [np.zeros(0)]).crop[0, SPECTRUM]
    assert power.argmax() == band
    assert power[band] - np.delete(power, band).max() > 2


def test_bands_that_a_crop_cannot_show_are_unknown():
    slow = targets(np.ones((1, 100)), [np.zeros(0)], rate=50).crop[0, SPECTRUM]
    assert np.isnan(slow).tolist() == [low > 25 for low in BANDS[:-1]]
    short = targets(np.ones((1, 50)), [np.zeros(0)]).crop[0, SPECTRUM]  # a bin every 2 Hz
    assert np.isnan(short).tolist() == [(low, high) in ((0.5, 1.5), (3, 4), (5, 6), (7, 8)) or (low, high) == (1.5, 2)
                                        for low, high in pairwise(BANDS)]  # fmt: skip


def test_the_timeline_of_three_beats():
    """Beats at 1, 3 and 6 s; a token a second, seen in its middle."""
    signal = np.zeros((1, 80), np.float32)
    place, present = rows([np.array([10.0, 30.0, 60.0])])
    found = rhythm_targets(signal, place, present, sampling_rate=10, samples_per_token=10).token[0]
    bump = [np.exp(-0.5 * (0.5 / 0.08) ** 2)] * 4 + [0, *[np.exp(-0.5 * (0.5 / 0.08) ** 2)] * 2, 0]
    np.testing.assert_allclose(found[:, 0], bump, atol=1e-9)
    third = 2 * np.pi / 3
    nan = np.nan
    np.testing.assert_allclose(
        found[:, 1:],
        [
            [nan, nan, nan, nan],
            [1, 0, np.log(2), nan],
            [-1, 0, np.log(2), nan],
            [np.sin(third / 2), np.cos(third / 2), np.log(3), np.log(3 / 2)],
            [0, -1, np.log(3), np.log(3 / 2)],
            [np.sin(2.5 * third), np.cos(2.5 * third), np.log(3), np.log(3 / 2)],
            [nan, nan, nan, nan],
            [nan, nan, nan, nan],
        ],
        atol=1e-6,
    )


def test_a_token_on_a_beat_has_a_bump_of_one_and_phase_zero():
    place, present = rows([np.array([15.0, 35.0])])
    found = rhythm_targets(np.zeros((1, 50), np.float32), place, present, sampling_rate=10, samples_per_token=10)
    np.testing.assert_allclose(found.token[0, 1], [1, 0, 1, np.log(2), np.nan], atol=1e-6)


@pytest.mark.parametrize(
    ("beats", "unknown"),
    [
        ([], {"irregularity", "shape", "phase"}),
        ([300], {"irregularity", "shape", "phase"}),
        ([200, 300], {"irregularity"}),
        ([200, 300, 400], {"irregularity"}),
        ([100, 200, 300, 400], set()),
        ([10, 590], {"irregularity", "shape"}),  # neither is whole
        ([10, 300, 590], {"irregularity", "shape"}),  # one is
        ([10, 200, 400, 590], set()),
    ],
    ids=lambda value: "-".join(map(str, sorted(value))) or "none",
)
def test_too_few_beats_are_unknown_and_nothing_else_is(beats, unknown):
    crop = np.random.default_rng(0).standard_normal((1, 600))
    alone = targets(crop, [np.array(beats, float)])
    others = targets(crop.repeat(2, axis=0), [np.array(beats, float), np.arange(5, 600, 50.0)])
    assert MIN_INTERVALS == 3
    for found in (alone, others):
        for name, part in {"irregularity": IRREGULARITY, "shape": slice(MEDIAN.start, ALIKE.stop)}.items():
            assert np.isnan(found.crop[0, part]).tolist() == [name in unknown] * (part.stop - part.start)
        assert np.isnan(found.token[0, :, 1]).all() == ("phase" in unknown)
        assert not np.isnan(found.crop[0, SPECTRUM]).any()
        assert not np.isnan(found.token[0, :, 0]).any()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), crops=st.integers(2, 6), least=st.floats(0.2, 2))
def test_a_crop_is_told_the_same_alone_as_among_others(seed, crops, least):
    generator = np.random.default_rng(seed)
    signal = generator.standard_normal((crops, 400))
    beats = [heart(generator, 400, least, least + generator.random()) for _ in range(crops)]
    together = targets(signal, beats)
    for row in range(crops):
        alone = targets(signal[row : row + 1], beats[row : row + 1])
        np.testing.assert_allclose(together.crop[row], alone.crop[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(together.token[row], alone.token[0], rtol=1e-5, atol=1e-6)


def test_a_constant_crop_has_values_without_a_warning():
    found = targets(np.zeros((1, 600)), [np.arange(50, 560, 80.0)])
    assert not np.isnan(found.crop).any()
    assert not found.crop[0, MEDIAN.start : ALIKE.stop].any()


def test_the_scale_makes_known_values_standard_and_cuts_off_the_rest():
    generator = np.random.default_rng(0)
    crop = generator.normal(7, 3, (500, 4)).astype(np.float32)
    token = generator.normal(-2, 0.1, (500, 6, 2)).astype(np.float32)
    crop[generator.random(crop.shape) < 0.3] = np.nan
    token[generator.random(token.shape) < 0.3] = np.nan
    crop[:, 2], crop[:, 3] = 5.0, np.nan  # always the same; never known
    crop[0, :2] = 100.0, -100.0
    scale = Scale.of(Targets(crop, token))
    mean, std = np.nanmean(crop[:, :3], axis=0), np.nanstd(crop[:, :3], axis=0)
    np.testing.assert_allclose(scale.crop[0], [*mean, 0], rtol=1e-5)
    np.testing.assert_allclose(scale.crop[1], [std[0], std[1], 1, 1], rtol=1e-4)
    np.testing.assert_allclose(scale.token[0], np.nanmean(token, axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(scale.token[1], np.nanstd(token, axis=(0, 1)), rtol=1e-3)
    scaled = scale(Targets(crop, token))
    assert (scaled.crop.dtype, scaled.token.dtype) == (np.float32, np.float32)
    assert scaled.crop[0, :2].tolist() == [MAX_DEVIATION, -MAX_DEVIATION]
    np.testing.assert_allclose(scaled.crop[1:, :2], (crop[1:, :2] - mean[:2]) / std[:2], rtol=1e-3, atol=1e-3)
    assert np.array_equal(np.isnan(scaled.crop), np.isnan(crop))
    assert np.array_equal(np.isnan(scaled.token), np.isnan(token))
    assert not np.nan_to_num(scaled.crop[:, 2]).any()
