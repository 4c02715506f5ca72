"""Filters without delay: forwards and backwards over the whole recording, before it is cut."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, iirnotch, sosfiltfilt, tf2sos

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
