"""Classification tasks: binary, multiclass or multilabel, as the shape of the labels determines."""

from collections.abc import Sequence, Sized
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Task = Literal["binary", "multiclass", "multilabel"]
MISSING = -1
"""In labels (windows, labels): not annotated, which is not negative."""


def task_of(label: NDArray, classes: Sequence[str]) -> Task:
    """Return the task of labels: (windows,) indices into `classes` or (windows, labels) of 1, 0 and MISSING."""
    if label.ndim == 2:
        return "multilabel"
    return "binary" if len(classes) == 2 else "multiclass"


def label_counts(label: NDArray, classes: Sized) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the windows with each class or label, and those for which it is known: two arrays (classes,)."""
    if label.ndim == 2:
        return (label == 1).sum(axis=0, dtype=np.int64), (label != MISSING).sum(axis=0, dtype=np.int64)
    counts = np.bincount(label, minlength=len(classes)).astype(np.int64)
    return counts, np.full(len(classes), len(label), dtype=np.int64)


def decided(label: NDArray, classes: Sized) -> NDArray[np.bool_]:
    """Return which classes or labels have windows both with and without them: (classes,)."""
    positives, known = label_counts(label, classes)
    return (positives > 0) & (positives < known)


def strata(label: NDArray) -> NDArray[np.int64]:
    """Return the stratum of each window, (windows,): its class, or with several labels its rarest label.

    Stratum 0 of several labels is "none of them". Combinations of labels would be almost as many as windows.
    """
    if label.ndim == 1:
        return label.astype(np.int64, copy=False)
    has = label == 1
    from_rarest = np.argsort(has.sum(axis=0), kind="stable")
    first = has[:, from_rarest].argmax(axis=1)
    return np.where(has.any(axis=1), from_rarest[first] + 1, 0).astype(np.int64)


def group_counts(label: NDArray, classes: Sequence[str], group: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """Count the windows of each class or label in each group, for stratification: (groups, columns).

    group: (windows,), index of each window's group, 0 .. groups - 1. Several labels have one more column with all
    windows, so that those without any label are divided too.
    """
    if label.ndim == 2:
        columns = [*(label == 1).T, np.ones(len(label), dtype=bool)]
    else:
        columns = [label == value for value in range(len(classes))]
    return np.stack([np.bincount(group[column], minlength=groups) for column in columns], axis=1)
