"""Signs of a signal that the recorder could not follow."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SATURATED_SECONDS = 0.03  # as long at the lead's very end is a plateau: a peak of a QRS complex is sharper
SATURATED_SHARE = 0.005  # of all samples on such plateaus, above which the lead is saturated


def saturated_leads(signal: NDArray[np.floating], sampling_rate: float) -> NDArray[np.bool_]:
    """Which leads (leads,) of (leads, samples) rest at their largest or smallest value: cut off by the recorder.

    A lead is, when at least 0.5 % of its samples lie in runs of 30 ms (and three samples) or more at one of the two
    values. A lead that never changes is constant, not saturated.
    """
    run = max(3, int(np.ceil(SATURATED_SECONDS * sampling_rate)))
    found = np.zeros(len(signal), dtype=bool)
    for index, lead in enumerate(signal):
        low, high = lead.min(), lead.max()
        if low < high:
            held = _samples_in_runs(lead == high, run) + _samples_in_runs(lead == low, run)
            found[index] = held >= SATURATED_SHARE * len(lead)
    return found


def share_standing_still(lead: NDArray[Any], shortest: int) -> float:
    """Share of samples in runs of at least `shortest` equal values."""
    edges = np.flatnonzero(np.concatenate([[True], lead[1:] != lead[:-1], [True]]))
    runs = np.diff(edges)
    return float(runs[runs >= shortest].sum() / len(lead))


def share_at_the_ends(lead: NDArray[Any]) -> float:
    """Share of samples that equal the largest or smallest value and so does the sample before."""
    ends = (lead == lead.max()) | (lead == lead.min())
    return float((ends[1:] & ends[:-1]).mean()) if len(lead) > 1 else 0.0


def _samples_in_runs(mask: NDArray[np.bool_], shortest: int) -> int:
    if np.count_nonzero(mask) < shortest:  # almost every lead: quicker than looking for runs
        return 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    runs = edges[1::2] - edges[::2]
    return int(runs[runs >= shortest].sum())
