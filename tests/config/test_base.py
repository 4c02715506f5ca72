"""Settings from tables: strict, with errors that help."""

import math
from dataclasses import dataclass
from typing import Literal

import pytest

from ecgtune.config.base import from_table, to_table
from ecgtune.errors import SettingError


@dataclass(frozen=True)
class Example:
    count: int = 1
    rate: float = 0.5
    rule: Literal["first", "second"] = "first"
    clip: float | None = None
    names: tuple[str, ...] = ()
    target: str | tuple[str, ...] = "all"
    flag: bool = False


@pytest.mark.parametrize(
    "example",
    [
        Example(),
        Example(count=3, rate=1.0, rule="second", clip=2.0, names=("a", "b"), target=("q", "k"), flag=True),
    ],
)
def test_round_trip(example):
    assert from_table(Example, to_table(example), "[example]") == example


def test_an_integer_is_a_float_where_one_is_wanted():
    assert from_table(Example, {"rate": 2}, "[example]").rate == 2.0


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ({"coumt": 1}, ["coumt", "did you mean 'count'", "[example]"]),
        ({"rule": "first, second"}, ["allowed: first, second; separate names by spaces: first second"]),
        ({"count": "one"}, ["count", "'one'", "whole number"]),
        ({"count": 1.5}, ["count", "1.5", "whole number"]),
        ({"count": True}, ["count", "True"]),
        ({"rate": "high"}, ["rate", "high", "number"]),
        ({"rule": "third"}, ["rule", "third", "first, second"]),
        ({"clip": "much"}, ["clip", "much"]),
        ({"rate": math.nan}, ["rate", "finite"]),
        ({"clip": math.inf}, ["clip", "finite"]),
        ({"names": "a"}, ["names", "list"]),
        ({"names": [1]}, ["names", "text"]),
        ({"flag": 1}, ["flag", "true or false"]),
    ],
)
def test_mistakes_are_one_clear_line(table, parts):
    with pytest.raises(SettingError) as error:
        from_table(Example, table, "[example]")
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in parts), str(error.value)
