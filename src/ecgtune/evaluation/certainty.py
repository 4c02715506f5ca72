"""What validation says about the confidence of a run: thresholds of prediction sets and of abstention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.tasks import Task
from ecgtune.errors import SettingError
from ecgtune.utils.schema import Count, Fraction

Array = NDArray[np.float64]

#: Coverage that prediction sets promise.
COVERAGE = 0.9
#: Fractions at which quantiles of the confidence are stored.
FRACTIONS = tuple(number / 100 for number in range(101))
#: Probabilities this close count as equal: an exported file gives them as float32, and a calibration by steps makes
#: many windows equal to a threshold.
ROUNDING = 1e-6
#: Between the classes of a set in tables.
OR = " or "


class UnitFacts(TypedDict):
    """Thresholds of prediction sets and quantiles of the confidence, of windows or recordings, in a file."""

    thresholds: list[Fraction]
    confidence: list[Fraction]
    groups: Count
    by_class: NotRequired[list[list[Fraction]]]


class CertaintyFacts(TypedDict):
    """Prediction sets and abstention of a run in a file."""

    level: Fraction
    window: UnitFacts
    recording: UnitFacts | None


@dataclass(frozen=True)
class UnitCertainty:
    """Thresholds for windows, or for recordings.

    thresholds: a class is in the prediction set if its probability is at least this; one for classes, one for each
    label, whose set holds its presence, its absence, both or neither. confidence: quantiles on validation at
    `FRACTIONS`. groups: patients or recordings of validation. by_class: thresholds of sets that cover classes alike,
    (1, classes), of labels (labels, 2) for absent and present; empty for a run of an earlier version.
    """

    thresholds: tuple[float, ...]
    confidence: tuple[float, ...]
    groups: int
    by_class: tuple[tuple[float, ...], ...] = ()

    def sets(self, probability: Array, task: Task, *, by_class: bool = False) -> NDArray[np.bool_]:
        """Return what is in the prediction sets: (windows, classes), of labels (windows, labels, 2) absent, present.

        probability: `(windows,)` of the positive class, `(windows, classes)` or `(windows, labels)`. by_class: sets
        that cover all classes alike.
        """
        limit = np.array(self.by_class if by_class else self.thresholds)
        if not by_class and task == "multilabel":
            limit = limit[:, None]
        # Rounding must not take a class out that was at the threshold in validation.
        return sides_of(probability, task) >= (limit if task == "multilabel" else limit.ravel()) - ROUNDING

    def least_confidence(self, fraction: float) -> float:
        """Return the confidence below which a run abstains, so that it does for `fraction` of validation."""
        return float(np.interp(fraction, FRACTIONS, self.confidence)) - ROUNDING


@dataclass(frozen=True)
class Certainty:
    """Prediction sets and abstention of a run, per window and, where it has recordings of one label, per recording."""

    level: float
    window: UnitCertainty
    recording: UnitCertainty | None

    def to_dict(self) -> dict[str, Any]:
        """Return the entry `certainty` of model.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any] | None, thresholds: int = 1) -> Certainty | None:
        """Return the certainty of a result of `to_dict`, a `CertaintyFacts`; None for a run without one.

        thresholds: how many a unit has, the number of labels or 1. Raises ValueError for another number.
        """
        if stored is None:
            return None
        for entry in filter(None, (stored["window"], stored["recording"])):
            for name, wanted in (("thresholds", thresholds), ("confidence", len(FRACTIONS))):
                if len(entry[name]) != wanted:
                    raise ValueError(f"{len(entry[name])} of {wanted} values of {name}")
            by_class = entry.get("by_class", [])
            if by_class and (len(by_class) != thresholds or len({len(row) for row in by_class}) != 1):
                raise ValueError(f"by_class has {len(by_class)} of {thresholds} rows, or rows of different lengths")
        units = [
            entry
            and UnitCertainty(
                tuple(entry["thresholds"]),
                tuple(entry["confidence"]),
                entry["groups"],
                tuple(tuple(row) for row in entry.get("by_class", [])),
            )
            for entry in (stored["window"], stored["recording"])
        ]
        return cls(stored["level"], *units)


def sides_of(probability: Array, task: Task) -> Array:
    """Return the probability of everything that may be in a set: (windows, classes), of labels (windows, labels, 2)."""
    return probability if task == "multiclass" else np.stack([1 - probability, probability], axis=-1)


def set_texts(sets: NDArray[np.bool_], classes: Sequence[str], task: Task) -> list[list[str]]:
    """Return the cells of prediction sets in tables: one per window, `N or AF`; of labels one per label, `0 or 1`."""
    if task == "multilabel":
        return [[OR.join(str(value) for value in np.flatnonzero(label)) for label in row] for row in sets]
    return [[OR.join(name for name, there in zip(classes, row, strict=True) if there)] for row in sets]


def set_names(classes: Sequence[str], task: Task) -> list[str]:
    """Return the names of the columns of prediction sets."""
    return [f"set_{name}" for name in classes] if task == "multilabel" else ["set"]


def check_certainty(certainty: Certainty | None, fraction: float | None, by_class: bool) -> None:
    """Raise SettingError where a run cannot abstain, or has no sets that cover every class alike."""
    if by_class and (certainty is None or not certainty.window.by_class):
        raise SettingError(
            "--sets class needs thresholds of each class, which an ensemble, or a run or export of an earlier version, "
            "does not have; train the run again, or leave the flag out"
        )
    if fraction is not None and certainty is None:
        raise SettingError(
            "--abstain needs the confidence on validation, which an ensemble, or a run or export of an earlier version,"
            " does not have; train the run again, or leave the flag out"
        )
