"""What is asked of a window: which of two classes, which of several, or which of several labels it has.

The labels themselves say which task it is: one class index per window, or one 0 / 1 / missing per window and label.
"""

from collections.abc import Sequence, Sized
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Task = Literal["binary", "multiclass", "multilabel"]
MISSING = -1
"""In labels (windows, labels): nobody has said whether the window has this label. That is not a negative."""


def task_of(label: NDArray, classes: Sequence[str]) -> Task:
    """The task of labels: (windows,) indices into `classes` or (windows, labels) of 1, 0 and MISSING."""
    if label.ndim == 2:
        return "multilabel"
    return "binary" if len(classes) == 2 else "multiclass"


def label_counts(label: NDArray, classes: Sized) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many windows have each class or label, and of how many that is known: two arrays (classes,)."""
    if label.ndim == 2:
        return (label == 1).sum(axis=0, dtype=np.int64), (label != MISSING).sum(axis=0, dtype=np.int64)
    counts = np.bincount(label, minlength=len(classes)).astype(np.int64)
    return counts, np.full(len(classes), len(label), dtype=np.int64)


def decided(label: NDArray, classes: Sized) -> NDArray[np.bool_]:
    """Which classes or labels have both a window with and a window without them: (classes,)."""
    positives, known = label_counts(label, classes)
    return (positives > 0) & (positives < known)


def strata(label: NDArray) -> NDArray[np.int64]:
    """The stratum of each window, (windows,): its class; with several labels, the rarest label that it has.

    Stratum 0 of several labels is "none of them". Combinations of labels as strata would be as many as windows.
    """
    if label.ndim == 1:
        return label.astype(np.int64, copy=False)
    has = label == 1
    from_rarest = np.argsort(has.sum(axis=0), kind="stable")
    first = has[:, from_rarest].argmax(axis=1)
    return np.where(has.any(axis=1), from_rarest[first] + 1, 0).astype(np.int64)


def group_counts(label: NDArray, classes: Sequence[str], group: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """What has to be shared out fairly when groups are: (groups, columns) windows of each class, or of each label.

    group: (windows,), place of each window's group, 0 .. groups - 1. Several labels get one more column with all
    windows, so that those without any label are shared out too.
    """
    if label.ndim == 2:
        columns = [*(label == 1).T, np.ones(len(label), dtype=bool)]
    else:
        columns = [label == value for value in range(len(classes))]
    return np.stack([np.bincount(group[column], minlength=groups) for column in columns], axis=1)
