"""Seeds of random draws."""

from numbers import Integral

import numpy as np

from ecgtune.config.base import require


def check_seed(seed: object) -> None:
    """Raise SettingError for anything but a whole number from 0 on."""
    allowed = isinstance(seed, Integral) and not isinstance(seed, bool) and int(seed) >= 0
    require(allowed, f"seed is {seed}; allowed: 0 or more (a whole number)")


def generator(*key: int) -> np.random.Generator:
    """A generator that depends on the numbers of `key` (0 or more each) alone."""
    return np.random.Generator(np.random.PCG64(list(key)))
