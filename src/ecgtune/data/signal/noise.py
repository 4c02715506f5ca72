"""Noise of ECG recordings: generated with stated power spectra, and added at a stated signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Spectrum = Callable[[Array], Array]

#: Hz, of the spectrum of muscle noise.
EMG_LOW, EMG_HIGH = 60.0, 120.0
#: Seconds after which a change of the baseline by electrode motion has fallen to 1 / e, and changes per second.
MOTION_DECAY, MOTION_RATE = 0.4, 1.0
#: Hz, of baseline wander.
WANDER = (0.05, 0.5)
_SECONDS = 40.0  # of the noise that a window is cut from, so that the slowest waves fit


def muscle_spectrum(frequency: Array) -> Array:
    """Power of muscle noise at `frequency` (Hz), in any unit: that of a surface electromyogram.

    f_h^4 f^2 / ((f^2 + f_l^2) (f^2 + f_h^2)^2) with f_l = 60 Hz, f_h = 120 Hz: Shwedyk et al., IEEE Trans. Biomed. Eng.
    24, 1977, 417-424, with the values of Farina and Merletti, J. Electromyogr. Kinesiol. 10, 2000, 337-349.
    """
    square = frequency**2
    return EMG_HIGH**4 * square / ((square + EMG_LOW**2) * (square + EMG_HIGH**2) ** 2)


def motion_spectrum(frequency: Array) -> Array:
    """Power of electrode motion at `frequency` (Hz), in any unit: sudden changes that decay within 0.4 s.

    1 / (1 + (2 pi f tau)^2). Motion artefacts last 0.3 to 0.5 s in Friesen et al., IEEE Trans. Biomed. Eng. 37, 1990,
    85-98; the band overlaps that of QRS complex and T wave.
    """
    return 1 / (1 + (2 * np.pi * frequency * MOTION_DECAY) ** 2)


def wander_spectrum(frequency: Array) -> Array:
    """Power of baseline wander at `frequency` (Hz), in any unit: equal from 0.05 to 0.5 Hz, else none.

    It holds breathing, 0.15 to 0.3 Hz (Friesen et al. 1990); Sörnmo and Laguna, Bioelectrical Signal Processing, 2005,
    chapter 7.
    """
    return ((frequency >= WANDER[0]) & (frequency <= WANDER[1])).astype(np.float64)


SPECTRA: dict[str, Spectrum] = {"muscle": muscle_spectrum, "motion": motion_spectrum, "wander": wander_spectrum}


def coloured_noise(
    kind: str, shape: tuple[int, ...], sampling_rate: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return noise `shape` (..., samples) of a kind of `SPECTRA`, independent in each row, of any amplitude.

    Muscle noise and baseline wander are Gaussian; electrode motion is a series of sudden changes at random times.
    """
    samples = shape[-1]
    length = samples + round(_SECONDS * sampling_rate)
    length += length % 2
    drawn = (*shape[:-1], length)
    source = generator.standard_normal(drawn, dtype=np.float32)
    frequency = np.asarray(np.fft.rfftfreq(length, 1 / sampling_rate), np.float64)
    if kind == "motion":
        source *= generator.random(drawn, dtype=np.float32) < MOTION_RATE / sampling_rate
        # The response of a decay, whose power is the spectrum: all energy after the change, none before.
        response = 1 / (1 + 2j * np.pi * frequency * MOTION_DECAY)
    else:
        response = np.sqrt(SPECTRA[kind](frequency))
    return np.fft.irfft(np.fft.rfft(source, axis=-1) * response, n=length, axis=-1)[..., length - samples :]


def mains_noise(
    hertz: float, shape: tuple[int, ...], sampling_rate: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return a sine of `hertz` Hz, `shape` (windows, leads, samples), with a random phase per window for all leads."""
    phase = generator.uniform(0, 2 * np.pi, (shape[0], *(1,) * (len(shape) - 1)))
    time = np.arange(shape[-1]) / sampling_rate
    return np.broadcast_to(np.sin(2 * np.pi * hertz * time + phase), shape)


def add_at_ratio(signal: NDArray[np.floating], noise: NDArray[np.floating], decibels: float) -> NDArray[np.floating]:
    """Add `noise` to `signal`, both (..., samples), scaled so that the signal-to-noise ratio is `decibels`.

    The ratio is 10 log10 of the variance of signal and noise, of each row. A constant row stays as it is.
    """
    noise = noise - noise.mean(axis=-1, keepdims=True)
    power = [np.mean((x - x.mean(axis=-1, keepdims=True)) ** 2, axis=-1, keepdims=True) for x in (signal, noise)]
    scale = np.sqrt(power[0] / np.maximum(power[1], np.finfo(np.float64).tiny) * 10 ** (-decibels / 10))
    return (signal + scale * noise).astype(signal.dtype)
