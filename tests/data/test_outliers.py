"""Generated windows that are no usable ECG."""

import numpy as np
import pytest
from scipy.signal import welch

from ecgtune.data.outliers import OUTLIERS, outliers
from ecgtune.data.simulation import simulate

RATE = 100.0


def made(kind, leads=1, seed=0):
    signal = np.tile(simulate(20, seed=1, sampling_rate=RATE).signal, (1, leads, 1))
    return signal, outliers(kind, signal, RATE, np.random.default_rng(seed))


@pytest.mark.parametrize("leads", [1, 12])
@pytest.mark.parametrize("kind", OUTLIERS)
def test_windows_have_the_shape_and_the_seed_determines_them(kind, leads):
    signal, found = made(kind, leads)
    assert (found.shape, found.dtype) == (signal.shape, np.float32)
    assert np.isfinite(found).all()
    assert np.array_equal(found, made(kind, leads)[1])


@pytest.mark.parametrize("kind", ["noise", "eeg", "ppg"])
def test_mean_and_deviation_are_those_of_the_ecg(kind):
    signal, found = made(kind)
    assert np.allclose(found.mean(axis=-1), signal.mean(axis=-1), atol=1e-5)
    assert np.allclose(found.std(axis=-1), signal.std(axis=-1), rtol=1e-4)
    assert np.abs([np.corrcoef(a[0], b[0])[0, 1] for a, b in zip(signal, found, strict=True)]).max() < 0.5


def test_pulses_have_the_rate_of_a_heart_and_alpha_waves_their_band():
    pulse = made("ppg")[1][:, 0]
    frequency, power = welch(pulse, RATE, nperseg=600)
    assert ((frequency[power.argmax(axis=1)] >= 0.7) & (frequency[power.argmax(axis=1)] <= 1.9)).all()
    frequency, power = welch(made("eeg")[1][:, 0], RATE, nperseg=300)
    band = (frequency >= 8) & (frequency <= 12)
    above = (frequency > 16) & (frequency <= 24)
    assert power.mean(axis=0)[band].mean() > 5 * power.mean(axis=0)[above].mean()


def test_flat_clipped_and_exchanged_leads():
    signal, flat = made("flat")
    assert flat.std(axis=-1).max() < 0.01 * signal.std(axis=-1).min() + 1e-2
    clipped = made("clipped")[1]
    at_limit = (clipped == clipped.max(axis=-1, keepdims=True)).mean(axis=-1)
    assert at_limit.mean() > 0.05
    assert np.array_equal(made("leads")[1], -signal)
    several = np.stack([signal[:, 0], 2 * signal[:, 0]], axis=1)
    assert np.array_equal(outliers("leads", several, RATE, np.random.default_rng(0)), several[:, ::-1])
