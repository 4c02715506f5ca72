"""From one sampling rate to another."""

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly

from ecgtune.errors import SettingError

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
