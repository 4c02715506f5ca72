"""Values that a sweep may try for a setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from ecgtune.config.base import require

Value: TypeAlias = float | int | str | bool | None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class Around:
    """From the value in the recipe divided by `factor` to that value times `factor`, on a logarithmic scale."""

    factor: float

    def __post_init__(self) -> None:
        require(_number(self.factor) and self.factor > 1, f"around is {self.factor!r}; allowed: a factor above 1")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included, whole ones for an integer setting; `log`: on a logarithmic scale."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        numbers = _number(self.low) and _number(self.high)
        require(
            numbers and self.low < self.high, f"low {self.low!r}, high {self.high!r}; allowed: two numbers, low < high"
        )
        require(isinstance(self.log, bool), f"log is {self.log!r}; allowed: true or false")
        require(not self.log or self.low > 0, f"low is {self.low} on a logarithmic scale; allowed: above 0")


@dataclass(frozen=True)
class Choice:
    """One of `values`: numbers, texts, true or false."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        plain = all(isinstance(value, (bool, int, float, str)) or value is None for value in self.values)
        require(plain and len(self.values) > 0, f"choices are {self.values!r}; allowed: one or more numbers or texts")


Span: TypeAlias = Around | Range | Choice
