"""The z-score, and with it ECG-FM's own treatment of a whole recording."""

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.signal.resampling import resample

_FLAT = 1e-9  # a spread below this share of the largest sample is rounding, not signal


def zscore(signal: NDArray[np.floating]) -> NDArray[np.floating]:
    """(x - mean) / standard deviation (n, not n - 1) over the last axis; where nothing varies the result is 0."""
    mean = signal.mean(axis=-1, keepdims=True)
    centred = signal - mean
    std = np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True))
    flat = std <= _FLAT * np.abs(signal).max(axis=-1, keepdims=True)
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, std)).astype(signal.dtype)


def ecg_fm_record(signal: NDArray[np.floating], sampling_rate: float, model_rate: float = 500.0) -> NDArray[np.float64]:
    """A whole recording (leads, n) as ECG-FM's authors prepare it, before segmenting: (leads, int(n * 500 / rate)).

    Linear interpolation to 500 Hz, then a z-score per lead over the whole recording; a flat or missing (not finite)
    lead becomes 0.
    """
    values = np.asarray(signal, dtype=np.float64)
    values = np.where(np.isfinite(values).all(axis=-1, keepdims=True), values, 0.0)
    return np.asarray(zscore(resample(values, sampling_rate, model_rate, "linear")), dtype=np.float64)
