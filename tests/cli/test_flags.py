"""Flags made from settings: what their help says of defaults."""

from dataclasses import dataclass, fields
from typing import Annotated, get_args, get_origin

from ecgtune.cli.flags import given, optional


@dataclass(frozen=True)
class Settings:
    epochs: int = 20
    """Passes."""
    learning_rate: float | None = None
    """Peak."""


def helps(cls) -> list[str]:
    flags = [field.type for field in fields(cls)]
    assert all(get_origin(flag) is Annotated for flag in flags)
    return [get_args(flag)[1].help for flag in flags]


def test_what_a_recipe_may_say_stands_before_the_default():
    assert helps(optional(Settings, "Flags")) == [
        "Passes. [default: the recipe's, else 20]",
        "Peak. [default: the recipe's]",
    ]
    assert helps(optional(Settings, "Flags", recipe=False)) == ["Passes. [default: 20]", "Peak."]


def test_only_what_was_typed_is_given():
    flags = optional(Settings, "Flags")
    assert given(flags()) == {}
    assert given(flags(epochs=3)) == {"epochs": 3}
