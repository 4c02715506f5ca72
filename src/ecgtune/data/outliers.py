"""Windows that are no usable ECG, generated, on which scores of novelty are compared.

Signals that other recorders write are simple models: an electroencephalogram is noise whose power falls with the
frequency, with alpha waves of 8 to 12 Hz that come and go; a photoplethysmogram is a series of smooth pulses of two
Gaussians at the rate of a heart.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.signal.noise import SPECTRA, coloured_noise

Signal = NDArray[np.float32]
Maker = Callable[[Signal, float, np.random.Generator], NDArray[np.floating]]

#: Fraction of the peak at which a clipped lead saturates, as if its gain were ten times too high.
CLIPPED = 0.1
#: Noise of a flat lead, as a fraction of its amplitude before: the last bit of a recorder.
LAST_BIT = 1e-3


def _noise(signal: Signal, sampling_rate: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """White noise, muscle noise, electrode motion and baseline wander, in random proportions."""
    parts = [coloured_noise(kind, signal.shape, sampling_rate, generator) for kind in SPECTRA]
    parts.append(generator.standard_normal(signal.shape))
    weight = generator.dirichlet(np.ones(len(parts)) / 2, signal.shape[:1]).T[..., None, None]
    return np.sum([w * part / _deviation(part) for w, part in zip(weight, parts, strict=True)], axis=0)


def _eeg(signal: Signal, sampling_rate: float, generator: np.random.Generator) -> NDArray[np.floating]:
    windows, leads, samples = signal.shape
    frequency = np.fft.rfftfreq(samples, 1 / sampling_rate)
    shape = 1 / np.maximum(frequency, 0.5) ** generator.uniform(0.5, 1, (windows, 1, 1))
    source = np.fft.rfft(generator.standard_normal(signal.shape), axis=-1) * shape
    time = np.arange(samples) / sampling_rate
    alpha = np.sin(
        2 * np.pi * (generator.uniform(8, 12, (windows, 1, 1)) * time + generator.random((windows, leads, 1)))
    )
    rise = 0.5 + 0.5 * np.sin(2 * np.pi * (generator.uniform(0.1, 0.5, (windows, 1, 1)) * time + generator.random()))
    background = np.fft.irfft(source, n=samples, axis=-1)
    return background / _deviation(background) + generator.uniform(0, 2, (windows, 1, 1)) * rise * alpha


def _ppg(signal: Signal, sampling_rate: float, generator: np.random.Generator) -> NDArray[np.floating]:
    windows, leads, samples = signal.shape
    time = np.arange(samples) / sampling_rate
    rate = generator.uniform(0.8, 1.8, (windows, 1, 1))
    wobble = 0.05 * np.sin(2 * np.pi * (generator.uniform(0.15, 0.3, (windows, 1, 1)) * time + generator.random()))
    phase = (rate * time + wobble + generator.random((windows, 1, 1))) % 1
    notch = generator.uniform(0.2, 0.5, (windows, leads, 1))
    pulse = np.exp(-(((phase - 0.25) / 0.1) ** 2)) + notch * np.exp(-(((phase - 0.55) / 0.12) ** 2))
    return pulse + 0.01 * generator.standard_normal(signal.shape)


def _flat(signal: Signal, sampling_rate: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """A lead that is not connected: its mean, and the last bit of the recorder."""
    return signal.mean(axis=-1, keepdims=True) + LAST_BIT * np.sign(generator.standard_normal(signal.shape))


def _clipped(signal: Signal, sampling_rate: float, generator: np.random.Generator) -> NDArray[np.floating]:
    middle = np.median(signal, axis=-1, keepdims=True)
    limit = CLIPPED * np.abs(signal - middle).max(axis=-1, keepdims=True)
    return np.clip(signal, middle - limit, middle + limit)


def _leads(signal: Signal, sampling_rate: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """Channels that are moved on by one; a single lead is inverted."""
    return np.roll(signal, 1, axis=1) if signal.shape[1] > 1 else -signal


#: Kinds that keep the amplitude that they have.
_AS_MADE = ("flat", "clipped", "leads")
#: Makers of (windows, leads, samples) from ECG windows of the same shape, and a rate in Hz.
OUTLIERS: dict[str, Maker] = {
    "noise": _noise, "eeg": _eeg, "ppg": _ppg, "flat": _flat, "clipped": _clipped, "leads": _leads,
}  # fmt: skip


def outliers(kind: str, signal: Signal, sampling_rate: float, generator: np.random.Generator) -> Signal:
    """Return windows of a kind of `OUTLIERS`, with mean and standard deviation of the windows `signal`.

    Flat, clipped and exchanged leads keep their own amplitude.
    """
    made = OUTLIERS[kind](signal, sampling_rate, generator)
    if kind in _AS_MADE:
        return made.astype(np.float32)
    level = (made - made.mean(axis=-1, keepdims=True)) / _deviation(made)
    return (level * signal.std(axis=-1, keepdims=True) + signal.mean(axis=-1, keepdims=True)).astype(np.float32)


def _deviation(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.maximum(values.std(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
