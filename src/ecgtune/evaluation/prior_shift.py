"""Probabilities at another prevalence, and the prevalence of unlabelled data.

Both assume that only the frequencies of the classes differ between two data sets, not their signals (label shift), and
that the probabilities are calibrated at the first prevalence. Saerens, Latinne and Decaestecker, Neural Computation 14,
2002, 21-41. A prevalence is `(classes,)` of one class each, which sum to 1, or `(labels,)` of independent labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.data.tasks import Task, label_counts
from ecgtune.errors import DataError, SettingError

Array = NDArray[np.float64]
_STEPS, _TOLERANCE = 10_000, 1e-9


def prevalence_of(label: NDArray, classes: Sequence[str]) -> Array:
    """Return the fraction of known windows with each class or label; NaN for a label without a known window."""
    positives, known = label_counts(label, classes)
    return np.divide(positives, known, out=np.full(len(classes), np.nan), where=known > 0)


def shifted(probability: ArrayLike, before: ArrayLike, after: ArrayLike, task: Task) -> Array:
    """Return the probabilities at the prevalence `after` of a model that is calibrated at `before` (their eq. 2.4).

    probability: as in `evaluate`, of two classes of the positive one; the prevalences have both classes. A label whose
    prevalence is 0, 1 or NaN on either side keeps its probabilities.
    """
    probability = np.asarray(probability, np.float64)
    before, after = (np.asarray(each, np.float64) for each in (before, after))
    if task == "multiclass":
        scaled = probability * np.divide(after, before, out=np.zeros_like(after), where=before > 0)
        return scaled / scaled.sum(axis=1, keepdims=True)
    if task == "binary":
        before, after = before[1:], after[1:]
    factor = np.ones_like(before)
    inside = (before > 0) & (before < 1) & (after > 0) & (after < 1)
    factor[inside] = (after * (1 - before) / (before * (1 - after)))[inside]
    scaled = probability * (factor[0] if task == "binary" else factor)
    return scaled / (scaled + 1 - probability)


def estimated_prevalence(probability: ArrayLike, before: ArrayLike, task: Task) -> Array:
    """Estimate the prevalence of data without labels from their probabilities, by expectation maximisation (eq. 2.9).

    Arguments as in `shifted`. Each label is estimated by itself. Raises DataError without windows.
    """
    probability, before = np.asarray(probability, np.float64), np.asarray(before, np.float64)
    if not len(probability):
        raise DataError("there are no windows to estimate a prevalence from")
    if task == "multilabel":
        pairs = [
            estimated_prevalence(column, [1 - prior, prior], "binary")[1] if 0 < prior < 1 else prior
            for column, prior in zip(probability.T, before, strict=True)
        ]
        return np.array(pairs)
    after = before.copy()
    for _ in range(_STEPS):
        found = shifted(probability, before, after, task)
        mean = np.array([1 - found.mean(), found.mean()]) if task == "binary" else found.mean(axis=0)
        if np.abs(mean - after).max() < _TOLERANCE:
            return mean
        after = mean
    return after


def stated_prevalence(stated: Mapping[str, float], before: Array, classes: Sequence[str], task: Task) -> Array:
    """Return the prevalence with the stated classes or labels, and the others in their former proportions.

    Raises SettingError for an unknown name, or values that cannot be.
    """
    after = before.copy()
    for name, value in stated.items():
        if name not in classes:
            raise SettingError(f"--prevalence {name}={value:g}: no such class; allowed: {', '.join(classes)}")
        if not 0 < value < 1:
            raise SettingError(f"--prevalence {name}={value:g}; allowed: between 0 and 1")
        after[list(classes).index(name)] = value
    if task == "multilabel" or not stated:
        return after
    own = np.array([name in stated for name in classes])
    rest = 1 - after[own].sum()
    if (rest < 0 if not own.all() else abs(rest) > 1e-6) or (not own.all() and rest == 0):
        raise SettingError(
            f"--prevalence: the stated classes have {after[own].sum():g} in all; allowed: below 1 in all"
        )
    if not own.all():
        after[~own] *= rest / before[~own].sum()
    return after
