"""Zero-phase filters, resampling and z-scores. All act on the last axis.

`scipy.signal` takes a second to import, so it is imported by the first call that filters or changes a rate.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import SettingError

RESAMPLING = ("polyphase", "linear")
ORDER = 2  # of the Butterworth filter at either edge; both directions together double it
NOTCH_QUALITY = 30.0  # centre / width: 1.7 Hz wide at 50 Hz
_LARGEST_FACTOR = 10_000  # of the ratio of two rates; 360 to 500 Hz is 25/18
FLAT = 1e-9  # a standard deviation below this fraction of the largest sample is rounding, not signal


def band_pass(
    signal: NDArray[np.floating], sampling_rate: float, low: float | None, high: float | None, order: int = ORDER
) -> NDArray[np.floating]:
    """Keep `low` to `high` (Hz), either of them None for no edge; zero phase, dtype kept.

    A Butterworth filter of second order, unless another `order` is given, run in both directions
    (`scipy.signal.sosfiltfilt`), so -6 dB at the edges.
    Raises SettingError unless 0 < low < high < sampling_rate / 2.
    """
    edges = [edge for edge in (low, high) if edge is not None]
    if not edges:
        return signal
    if not all(0 < edge < sampling_rate / 2 for edge in edges) or sorted(set(edges)) != edges:
        raise SettingError(
            f"cannot keep {'0' if low is None else f'{low:g}'} to {'all' if high is None else f'{high:g}'} Hz of a"
            f" signal of {sampling_rate:g} Hz; allowed: 0 < low < high < {sampling_rate / 2:g}"
            + (f", or a rate above {2 * max(edges):g} Hz" if max(edges) >= sampling_rate / 2 else "")
        )
    kind = "bandpass" if len(edges) == 2 else "highpass" if high is None else "lowpass"
    return _both_ways(_butterworth(tuple(edges), kind, sampling_rate, order), signal)


def mains_notch(signal: NDArray[np.floating], sampling_rate: float, mains: float) -> NDArray[np.floating]:
    """Remove `mains` (Hz, 50 or 60); zero phase, dtype kept.

    `scipy.signal.iirnotch`, run in both directions. A signal with a rate too low for the frequency is returned as it
    is. Raises SettingError for another frequency.
    """
    if mains not in (50, 60):
        raise SettingError(f"mains {mains:g} Hz is not allowed; 50 or 60 is")
    if mains >= sampling_rate / 2:
        return signal
    from scipy.signal import iirnotch, tf2sos

    return _both_ways(tf2sos(*iirnotch(mains, NOTCH_QUALITY, fs=sampling_rate)), signal)


@lru_cache(maxsize=64)
def _butterworth(edges: tuple[float, ...], kind: str, sampling_rate: float, order: int) -> NDArray[np.float64]:
    """Second-order sections; kept, because their design takes longer than filtering ten seconds of one lead."""
    from scipy.signal import butter

    return np.asarray(butter(order, edges if len(edges) == 2 else edges[0], kind, fs=sampling_rate, output="sos"))


def _both_ways(sections: NDArray[np.float64], signal: NDArray[np.floating]) -> NDArray[np.floating]:
    from scipy.signal import sosfiltfilt

    # scipy's own default for the odd extension at the edges, cut to the length of a short recording.
    zeros = min(int((sections[:, 2] == 0).sum()), int((sections[:, 5] == 0).sum()))
    padding = 3 * (2 * len(sections) + 1 - zeros)
    values = sosfiltfilt(sections, signal, axis=-1, padlen=min(padding, signal.shape[-1] - 1))
    return values.astype(signal.dtype, copy=False)


def resample(
    signal: NDArray[np.floating], from_rate: float, to_rate: float, method: str = "polyphase"
) -> NDArray[np.floating]:
    """Change the sampling rate from `from_rate` to `to_rate` (Hz); dtype and unit are kept.

    "polyphase" subtracts the line through the end points, filters the rest against aliasing
    (`scipy.signal.resample_poly`, Kaiser 5.0) and adds the line again; n samples become ceil(n * to / from). "linear"
    is the method of ECG-FM's pretraining: linear interpolation with aligned end points, without a filter; n samples
    become int(n * to / from). Raises SettingError for another method or a rate that is not positive.
    """
    if method not in RESAMPLING:
        raise SettingError(f"resampling '{method}' is unknown; allowed are {', '.join(RESAMPLING)}")
    if not (0 < from_rate < np.inf and 0 < to_rate < np.inf):
        raise SettingError(f"cannot resample from {from_rate:g} to {to_rate:g} Hz; two positive rates are needed")
    if from_rate == to_rate:
        return signal
    if method == "linear":
        return interpolate(signal, max(1, int(signal.shape[-1] * to_rate / from_rate)))
    ratio = resampling_ratio(from_rate, to_rate)
    from scipy.signal import resample_poly

    # Without the line, an offset would make steps at the edges, and ripple.
    start = signal[..., :1]
    slope = (signal[..., -1:] - start) / max(1, signal.shape[-1] - 1)
    level = signal - (start + slope * np.arange(signal.shape[-1]))
    up, down = ratio.numerator, ratio.denominator
    values = resample_poly(level, up, down, axis=-1, window=low_pass(max(up, down)).astype(level.dtype))
    values += start + slope * (np.arange(values.shape[-1]) * float(1 / ratio))
    return values.astype(signal.dtype, copy=False)


def resampling_ratio(from_rate: float, to_rate: float) -> Fraction:
    """Return to_rate / from_rate with terms of at most 10,000. Raises SettingError where there is none."""
    ratio = (Fraction(to_rate) / Fraction(from_rate)).limit_denominator(_LARGEST_FACTOR)
    if ratio == 0 or ratio.numerator > _LARGEST_FACTOR:
        raise SettingError(
            f"cannot resample from {from_rate:g} to {to_rate:g} Hz; a ratio below {_LARGEST_FACTOR} is needed"
        )
    return ratio


@lru_cache(maxsize=64)
def low_pass(factor: int) -> NDArray[np.float64]:
    """The filter of `resample_poly`; its design takes as long as filtering ten seconds of one lead."""
    from scipy.signal import firwin

    kaiser: Any = ("kaiser", 5.0)  # scipy's annotation allows names only
    return np.asarray(firwin(20 * factor + 1, 1 / factor, window=kaiser))


def interpolate(signal: NDArray[np.floating], count: int) -> NDArray[np.floating]:
    """Interpolate linearly at `count` points, the first and last on the first and last sample."""
    position = np.linspace(0, signal.shape[-1] - 1, count)
    left = np.minimum(position.astype(np.int64), max(signal.shape[-1] - 2, 0))
    weight = (position - left).astype(signal.dtype)
    right = np.minimum(left + 1, signal.shape[-1] - 1)
    low = signal[..., left]
    return low + (signal[..., right] - low) * weight


def zscore(signal: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return (x - mean) / standard deviation (divided by n, not n - 1); 0 where the signal is constant."""
    mean = signal.mean(axis=-1, keepdims=True)
    centred = signal - mean
    std = np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True))
    flat = std <= FLAT * np.abs(signal).max(axis=-1, keepdims=True)
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, std)).astype(signal.dtype)
