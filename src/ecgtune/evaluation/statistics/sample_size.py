"""Recordings that a test set needs for an interval of a stated width."""

from __future__ import annotations

import math

from ecgtune.errors import SettingError
from ecgtune.evaluation.metrics import checked_level
from ecgtune.evaluation.statistics.estimate import NORMAL


def proportion_size(
    proportion: float, width: float, *, prevalence: float = 1.0, level: float = 0.95, design_effect: float = 1.0
) -> int:
    """Return the number of recordings for an interval of a proportion that is `width` wide from end to end.

    `proportion`: the expected accuracy, sensitivity or specificity. `prevalence`: the fraction of recordings that count
    for it, such as that of the positive ones for sensitivity (Buderer, Academic Emergency Medicine 3, 1996, 895-900).
    `design_effect`: see `design_effect`. Raises SettingError for a value that cannot be.
    """
    for name, value in (("proportion", proportion), ("width", width), ("prevalence", prevalence)):
        _between(name, value, 1.0 if name == "prevalence" else None)
    half = width / 2 / NORMAL.inv_cdf((1 + checked_level(level)) / 2)
    return _counted(proportion * (1 - proportion) / half**2 / prevalence * design_effect)


def auroc_size(
    auroc: float, width: float, *, prevalence: float, level: float = 0.95, design_effect: float = 1.0
) -> int:
    """Return the number of recordings for an interval of AUROC that is `width` wide from end to end.

    `auroc`: the expected value. `prevalence`: the fraction of positive recordings. The standard error is that of Hanley
    and McNeil, Radiology 143, 1982, 29-36. Raises SettingError for a value that cannot be.
    """
    for name, value in (("auroc", auroc), ("width", width), ("prevalence", prevalence)):
        _between(name, value)
    wanted = width / 2 / NORMAL.inv_cdf((1 + checked_level(level)) / 2)
    low, high = 2.0, 4.0
    while hanley_mcneil_error(auroc, high * prevalence, high * (1 - prevalence)) > wanted:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        enough = hanley_mcneil_error(auroc, middle * prevalence, middle * (1 - prevalence)) <= wanted
        low, high = (low, middle) if enough else (middle, high)
    return _counted(high * design_effect)


def hanley_mcneil_error(auroc: float, positives: float, negatives: float) -> float:
    """Return the standard error of an AUROC from its value and the numbers of recordings (Hanley and McNeil 1982)."""
    below, above = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    own = auroc**2
    variance = auroc - own + (positives - 1) * (below - own) + (negatives - 1) * (above - own)
    return math.sqrt(max(variance, 0.0) / (positives * negatives))


def design_effect(windows_per_group: float, correlation: float) -> float:
    """Return the factor by which correlated windows exceed independent ones: 1 + (m - 1) * correlation.

    `correlation`: of the windows of one group, 0 to 1. Kish, Survey Sampling, 1965.
    """
    if not 0 <= correlation <= 1 or windows_per_group < 1:
        raise SettingError(
            f"{windows_per_group} windows per group with a correlation of {correlation}; allowed: 1 or more, and 0 to 1"
        )
    return 1 + (windows_per_group - 1) * correlation


def _between(name: str, value: float, end: float | None = None) -> None:
    if not (0 < value < 1 or value == end):
        raise SettingError(f"{name} is {value}; allowed: between 0 and 1")


def _counted(number: float) -> int:
    return math.ceil(number - 1e-9)
