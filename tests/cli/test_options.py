"""Flags made from settings: their help, their groups, and files of the user."""

import os
import subprocess
import sys
from dataclasses import dataclass, fields
from typing import Annotated, get_args, get_origin

import pytest

from ecgtune.cli.options import MOST_USED, OPTIMISATION, given, optional
from helpers.cli import refused


@dataclass(frozen=True)
class Settings:
    epochs: int = 20
    """Passes."""
    weight_decay: float | None = None
    """Decay."""


def flags_of(cls) -> dict:
    assert all(get_origin(item.type) is Annotated for item in fields(cls))
    return {item.name: get_args(item.type)[1] for item in fields(cls)}


def test_what_a_recipe_may_say_stands_before_the_default():
    assert [flag.help for flag in flags_of(optional(Settings, "Flags", OPTIMISATION)).values()] == [
        "Passes. [default: the recipe's, else 20]",
        "Decay. [default: the recipe's]",
    ]
    plain = optional(Settings, "Flags", OPTIMISATION, recipe=False)
    assert [flag.help for flag in flags_of(plain).values()] == ["Passes. [default: 20]", "Decay."]


def test_fields_may_be_left_out_renamed_or_in_the_first_group():
    flags = flags_of(optional(Settings, "Flags", OPTIMISATION))
    assert [flag.group for flag in flags.values()] == [(MOST_USED,), (OPTIMISATION,)]
    flags = flags_of(optional(Settings, "Flags", OPTIMISATION, skip=("epochs",), renamed={"weight_decay": "decay"}))
    assert list(flags) == ["decay"]


def test_only_what_was_typed_is_given():
    flags = optional(Settings, "Flags", OPTIMISATION)
    assert given(flags()) == {}
    assert given(flags(epochs=3)) == {"epochs": 3}


TOY = """
from dataclasses import dataclass
from ecgtune.methods.own_weights.settings import NormBias
from ecgtune.methods.registry import register_method

@register_method("{name}")
@dataclass(frozen=True)
class Toy(NormBias):
    title = "A toy of {name}"
"""


@pytest.mark.parametrize("by", ["option", "one option", "variable"])
def test_a_file_of_the_user_registers_a_method(by, tmp_path, monkeypatch):
    files = [tmp_path / "toy_one.py", tmp_path / "toy_two.py"]
    for file in files:
        file.write_text(TOY.format(name=file.stem))
    monkeypatch.setenv("ECGTUNE_IMPORT", os.pathsep.join(map(str, files)) if by == "variable" else "")
    each = [part for file in files for part in ("--import", str(file))]
    options = {"option": each, "one option": ["--import", *map(str, files)], "variable": []}[by]
    done = subprocess.run(
        [sys.executable, "-m", "ecgtune", "methods", *options], capture_output=True, text=True, check=True
    )
    for file in files:
        assert f"A toy of {file.stem}" in done.stdout


def test_a_file_that_fails_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ECGTUNE_IMPORT", "")
    file = tmp_path / "broken.py"
    file.write_text("import ecgtun")
    assert "ModuleNotFoundError" in refused(capsys, "methods", "--import", file)
