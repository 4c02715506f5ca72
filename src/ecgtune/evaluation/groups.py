"""Predictions per recording or patient from those of its windows."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.errors import DataError
from ecgtune.evaluation.metrics import checked_predictions
from ecgtune.evaluation.several import checked_several

Pooled = Literal["mean", "maximum"]


@dataclass(frozen=True)
class GroupPredictions:
    """One prediction per group: identifier `(groups,)`, label and probability as of windows, `(groups, ...)`."""

    group: NDArray
    label: NDArray[np.int64]
    probability: NDArray[np.float64]

    def owners(self, group: ArrayLike, owner: ArrayLike | None) -> NDArray | None:
        """Whose each group is, `(groups,)`: group, owner are of the windows, so that recordings find their patient."""
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
    """Mean or maximum probability and label of each group, or one phrase that says why there are none.

    label, probability: as `measured` takes them; group: `(windows,)`; `group_name` ("record", "patient") only words the
    phrase. Of several classes or labels each has its own mean or maximum; a label that is missing in some windows is
    what the others say. There are none without groups, and none when a group holds windows of both labels (it then has
    no label of its own).
    """
    if group is None:
        return "the windows have no record or patient column"
    probability = np.asarray(probability)
    label, probability = (
        checked_predictions(label, probability) if probability.ndim == 1 else checked_several(label, probability)
    )
    identifier, index = group_index(group, len(label))
    if probability.ndim == 1:
        return _two_classes(label, probability, identifier, index, group_name, pooled)
    low, high = _extremes(label, index, len(identifier))
    mixed = (low >= 0) & (low != high)
    mixed = np.flatnonzero(mixed.any(axis=1) if mixed.ndim == 2 else mixed)
    if len(mixed):
        return _mixed(mixed, identifier, group_name, "different labels")
    # `high` is a label that some window has, -1 where no window has any.
    return GroupPredictions(identifier, high, _pooled(probability, index, len(identifier), pooled))


def pooled_probability(probability: NDArray, group: ArrayLike, pooled: Pooled = "mean") -> tuple[NDArray, NDArray]:
    """Sorted identifiers `(groups,)` and the mean or maximum probability of each one's windows, `(groups, ...)`."""
    identifier, index = group_index(group, len(probability))
    return identifier, _pooled(np.asarray(probability, np.float64), index, len(identifier), pooled)


def group_index(group: ArrayLike | None, windows: int) -> tuple[NDArray, NDArray[np.int64]]:
    """Sorted identifiers `(groups,)` and each window's place among them `(windows,)`; each window alone for None."""
    if group is None:
        return np.arange(windows), np.arange(windows)
    group = np.asarray(group)
    if group.shape != (windows,):
        raise DataError(f"groups have the shape {group.shape}; allowed is one per window, ({windows},)")
    identifier, index = np.unique(group, return_inverse=True)
    return identifier, index


def _two_classes(
    label: NDArray, probability: NDArray, identifier: NDArray, index: NDArray, group_name: str, pooled: Pooled
) -> GroupPredictions | str:
    windows = np.bincount(index)
    positives = np.bincount(index, weights=label)
    mixed = np.flatnonzero((positives > 0) & (positives < windows))
    if len(mixed):
        return _mixed(mixed, identifier, group_name, "both labels")
    return GroupPredictions(
        identifier, (positives > 0).astype(np.int64), _pooled(probability, index, len(identifier), pooled)
    )


def _pooled(probability: NDArray[np.float64], index: NDArray, groups: int, pooled: Pooled) -> NDArray[np.float64]:
    """Mean or maximum over the windows of each group, `(groups, ...)`."""
    if pooled == "maximum":
        result = np.zeros((groups, *probability.shape[1:]))
        np.maximum.at(result, index, probability)
        return result
    columns = probability[:, None] if probability.ndim == 1 else probability
    windows = np.bincount(index)
    mean = np.stack([np.bincount(index, weights=column) / windows for column in columns.T], axis=1)
    # The mean of numbers in [0, 1] can leave it by a rounding error.
    return np.clip(mean, 0.0, 1.0).reshape(groups, *probability.shape[1:])


def _extremes(label: NDArray[np.int64], index: NDArray, groups: int) -> tuple[NDArray, NDArray]:
    """Smallest known and largest label of each group, `(groups, ...)`; -1 where none is known."""
    highest = np.iinfo(np.int64).max
    low = np.full((groups, *label.shape[1:]), highest)
    high = np.full((groups, *label.shape[1:]), -1)
    np.minimum.at(low, index, np.where(label < 0, highest, label))
    np.maximum.at(high, index, label)
    return np.where(low == highest, -1, low), high


def _mixed(mixed: NDArray, identifier: NDArray, group_name: str, what: str) -> str:
    return (
        f"{len(mixed)} of {len(identifier)} {group_name}s hold windows of {what} "
        f"(first: {identifier[mixed[0]]}), so a {group_name} has no label of its own"
    )
