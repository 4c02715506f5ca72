"""Gaps, and leads that a recorder saturated, clipped or lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError

SATURATED_SECONDS = 0.03  # of a plateau at the limit of a lead: a peak of a QRS complex is sharper
SATURATED_FRACTION = 0.005  # of samples on such plateaus, from which a lead is saturated
PLAUSIBLE_MILLIVOLTS = (0.01, 20.0)  # of the median absolute amplitude around a lead's median
MOST_MILLIVOLTS = 1000.0  # of a sample, offsets of electrodes included; amplifiers saturate earlier
LONGEST_GAP = 2.0  # seconds that may be interpolated: a line over several beats is no ECG
_AMPLITUDE_SAMPLES = 1 << 17  # of a lead, on which its amplitude is measured


def fill_gaps(
    signal: NDArray[np.floating], sampling_rate: float, longest: float, leads: Sequence[str] = ()
) -> tuple[NDArray[np.floating], float, NDArray[np.bool_]]:
    """Interpolate gaps (NaN) of up to `longest` seconds in (leads, samples).

    Returns the signal, the seconds that were filled (over all leads), and a mask (leads,) of missing leads, which hold
    only NaN and become zeros. A gap at the start or end of a lead gets the nearest sample. leads: names for messages.
    Raises DataError for a longer gap or an infinite sample.
    """
    good = np.isfinite(signal)
    if good.all():
        return signal, 0.0, np.zeros(len(signal), dtype=bool)
    if np.isinf(signal).any():
        lead, sample = np.argwhere(np.isinf(signal))[0]
        raise DataError(f"{_name(leads, lead)} is infinite at {sample / sampling_rate:.2f} s; repair the file")
    missing = np.logical_not(good.any(axis=1))
    filled = np.where(missing[:, None], 0, signal).astype(signal.dtype, copy=False)
    seconds, index = 0.0, np.arange(signal.shape[1])
    for lead in np.flatnonzero(~missing & ~good.all(axis=1)):
        start, stop = runs_of(~good[lead])
        longest_here = int((stop - start).argmax())
        length = float(stop[longest_here] - start[longest_here]) / sampling_rate
        if length > longest:
            starts, stops = between_gaps(signal, sampling_rate, longest)
            free = (stops - starts).max(initial=0) / sampling_rate
            rest = f"gaps of up to {longest:g} s are closed (--longest-gap); the longest part between longer gaps lasts"
            rest = f"{rest} {free:.4g} s" if free else _together(good, sampling_rate, leads)
            gap = f"a gap of {length:.2f} s at {start[longest_here] / sampling_rate:.2f} s"
            raise DataError(f"{_name(leads, lead)} has {gap}; {rest}")
        filled[lead] = np.interp(index, index[good[lead]], signal[lead, good[lead]])
        seconds += float((stop - start).sum()) / sampling_rate
    return filled, seconds, missing


def _together(good: NDArray[np.bool_], sampling_rate: float, leads: Sequence[str]) -> str:
    """What to do where some lead is missing at any time: the leads of the longest part that several share."""
    parts: dict[tuple[int, int], list[str]] = {}
    for lead, valid in enumerate(good):
        starts, stops = runs_of(valid)
        if len(starts):
            longest = int((stops - starts).argmax())
            part = (int(starts[longest]), int(stops[longest]))
            parts.setdefault(part, []).append(leads[lead] if leads else f"channel {lead + 1}")
    (start, stop), names = max(parts.items(), key=lambda item: (item[0][1] - item[0][0], len(item[1])))
    seconds = math.floor(1000 * (stop - start) / sampling_rate) / 1000
    together = f"{'leads ' if leads else ''}{' '.join(names)} in windows of {seconds:g} s"
    return f"some lead is missing at any time; keep leads that were recorded together, such as {together}"


def between_gaps(
    signal: NDArray[np.floating], sampling_rate: float, longest: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and stops of the parts of (leads, samples) in which no recorded lead has a gap longer than `longest` s."""
    good = np.isfinite(signal)
    blocked = np.zeros(signal.shape[1], dtype=bool)
    for lead in good[good.any(axis=1)]:
        for start, stop in zip(*runs_of(~lead), strict=True):
            blocked[start:stop] |= (stop - start) / sampling_rate > longest
    return runs_of(~blocked)


