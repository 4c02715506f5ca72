"""Windows of one length out of recordings of any."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import choose
from ecgtune.errors import DataError

Short = Literal["repeat", "refuse"]
SHORTEST_SHARE = 0.5  # of a window, below which a recording is too short to be repeated


def segments(signal: NDArray[np.floating], samples: int) -> NDArray[np.floating]:
    """Cut (leads, n) into (n // samples, leads, samples) without overlap; the remainder is dropped."""
    count = signal.shape[-1] // samples
    cut = signal[:, : count * samples].reshape(signal.shape[0], count, samples)
    return np.ascontiguousarray(cut.transpose(1, 0, 2))


def cut_windows(
    signal: NDArray[np.floating], samples: int, step: int | None = None, short: Short = "repeat"
) -> NDArray[np.floating]:
    """Windows (windows, leads, samples) of a recording (leads, n), a view where it can be.

    One starts every `step` samples (default: `samples`, side by side; less overlaps) as long as it fits; the remainder
    is dropped. A recording shorter than a window gives one, in which it is repeated from its start, when it is at
    least half a window long. Repetition keeps amplitudes and rhythm as they are over the window, where zeros would
    change ECG-FM's answer even under a mask: its first norm runs over time.

    Raises DataError for a recording that is too short for that, or short at all with `short` "refuse".
    """
    choose(short, get_args(Short), "short")
    length = signal.shape[-1]
    if length < samples:
        if short == "refuse" or length < SHORTEST_SHARE * samples:
            allowed = "" if short == "refuse" else f", nor half of one ({int(np.ceil(SHORTEST_SHARE * samples))})"
            raise DataError(f"{length} samples do not fill a window of {samples}{allowed}; choose a shorter window")
        return np.pad(signal, ((0, 0), (0, samples - length)), mode="wrap")[None]
    view = np.lib.stride_tricks.sliding_window_view(signal, samples, axis=-1)[:, :: step or samples]
    return view.transpose(1, 0, 2)
