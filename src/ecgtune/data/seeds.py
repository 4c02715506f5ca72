"""Seeds of random draws."""

from numbers import Integral

from ecgtune.settings import require


def check_seed(seed: object) -> None:
    """Raise SettingError for anything but a whole number from 0 on."""
    allowed = isinstance(seed, Integral) and not isinstance(seed, bool) and int(seed) >= 0
    require(allowed, f"seed is {seed}; allowed: 0 or more (a whole number)")
