"""Noise has the spectrum that is stated for it, and the signal-to-noise ratio that is asked for."""

import numpy as np
import pytest
from scipy.signal import welch

from ecgtune.data.signal.noise import SPECTRA, add_at_ratio, coloured_noise, mains_noise

RATE = 500.0


@pytest.mark.parametrize(("kind", "band"), [("muscle", (5, 240)), ("motion", (0.5, 30)), ("wander", (0.1, 0.45))])
def test_the_spectrum_is_the_stated_one(kind, band):
    rate = RATE if kind == "muscle" else 100.0
    noise = coloured_noise(kind, (60, int(120 * rate)), rate, np.random.default_rng(0))
    frequency, power = welch(noise, rate, nperseg=int(40 * rate))
    inside = (frequency >= band[0]) & (frequency <= band[1])
    found, stated = power.mean(axis=0)[inside], SPECTRA[kind](frequency[inside])
    decibels = 10 * np.log10(found / found.mean()) - 10 * np.log10(stated / stated.mean())
    bands = [each.mean() for each in np.array_split(decibels, min(8, len(decibels)))]
    assert np.abs(bands).max() < 0.7


def test_the_bands_are_those_of_the_literature():
    noise = {
        kind: coloured_noise(kind, (40, 5000), RATE, np.random.default_rng(1))
        for kind in ("muscle", "motion", "wander")
    }
    share = {}
    for kind, values in noise.items():
        frequency, power = welch(values, RATE, nperseg=5000)
        total = power.mean(axis=0)
        share[kind] = {edge: total[frequency <= edge].sum() / total.sum() for edge in (0.7, 10, 20)}
    assert share["muscle"][20] < 0.1  # above the band of P and T waves
    assert share["motion"][10] > 0.9
    assert share["wander"][0.7] > 0.95


@pytest.mark.parametrize("decibels", [24, 0, -6])
@pytest.mark.parametrize("kind", [*SPECTRA, "mains"])
def test_the_ratio_is_reached(kind, decibels):
    generator = np.random.default_rng(2)
    signal = generator.normal(3, [[0.2], [5.0]], (4, 2, 1000)).astype(np.float32)
    shape = signal.shape
    noise = mains_noise(50, shape, RATE, generator) if kind == "mains" else coloured_noise(kind, shape, RATE, generator)
    added = add_at_ratio(signal, noise, decibels).astype(np.float64) - signal
    reached = 10 * np.log10(signal.var(axis=-1) / added.var(axis=-1))
    assert np.abs(reached - decibels).max() < 0.1
    assert np.abs(added.mean(axis=-1)).max() < 1e-3 * added.std()


def test_a_constant_lead_stays():
    signal = np.full((2, 1, 300), 4.0, np.float32)
    noise = coloured_noise("muscle", signal.shape, RATE, np.random.default_rng(0))
    assert np.array_equal(add_at_ratio(signal, noise, 0), signal)


def test_the_seed_determines_the_noise_and_rows_are_independent():
    first, again, other = (coloured_noise("motion", (2, 3, 2000), 250, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.abs(np.corrcoef(first.reshape(6, -1)) - np.eye(6)).max() < 0.8


def test_electrode_motion_is_sudden_and_then_decays():
    noise = coloured_noise("motion", (200, 2000), 250, np.random.default_rng(3))
    steps = np.abs(np.diff(noise, axis=-1)) / noise.std(axis=-1, keepdims=True)
    assert (steps.max(axis=1) > 20 * np.median(steps, axis=1)).mean() > 0.95


def test_mains_noise_has_one_phase_for_all_leads():
    mains = mains_noise(60, (3, 2, 1000), RATE, np.random.default_rng(0))
    assert np.array_equal(mains[:, 0], mains[:, 1])
    assert not np.allclose(mains[0], mains[1])
    frequency, power = welch(mains[0, 0], RATE, nperseg=1000)
    assert frequency[power.argmax()] == 60
