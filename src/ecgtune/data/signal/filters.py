"""Filters, resampling and z-scores of whole signals. All act on the last axis."""

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, firwin, iirnotch, resample_poly, sosfiltfilt, tf2sos

from ecgtune.errors import SettingError

ORDER = 2  # of the Butterworth filter at either edge; both directions together double it
NOTCH_QUALITY = 30.0  # centre / width: 1.7 Hz wide at 50 Hz


def band_pass(
    signal: NDArray[np.floating], sampling_rate: float, low: float | None, high: float | None
) -> NDArray[np.floating]:
    """Keep `low` to `high` (Hz) of the last axis, either of them None for no edge; zero phase, dtype stays.

    A second-order Butterworth filter, run both ways (`scipy.signal.sosfiltfilt`), so -6 dB at the edges. Raises
    SettingError unless 0 < low < high < sampling_rate / 2.
    """
    edges = [edge for edge in (low, high) if edge is not None]
    if not edges:
        return signal
    if not all(0 < edge < sampling_rate / 2 for edge in edges) or sorted(set(edges)) != edges:
        raise SettingError(
            f"cannot keep {'0' if low is None else f'{low:g}'} to {'all' if high is None else f'{high:g}'} Hz of a"
            f" signal of {sampling_rate:g} Hz; allowed: 0 < low < high < {sampling_rate / 2:g}"
        )
    kind = "bandpass" if len(edges) == 2 else "highpass" if high is None else "lowpass"
    return _both_ways(_butterworth(tuple(edges), kind, sampling_rate), signal)


def mains_notch(signal: NDArray[np.floating], sampling_rate: float, mains: float) -> NDArray[np.floating]:
    """Take `mains` (Hz, 50 or 60) out of the last axis; zero phase, dtype stays.

    `scipy.signal.iirnotch`, run both ways. A signal that cannot hold the frequency, because its rate is too low, is
    given back as it is. Raises SettingError for another frequency.
    """
    if mains not in (50, 60):
        raise SettingError(f"mains {mains:g} Hz is not allowed; 50 or 60 is")
    if mains >= sampling_rate / 2:
        return signal
    return _both_ways(tf2sos(*iirnotch(mains, NOTCH_QUALITY, fs=sampling_rate)), signal)


@lru_cache(maxsize=64)
def _butterworth(edges: tuple[float, ...], kind: str, sampling_rate: float) -> NDArray[np.float64]:
    """Second-order sections; kept, because to design them takes longer than to filter ten seconds of one lead."""
    return np.asarray(butter(ORDER, edges if len(edges) == 2 else edges[0], kind, fs=sampling_rate, output="sos"))


def _both_ways(sections: NDArray[np.float64], signal: NDArray[np.floating]) -> NDArray[np.floating]:
    # scipy's own default for the odd extension at the edges, cut to what a short recording can give.
    zeros = min(int((sections[:, 2] == 0).sum()), int((sections[:, 5] == 0).sum()))
    padding = 3 * (2 * len(sections) + 1 - zeros)
    values = sosfiltfilt(sections, signal, axis=-1, padlen=min(padding, signal.shape[-1] - 1))
    return values.astype(signal.dtype, copy=False)


RESAMPLING = ("polyphase", "linear")
_LARGEST_FACTOR = 10_000  # of the ratio of two rates; 360 to 500 Hz is 25/18


def resample(
    signal: NDArray[np.floating], from_rate: float, to_rate: float, method: str = "polyphase"
) -> NDArray[np.floating]:
    """Resample the last axis from `from_rate` to `to_rate` (Hz); dtype and unit stay.

    "polyphase" filters against aliasing (`scipy.signal.resample_poly`, Kaiser 5.0) what is left of the signal
    without the line through its end points; n samples become ceil(n * to / from). "linear" is what
    ECG-FM was pretrained with: linear interpolation with aligned end points, without a filter; n samples become
    int(n * to / from). Raises SettingError for another
    method or a rate that is not positive.
    """
    if method not in RESAMPLING:
        raise SettingError(f"resampling '{method}' is unknown; allowed are {', '.join(RESAMPLING)}")
    if not (0 < from_rate < np.inf and 0 < to_rate < np.inf):
        raise SettingError(f"cannot resample from {from_rate:g} to {to_rate:g} Hz; two positive rates are needed")
    if from_rate == to_rate:
        return signal
    if method == "linear":
        return _interpolate(signal, max(1, int(signal.shape[-1] * to_rate / from_rate)))
    ratio = (Fraction(to_rate) / Fraction(from_rate)).limit_denominator(_LARGEST_FACTOR)
    if ratio == 0 or ratio.numerator > _LARGEST_FACTOR:
        raise SettingError(
            f"cannot resample from {from_rate:g} to {to_rate:g} Hz; a ratio below {_LARGEST_FACTOR} is needed"
        )
    # The line through the end points goes around the filter: an offset makes neither steps at the edges nor ripple.
    start = signal[..., :1]
    slope = (signal[..., -1:] - start) / max(1, signal.shape[-1] - 1)
    level = signal - (start + slope * np.arange(signal.shape[-1]))
    up, down = ratio.numerator, ratio.denominator
    values = resample_poly(level, up, down, axis=-1, window=_low_pass(max(up, down)).astype(level.dtype))
    values += start + slope * (np.arange(values.shape[-1]) * float(1 / ratio))
    return values.astype(signal.dtype, copy=False)


@lru_cache(maxsize=64)
def _low_pass(factor: int) -> NDArray[np.float64]:
    """The filter that `resample_poly` designs anew at every call: as long as filtering ten seconds of one lead."""
    kaiser: Any = ("kaiser", 5.0)  # scipy's annotation knows names only
    return np.asarray(firwin(20 * factor + 1, 1 / factor, window=kaiser))


def _interpolate(signal: NDArray[np.floating], count: int) -> NDArray[np.floating]:
    """Linear interpolation of the last axis at `count` points, the first and last on the first and last sample."""
    position = np.linspace(0, signal.shape[-1] - 1, count)
    left = np.minimum(position.astype(np.int64), max(signal.shape[-1] - 2, 0))
    weight = (position - left).astype(signal.dtype)
    right = np.minimum(left + 1, signal.shape[-1] - 1)
    low = signal[..., left]
    return low + (signal[..., right] - low) * weight


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
