"""Which windows of a test split a report shows: right and wrong ones, of which the run is surest and least sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.positive import POSITIVE
from ecgtune.evaluation.coverage import wrong
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.external import Measured

#: Whether the decision is wrong, and whether the surest windows are taken, in the order of a report.
KINDS = {
    "wrong, surest": (True, True),
    "wrong, least sure": (True, False),
    "right, surest": (False, True),
    "right, least sure": (False, False),
}


@dataclass(frozen=True)
class Case:
    """A window of a test split: its place there, its kind, the class or label that is explained, and the confidence."""

    place: int
    kind: str
    number: int
    confidence: float


def choose_cases(data: Measured, decision: Decision, each: int) -> list[Case]:
    """Return at most `each` windows of every kind, no two of one patient or recording.

    The class that is explained is the predicted one; of several labels the one that is furthest from the truth if the
    decision is wrong, else the most probable one. Windows without a known label are left out.
    """
    error, sure = wrong(data, decision), decision.confidence(data.probability)
    group = np.arange(len(error)) if data.group is None else np.unique(data.group, return_inverse=True)[1]
    taken: set[int] = set()
    found = []
    for kind, (is_wrong, surest) in KINDS.items():
        places = np.flatnonzero(error > 0 if is_wrong else error == 0)
        order = places[np.argsort(-sure[places] if surest else sure[places], kind="stable")]
        chosen = []
        for place in order.tolist():
            if len(chosen) < each and int(group[place]) not in taken:
                chosen.append(place)
                taken.add(int(group[place]))
        found += [Case(place, kind, _explained(data, decision, place), float(sure[place])) for place in chosen]
    return found


def _explained(data: Measured, decision: Decision, place: int) -> int:
    if decision.task == "binary":
        return POSITIVE if decision(data.probability[place : place + 1])[0] else 1 - POSITIVE
    if decision.task == "multiclass":
        return int(decision(data.probability[place : place + 1])[0])
    probability, label = np.asarray(data.probability[place]), np.asarray(data.label[place])
    different = (decision(probability[None])[0] != label) & (label >= 0)
    distance: NDArray[np.float64] = np.where(different, np.abs(probability - label), -1.0)
    return int(distance.argmax() if different.any() else probability.argmax())