def _name(leads: Sequence[str], channel: np.intp) -> str:
    return f"lead {leads[int(channel)]}" if leads else f"channel {channel + 1}"


def saturated_leads(signal: NDArray[np.floating], sampling_rate: float) -> NDArray[np.bool_]:
    """Return which leads (leads,) of (leads, samples) the recorder cut off at their largest or smallest value.

    At least 0.5 % of the samples of such a lead are in runs of 30 ms (and three samples) or more at one of the two
    values. A constant lead is not saturated.
    """
    run = max(3, int(np.ceil(SATURATED_SECONDS * sampling_rate)))
    found = np.zeros(len(signal), dtype=bool)
    for index, lead in enumerate(signal):
        low, high = lead.min(), lead.max()
        if low < high:
            held = _samples_inruns_of(lead == high, run) + _samples_inruns_of(lead == low, run)
            found[index] = held >= SATURATED_FRACTION * len(lead)
    return found


def implausible_amplitude(signal: NDArray[np.floating]) -> str | None:
    """Describe an amplitude of (leads, samples) in millivolts that no ECG has; None for a plausible one.

    Measured is the median absolute difference to a lead's median: below 0.01 mV over all leads that change, or above
    20 mV in one lead. The usual reason is a wrong unit.
    """
    values = signal[:, :: -(-signal.shape[1] // _AMPLITUDE_SAMPLES)]
    values = values[np.isfinite(values).any(axis=1)]
    medians = np.nanmedian(values, axis=1, keepdims=True)
    amplitude = np.nanmedian(np.abs(values - medians), axis=1)
    amplitude = amplitude[np.nanmax(values, axis=1) > np.nanmin(values, axis=1)]
    low, high = PLAUSIBLE_MILLIVOLTS
    if not len(amplitude) or (np.median(amplitude) >= low and amplitude.max() <= high):
        return None
    side = f"above {high:g}" if amplitude.max() > high else f"below {low:g}"
    return f"the median absolute amplitude is {side} mV, implausible for an ECG"


def impossible_samples(signal: NDArray[np.floating], leads: Sequence[str]) -> str | None:
    """Name the lead of (leads, samples) in millivolts with the largest sample, if beyond 1 V, which no ECG has."""
    peaks = np.fmax.reduce(np.abs(signal), axis=1, initial=0)  # 0 where a lead has NaN only
    largest = int(peaks.argmax())
    return (
        f"lead {leads[largest]} has samples beyond 1 V, which no ECG has" if peaks[largest] > MOST_MILLIVOLTS else None
    )


def doubted_amplitude(signal: NDArray[np.floating], leads: Sequence[str]) -> str | None:
    """The finding of `implausible_amplitude` or `impossible_samples`: of the last where it is that of a few leads."""
    peaks = np.fmax.reduce(np.abs(signal), axis=1, initial=0)
    lead = impossible_samples(signal, leads)
    return lead if lead and np.median(peaks) <= MOST_MILLIVOLTS else implausible_amplitude(signal) or lead


def constant_fraction(lead: NDArray[Any], shortest: int) -> float:
    """Return the fraction of samples in runs of at least `shortest` equal values."""
    edges = np.flatnonzero(np.concatenate([[True], lead[1:] != lead[:-1], [True]]))
    runs = np.diff(edges)
    return float(runs[runs >= shortest].sum() / len(lead))


def extreme_fraction(lead: NDArray[Any]) -> float:
    """Return the fraction of samples that, like the sample before, are at the largest or smallest value."""
    ends = (lead == lead.max()) | (lead == lead.min())
    return float((ends[1:] & ends[:-1]).mean()) if len(lead) > 1 else 0.0


def _samples_inruns_of(mask: NDArray[np.bool_], shortest: int) -> int:
    if np.count_nonzero(mask) < shortest:  # almost every lead: quicker than looking for runs
        return 0
    start, stop = runs_of(mask)
    runs = stop - start
    return int(runs[runs >= shortest].sum())


def runs_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first and one past last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return edges[::2], edges[1::2]
