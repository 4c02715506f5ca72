"""Doubts about windows before a training: heart rates or amplitudes that no group of people has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import HIGHEST_RATE, Dataset
from ecgtune.data.signal.quality import implausible_amplitude

#: Median beats per minute of a dataset. Outside, the sampling rate is more likely wrong than the patients unusual.
PLAUSIBLE_BPM = (40.0, 130.0)
#: The range that makes another rate likely, and the value next to which the likeliest is chosen.
_LIKELY_BPM, _USUAL_BPM = (50.0, 110.0), 72.0
#: Rates that are tried: those of recorders, and simple factors of the stated one.
_COMMON_RATES = (100.0, 125.0, 128.0, 200.0, 240.0, 250.0, 300.0, 360.0, 400.0, 500.0, 512.0, 1000.0)
_FACTORS = (0.1, 0.2, 0.25, 0.5, 2.0, 4.0, 5.0, 10.0)
_LOWEST_RATE = 50.0  # Hz, below which few QRS complexes are left
#: Penalties, in units of the logarithm of the heart rate: for windows that do not last whole seconds, and for rates
#: that are not those of recorders.
_NOT_WHOLE, _NOT_COMMON = 0.3, 0.15
_WINDOWS = 64  # on which beats are counted
_QRS_BAND = (5.0, 15.0)  # Hz, which holds most of the energy of a QRS complex and little of P and T waves
_CLOSEST_BEATS = 0.25  # seconds


def heart_rate(signal: NDArray[np.floating], sampling_rate: float) -> float:
    """Return the median heart rate in beats per minute of `signal` (windows, samples) at `sampling_rate` Hz.

    Beats are peaks of the energy of the slope in 5 to 15 Hz. NaN when fewer than half of the windows have three beats.
    """
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import butter, find_peaks, sosfiltfilt

    low, high = _QRS_BAND
    sections = butter(2, (low, min(high, 0.45 * sampling_rate)), "bandpass", fs=sampling_rate, output="sos")
    filtered = sosfiltfilt(sections, signal, axis=-1, padlen=min(15, signal.shape[-1] - 1))
    energy = uniform_filter1d(np.diff(filtered, axis=-1) ** 2, max(1, round(0.12 * sampling_rate)), axis=-1)
    distance = max(1, round(_CLOSEST_BEATS * sampling_rate))
    rates = np.full(len(signal), np.nan)
    for index, window in enumerate(energy):
        beats, _ = find_peaks(window, height=0.3 * np.quantile(window, 0.98), distance=distance)
        if len(beats) > 2:
            rates[index] = 60 * sampling_rate * (len(beats) - 1) / (beats[-1] - beats[0])
    return float(np.nanmedian(rates)) if 2 * np.isfinite(rates).sum() >= len(rates) > 0 else float("nan")


def doubts(dataset: Dataset, rows: NDArray[np.int64]) -> list[str]:
    """Return warnings about the windows `rows` of a dataset: heart rate, and amplitude of a file of windows in mV.

    A heart rate is doubted where another sampling rate makes it plausible, which noise does not. The amplitude of
    recordings is checked where they are read.
    """
    chosen = rows[np.linspace(0, len(rows) - 1, min(_WINDOWS, len(rows))).astype(int)]
    windows = np.asarray(dataset.signal[chosen], dtype=np.float64)
    windows = windows[np.isfinite(windows).all(axis=(1, 2))]
    found = _heart_rate_doubts(windows[:, dataset.leads.index("II") if "II" in dataset.leads else 0], dataset)
    if dataset.unit == "mV" and dataset.recording is None and len(windows):
        amplitude = implausible_amplitude(np.concatenate(list(windows), axis=1))
        found += [f"{amplitude}; check the unit of the file (--unit)"] if amplitude else []
    return found


def _heart_rate_doubts(signal: NDArray[np.float64], dataset: Dataset) -> list[str]:
    stated, samples = dataset.sampling_rate, dataset.samples
    low, high = PLAUSIBLE_BPM
    if not len(signal) or samples < 8 or low <= heart_rate(signal, stated) <= high:
        return []
    right = _likely_rate(signal, stated)
    if right is None:
        return []
    usual = heart_rate(signal, right)
    return [
        f"at {stated:g} Hz the windows last {samples / stated:.3g} s and the heart rate is about"
        f" {usual * stated / right:.0f} beats per minute; {right:g} Hz is more likely ({samples / right:.3g} s,"
        f" {usual:.0f} beats per minute): check the sampling rate"
    ]


def fitting_rates(signal: NDArray[np.floating]) -> list[float]:
    """Return the usual rates of recorders in Hz at which `signal` (windows, samples), of unknown rate, is plausible.

    Windows then last whole seconds and have a median heart rate of 50 to 110 beats per minute.
    """
    low, high = _LIKELY_BPM
    chosen = signal[np.linspace(0, len(signal) - 1, min(_WINDOWS, len(signal))).astype(int)].astype(np.float64)
    whole = [rate for rate in _COMMON_RATES if (signal.shape[1] / rate).is_integer()]
    return [rate for rate in whole if low <= heart_rate(chosen, rate) <= high]


def _likely_rate(signal: NDArray[np.float64], stated: float) -> float | None:
    """The most likely rate by heart rate, length of the windows and rates of recorders; None when none is likely."""
    low, high = _LIKELY_BPM
    found: dict[float, float] = {}
    for rate in {*_COMMON_RATES, *(stated * factor for factor in _FACTORS)}:
        bpm = heart_rate(signal, rate) if _LOWEST_RATE <= rate <= HIGHEST_RATE else float("nan")
        if low <= bpm <= high:
            whole, common = (signal.shape[1] / rate).is_integer(), rate in _COMMON_RATES
            unlikely = (0 if whole else _NOT_WHOLE) + (0 if common else _NOT_COMMON)
            found[rate] = abs(float(np.log(bpm / _USUAL_BPM))) + unlikely
    return min(sorted(found), key=found.__getitem__, default=None)
