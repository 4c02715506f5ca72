"""Predictions per recording or patient, pooled over windows."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.errors import DataError
from ecgtune.evaluation.metrics import checked_predictions

Pooled = Literal["mean", "maximum"]


@dataclass(frozen=True)
class GroupPredictions:
    """One prediction per group: identifier `(groups,)`, label and probability as for windows, `(groups, ...)`."""

    group: NDArray
    label: NDArray[np.int64]
    probability: NDArray[np.float64]

    def owners(self, group: ArrayLike, owner: ArrayLike | None) -> NDArray | None:
        """Return the owner of each group `(groups,)`, such as the patient of a recording; arguments: `(windows,)`."""
        if owner is None:
            return None
        first = np.unique(np.asarray(group), return_index=True)[1]
        return np.asarray(owner)[first]


def group_predictions(
    label: ArrayLike,
    probability: ArrayLike,
    group: ArrayLike | None,
    group_name: str = "record",
    pooled: Pooled = "mean",
) -> GroupPredictions | str:
    """Pool probability and label of each group, or return the reason as a phrase if that is impossible.

    label, probability: shapes as in `checked_predictions`; group: `(windows,)`; `group_name` ("record", "patient") is
    used in the phrase only. A label that is missing in some windows of a group is taken from the others. There are no
    group predictions without groups, or if windows of a group have different labels.
    """
    if group is None:
        return "the windows have no record or patient column"
    label, probability = checked_predictions(label, probability)
    identifier, index = group_index(group, len(label))
    low, high = _extremes(label, index, len(identifier))
    mixed = (low >= 0) & (low != high)
    mixed = np.flatnonzero(mixed.any(axis=1) if mixed.ndim == 2 else mixed)
    if len(mixed):
        return (
            f"{len(mixed)} of {len(identifier)} {group_name}s have windows of different labels "
            f"(first: {identifier[mixed[0]]}), so a {group_name} has no single label"
        )
    # `high` is the common label, -1 if it is missing in all windows.
    return GroupPredictions(identifier, high, _pooled(probability, index, len(identifier), pooled))


def pooled_probability(probability: NDArray, group: ArrayLike, pooled: Pooled = "mean") -> tuple[NDArray, NDArray]:
    """Return identifiers `(groups,)` and the mean or maximum probability of their windows `(groups, ...)`.

    Groups are in the order of their first windows.
    """
    identifier, index = group_index(group, len(probability))
    found = _pooled(np.asarray(probability, np.float64), index, len(identifier), pooled)
    order = np.argsort(np.unique(index, return_index=True)[1])
    return identifier[order], found[order]


def group_index(group: ArrayLike | None, windows: int) -> tuple[NDArray, NDArray[np.int64]]:
    """Return sorted identifiers `(groups,)` and the index of each window's one `(windows,)`; None: one per window."""
    if group is None:
        return np.arange(windows), np.arange(windows)
    group = np.asarray(group)
    if group.shape != (windows,):
        raise DataError(f"groups have the shape {group.shape}; allowed: one group per window, ({windows},)")
    identifier, index = np.unique(group, return_inverse=True)
    return identifier, index


def _pooled(probability: NDArray[np.float64], index: NDArray, groups: int, pooled: Pooled) -> NDArray[np.float64]:
    """Return the mean or maximum over the windows of each group `(groups, ...)`."""
    if pooled == "maximum":
        result = np.zeros((groups, *probability.shape[1:]))
        np.maximum.at(result, index, probability)
        return result
    columns = probability[:, None] if probability.ndim == 1 else probability
    windows = np.bincount(index)
    mean = np.stack([np.bincount(index, weights=column) / windows for column in columns.T], axis=1)
    # Rounding can move the mean of numbers in [0, 1] out of it.
    return np.clip(mean, 0.0, 1.0).reshape(groups, *probability.shape[1:])


def _extremes(label: NDArray[np.int64], index: NDArray, groups: int) -> tuple[NDArray, NDArray]:
    """Return the smallest known and the largest label of each group `(groups, ...)`; -1 if all are missing."""
    highest = np.iinfo(np.int64).max
    low = np.full((groups, *label.shape[1:]), highest)
    high = np.full((groups, *label.shape[1:]), -1)
    np.minimum.at(low, index, np.where(label < 0, highest, label))
    np.maximum.at(high, index, label)
    return np.where(low == highest, -1, low), high
