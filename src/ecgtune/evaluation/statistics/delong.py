"""AUROC and differences of two with the standard error of DeLong, for independent or for grouped windows.

DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988, 837-845; by ranks as in Sun and Xu, IEEE Signal Processing
Letters 21, 2014, 1389-1393. For windows of the same recording or patient, the variance is that of Obuchowski,
Biometrics 53, 1997, 567-578, which is DeLong's where each group has one window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.errors import DataError
from ecgtune.evaluation.groups import group_index
from ecgtune.evaluation.metrics import checked_predictions
from ecgtune.evaluation.statistics.estimate import Estimate


def delong_auroc(label: ArrayLike, probability: ArrayLike, group: ArrayLike | None = None) -> Estimate:
    """Estimate the AUROC. `label` `(windows,)` of 0 or 1, `probability` `(windows,)`, `group` `(windows,)` or None.

    Raises DataError for a class that has no window, or is in one group alone.
    """
    values, covariance = _covariance(label, [probability], group)
    return Estimate(float(values[0]), float(np.sqrt(max(covariance[0, 0], 0.0))))


def delong_difference(
    label: ArrayLike, first: ArrayLike, second: ArrayLike, group: ArrayLike | None = None
) -> Estimate:
    """Estimate the AUROC of `first` minus that of `second`, probabilities `(windows,)` of the same windows.

    Arguments and errors are those of `delong_auroc`.
    """
    values, covariance = _covariance(label, [first, second], group)
    contrast = np.array([1.0, -1.0])
    return Estimate(float(contrast @ values), float(np.sqrt(max(contrast @ covariance @ contrast, 0.0))))


def _covariance(label: ArrayLike, each: list[ArrayLike], group: ArrayLike | None) -> tuple[NDArray, NDArray]:
    """Return the AUROC of each prediction `(n,)` and their covariance `(n, n)`."""
    checked = [checked_predictions(label, probability) for probability in each]
    positive = checked[0][0] == 1
    index = group_index(group, len(positive))[1]
    of_positives, of_negatives = index[positive], index[~positive]
    for name, own in (("positive", of_positives), ("negative", of_negatives)):
        if len(np.unique(own)) < 2:
            raise DataError(
                f"{len(np.unique(own))} groups have {name} windows; a standard error of AUROC needs 2 or more"
            )
    groups = int(index.max()) + 1
    values, sums = [], []
    for _, score in checked:
        above, below = _placements(score[positive], score[~positive])
        area = above.mean()
        values.append(area)
        # Sums over the windows of each group of what a window adds to the deviation of the AUROC.
        sums.append(
            [
                np.bincount(of_positives, above - area, groups) / len(above),
                np.bincount(of_negatives, below - area, groups) / len(below),
            ]
        )
    parts = np.array(sums)  # (n, 2, groups)
    present = [len(np.unique(own)) for own in (of_positives, of_negatives)]
    scale = np.sqrt([count / (count - 1) for count in present])
    within = np.einsum("akg,bkg,k->ab", parts, parts, scale**2)
    both = len(np.unique(index))
    between = both / (both - 1) * np.einsum("ag,bg->ab", parts[:, 0], parts[:, 1])
    return np.array(values), within + between + between.T


def _placements(positive: NDArray, negative: NDArray) -> tuple[NDArray, NDArray]:
    """Fraction of negatives below each positive, and of positives above each negative; ties count one half."""
    in_order = np.sort(negative)
    below = (np.searchsorted(in_order, positive, "left") + np.searchsorted(in_order, positive, "right")) / 2
    in_order = np.sort(positive)
    above = (np.searchsorted(in_order, negative, "left") + np.searchsorted(in_order, negative, "right")) / 2
    return below / len(negative), 1 - above / len(positive)
