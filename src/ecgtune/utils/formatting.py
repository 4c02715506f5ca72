"""Format numbers for tables and reports; a missing value is `n/a`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

MISSING = "n/a"
#: Of an interval: all resamples agree, because there are too few windows or errors.
TOO_FEW = "too few"
#: Of the interval of a difference: both predict all test windows alike.
IDENTICAL = "identical"
_ROUNDING = 1e-12  # of a difference between two means


def score(value: float | None) -> str:
    """Format a metric with three decimals."""
    return MISSING if value is None else f"{value:.3f}"


def with_std(entry: Mapping[str, Any]) -> str:
    """Format a metric of results.json as `0.842 ± 0.013`, for one seed as the mean only."""
    return f"{score(entry['mean'])} {std(entry)}".rstrip()


def interval(entry: Mapping[str, Any]) -> str:
    """Format an interval as `0.810 to 0.870`, with `too few` if all resamples are equal; `n/a` if it is missing."""
    return _interval(entry, score)


def std(entry: Mapping[str, Any]) -> str:
    """Format a standard deviation as `± 0.013`; empty for one seed."""
    return "" if entry["std"] is None else f"± {entry['std']:.3f}"


def signed(value: float | None) -> str:
    """Format a difference with its sign and three decimals, four if three round it to zero; no sign of a zero."""
    if value is None:
        return MISSING
    text = f"{value:+.3f}"
    if float(text) == 0 and abs(value) > _ROUNDING:
        text = f"{value:+.4f}"
    return text[1:] if float(text) == 0 else text


def signed_interval(entry: Mapping[str, Any]) -> str:
    """Format an interval as `-0.004 to +0.028`, otherwise as `interval`."""
    return _interval(entry, signed)


def _interval(entry: Mapping[str, Any], number: Callable[[float], str]) -> str:
    if entry.get("identical"):
        return IDENTICAL
    too_few = entry.get("too_few", False)
    if entry["ci_low"] is None or entry["ci_high"] is None:
        return TOO_FEW if too_few else MISSING
    text = f"{number(entry['ci_low'])} to {number(entry['ci_high'])}"
    return f"{text}, {TOO_FEW}" if too_few else text


def percent(fraction: float | None) -> str:
    """Format a fraction in [0, 1] as a percentage without the sign: two decimals, or two digits below 0.1 %."""
    if fraction is None:
        return MISSING
    value = 100 * fraction
    return f"{value:.2f}" if 0.1 <= value < 99.995 else f"{value:.2g}" if value < 0.1 else f"{value:.0f}"


def count(value: float | None) -> str:
    """Format a count with thousands separators, and one decimal if it is not whole (a mean over seeds)."""
    if value is None:
        return MISSING
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def counted(number: float, noun: str, several: str = "") -> str:
    """Format a count with its noun: `1 epoch`, `2 epochs`; several: a plural that is not `noun` with an s."""
    return f"{count(number)} {noun if number == 1 else several or f'{noun}s'}"


def listed(names: Sequence[str], word: str = "and", most: int = 12) -> str:
    """Format names as `a, b and c`, and more than `most` as `a, b, c and 4 more`; word: in place of "and"."""
    *first, last = names if len(names) <= most else (*names[:most], f"{count(len(names) - most)} more")
    return f"{', '.join(first)} {word} {last}" if first else last


def rate(value: float | None) -> str:
    """Format a learning rate: 0.0015, 1e-06."""
    return MISSING if value is None else f"{value:g}"


def seconds(value: float | None) -> str:
    """Format seconds with about three significant digits."""
    if value is None:
        return MISSING
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def duration(value: float | None) -> str:
    """Format seconds in the most readable unit: `48.0 s`, `8.0 min`, `3.9 h`."""
    if value is None or value < 120:
        return MISSING if value is None else f"{seconds(value)} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def significant(value: float | None) -> str:
    """Format a number with four significant digits: 0.8086, 312.3, 1.213e-08."""
    return MISSING if value is None else f"{value:.4g}"


def size(value: float | None) -> str:
    """Format bytes in kB, MB or GB (powers of 1000)."""
    if value is None:
        return MISSING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            scaled = value / factor
            return f"{scaled:.0f} {unit}" if scaled >= 100 else f"{scaled:.1f} {unit}"
    return f"{value:.0f} B"


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested tables: keys are joined by dots, such as `versions.torch`."""
    result: dict[str, Any] = {}
    for key, value in table.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return result
