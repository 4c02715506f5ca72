"""The leads that are asked for out of the leads that were recorded."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: The other limb leads as sums of I and II, by Einthoven's law and Goldberger's definition of the augmented leads.
FROM_LIMBS = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}


def arrange_leads(
    signal: NDArray[np.floating], leads: Sequence[str], wanted: Sequence[str]
) -> tuple[NDArray[np.floating], tuple[str, ...], tuple[str, ...]]:
    """`signal` (leads, samples) in millivolts with the leads `wanted`, in that order; and which were derived, zeroed.

    A lead that was not recorded is derived where physics gives it: III = II - I, aVR = -(I + II) / 2,
    aVL = I - II / 2, aVF = II - I / 2. Any other becomes zeros, which is what ECG-FM takes a missing lead for. A
    recorded lead is never replaced.
    """
    place = {lead: channel for channel, lead in enumerate(leads)}
    limbs = "I" in place and "II" in place
    derived = tuple(lead for lead in wanted if lead not in place and lead in FROM_LIMBS and limbs)
    zeroed = tuple(lead for lead in wanted if lead not in place and lead not in derived)
    if not derived and not zeroed:
        order = [place[lead] for lead in wanted]
        return (signal if order == list(range(len(leads))) else signal[order]), (), ()
    result = np.zeros((len(wanted), signal.shape[1]), dtype=signal.dtype)
    for row, lead in enumerate(wanted):
        if lead in place:
            result[row] = signal[place[lead]]
        elif lead in derived:
            first, second = FROM_LIMBS[lead]
            result[row] = first * signal[place["I"]] + second * signal[place["II"]]
    return result, derived, zeroed
