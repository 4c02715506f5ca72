"""Numbers as readers see them; a missing one is `n/a` everywhere."""

from collections.abc import Callable, Mapping
from typing import Any

MISSING = "n/a"
#: Of an interval: all resamples agree, because there are too few windows or errors.
TOO_FEW = "too few"


def score(value: float | None) -> str:
    """A metric with three decimals."""
    return MISSING if value is None else f"{value:.3f}"


def with_std(entry: Mapping[str, Any]) -> str:
    """`0.842 ± 0.013` of a metric in results.json; without a deviation (one seed) the mean alone."""
    return f"{score(entry['mean'])} {std(entry)}".rstrip()


def interval(entry: Mapping[str, Any]) -> str:
    """`0.810 to 0.870`; `n/a` when an end is missing, `too few` (alone or behind) where all resamples agree."""
    return _interval(entry, score)


def std(entry: Mapping[str, Any]) -> str:
    """`± 0.013`, empty for one seed."""
    return "" if entry["std"] is None else f"± {entry['std']:.3f}"


def signed(value: float | None) -> str:
    """A difference with its sign; one that rounds to nothing has none."""
    if value is None:
        return MISSING
    text = f"{value:+.3f}"
    return text[1:] if float(text) == 0 else text


def signed_interval(entry: Mapping[str, Any]) -> str:
    """`-0.004 to +0.028`, otherwise as `interval`."""
    return _interval(entry, signed)


def _interval(entry: Mapping[str, Any], number: Callable[[float], str]) -> str:
    too_few = entry.get("too_few", False)
    if entry["ci_low"] is None or entry["ci_high"] is None:
        return TOO_FEW if too_few else MISSING
    text = f"{number(entry['ci_low'])} to {number(entry['ci_high'])}"
    return f"{text}, {TOO_FEW}" if too_few else text


def percent(share: float | None) -> str:
    """A share in [0, 1] as a percentage without the sign: two decimals, or two digits where those would be zeros."""
    if share is None:
        return MISSING
    value = 100 * share
    return f"{value:.2f}" if 0.1 <= value < 99.995 else f"{value:.2g}" if value < 0.1 else f"{value:.0f}"


def count(value: float | None) -> str:
    """A whole number with thousands separated; a mean over seeds keeps one decimal."""
    if value is None:
        return MISSING
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def rate(value: float | None) -> str:
    """A learning rate as it is typed: 0.0015, 1e-06."""
    return MISSING if value is None else f"{value:g}"


def seconds(value: float | None) -> str:
    """Seconds with the digits that matter."""
    if value is None:
        return MISSING
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def duration(value: float | None) -> str:
    """A span of seconds in the unit that a reader would choose: `48.0 s`, `8.0 min`, `3.9 h`."""
    if value is None or value < 120:
        return MISSING if value is None else f"{seconds(value)} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def significant(value: float | None) -> str:
    """Four digits, wherever the point is: 0.8086, 312.3, 1.213e-08."""
    return MISSING if value is None else f"{value:.4g}"


def size(value: float | None) -> str:
    """Bytes in kB, MB or GB (powers of 1000)."""
    if value is None:
        return MISSING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            scaled = value / factor
            return f"{scaled:.0f} {unit}" if scaled >= 100 else f"{scaled:.1f} {unit}"
    return f"{value:.0f} B"


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one: `versions.torch` -> value."""
    result: dict[str, Any] = {}
    for key, value in table.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return result
