"""An estimate with a standard error, and what follows from both: interval, test, non-inferiority."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.metrics import checked_level

NORMAL = NormalDist()


@dataclass(frozen=True)
class Estimate:
    """A value, such as a difference in AUROC, that is normal around the truth with `standard_error`."""

    value: float
    standard_error: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the interval of Wald at `level`."""
        half = NORMAL.inv_cdf((1 + checked_level(level)) / 2) * self.standard_error
        return self.value - half, self.value + half

    @property
    def z(self) -> float:
        """The value in standard errors; 0 for 0 / 0, infinite for another value without an error."""
        if self.standard_error > 0:
            return self.value / self.standard_error
        return math.copysign(math.inf, self.value) if self.value else 0.0

    @property
    def p_value(self) -> float:
        """Two-sided, of a true value of 0."""
        return 2 * NORMAL.cdf(-abs(self.z))

    def non_inferiority(self, margin: float) -> float:
        """Return the one-sided p-value of a true value of `-margin` or less, such as a loss of 0.02 or more.

        It is below 0.025 where the 95 % interval lies above `-margin`. Raises SettingError unless `margin` is above 0.
        """
        if not margin > 0:
            raise SettingError(f"margin is {margin}; allowed: above 0, such as 0.02")
        return NORMAL.cdf(-Estimate(self.value + margin, self.standard_error).z)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values for their number: below 0.05, the chance of any false positive among them is below 0.05.

    Holm, Scandinavian Journal of Statistics 6, 1979, 65-70. `p_values` `(tests,)`, 0 to 1; returns `(tests,)`.
    """
    p = _checked(p_values)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(p[order] * np.arange(len(p), 0, -1), 1))
    return adjusted


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values for their number: below 0.05, at most 5 % of the positives are expected to be false.

    Benjamini and Hochberg, J. R. Statist. Soc. B 57, 1995, 289-300. `p_values` `(tests,)`, 0 to 1; returns `(tests,)`.
    """
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(_checked(p_values)))


def _checked(p_values: ArrayLike) -> NDArray[np.float64]:
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise DataError(f"p-values are {p_values}; allowed: one row of numbers from 0 to 1")
    return p
