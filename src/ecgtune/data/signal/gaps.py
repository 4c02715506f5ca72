"""Samples that a file marks as invalid."""

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError


def fill_gaps(
    signal: NDArray[np.floating], sampling_rate: float, longest: float
) -> tuple[NDArray[np.floating], float, NDArray[np.bool_]]:
    """Close gaps (NaN) of up to `longest` seconds in (leads, samples), and say how many seconds that were.

    Gives the signal, the seconds that were filled (over all leads), and a mask (leads,) of those that hold nothing but
    NaN: they are missing, become zeros, and are no gap. A gap is closed by the straight line between its ends, at the
    start or the end of a lead by the nearest sample. Raises DataError for a longer gap or an infinite sample.
    """
    good = np.isfinite(signal)
    if good.all():
        return signal, 0.0, np.zeros(len(signal), dtype=bool)
    if np.isinf(signal).any():
        lead, sample = np.argwhere(np.isinf(signal))[0]
        raise DataError(f"channel {lead + 1} is infinite at {sample / sampling_rate:.2f} s; repair the file")
    missing = np.logical_not(good.any(axis=1))
    filled = np.where(missing[:, None], 0, signal).astype(signal.dtype, copy=False)
    seconds, index = 0.0, np.arange(signal.shape[1])
    for lead in np.flatnonzero(~missing & ~good.all(axis=1)):
        start, stop = _runs(~good[lead])
        longest_here = int((stop - start).argmax())
        length = float(stop[longest_here] - start[longest_here]) / sampling_rate
        if length > longest:
            raise DataError(
                f"channel {lead + 1} has a gap of {length:.2f} s at {start[longest_here] / sampling_rate:.2f} s;"
                f" gaps of up to {longest:g} s are closed (--longest-gap)"
            )
        filled[lead] = np.interp(index, index[good[lead]], signal[lead, good[lead]])
        seconds += float((stop - start).sum()) / sampling_rate
    return filled, seconds, missing


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and one past last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return edges[::2], edges[1::2]
