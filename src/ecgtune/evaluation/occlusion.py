"""Occlusion: which stretch of which lead a prediction depends on, of any model that predicts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

#: Windows that are predicted at once.
BATCH = 64


def occlusion(
    score: Callable[[NDArray[np.float32]], NDArray[np.float64]], window: NDArray[np.float32], width: int
) -> NDArray[np.float64]:
    """Return by how much the score falls when a stretch of a lead is replaced by a line between its ends.

    score: windows (windows, leads, samples) to scores (windows,), such as log-odds. window: (leads, samples). width:
    samples of a stretch, which moves by half of itself. The value of a sample (leads, samples) is the mean over the
    stretches that cover it; it is positive where the signal speaks for the class. Zeiler and Fergus, Visualizing and
    Understanding Convolutional Networks, ECCV 2014, section 4.2, with a line in place of a grey square, which would be
    a step in a signal.
    """
    leads, samples = window.shape
    width = min(max(width, 2), samples)
    step = max(1, width // 2)
    starts = [*range(0, samples - width, step), samples - width]
    places = [(lead, start) for lead in range(leads) for start in starts]
    whole = float(score(window[None])[0])
    total, covered = np.zeros((leads, samples)), np.zeros((leads, samples))
    for first in range(0, len(places), BATCH):
        chosen = places[first : first + BATCH]
        changed = np.repeat(window[None], len(chosen), axis=0)
        for row, (lead, start) in enumerate(chosen):
            ends = window[lead, start], window[lead, start + width - 1]
            changed[row, lead, start : start + width] = np.linspace(*ends, width)
        for (lead, start), value in zip(chosen, score(changed), strict=True):
            total[lead, start : start + width] += whole - value
            covered[lead, start : start + width] += 1
    return total / covered
