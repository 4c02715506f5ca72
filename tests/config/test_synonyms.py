"""Synonyms: each leads to a name that exists and is allowed."""

import dataclasses

import pytest

from ecgtune.cli.app import options_by_command
from ecgtune.cli.commands import COMMANDS
from ecgtune.config.synonyms import SYNONYMS, known_name
from ecgtune.errors import SettingError
from ecgtune.recipes.recipe import TABLES, load_recipes


def test_every_name_exists():
    names = {field.name for cls in TABLES.values() for field in dataclasses.fields(cls)} | set(COMMANDS)
    flags = {flag.replace("-", "_") for options in options_by_command().values() for flag in options}
    assert set(SYNONYMS) <= names | flags


def test_a_name_is_told_only_where_it_is_allowed():
    assert known_name("grad-clip", {"max_grad_norm"}) == "max_grad_norm"
    assert known_name("grad-clip", {"shift"}) is None
    assert known_name("max_grad_norm", {"max_grad_norm"}) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[optimisation]\ngrad_clip = 1.0",
            "my.toml has no setting 'grad_clip'; use 'max_grad_norm'",
        ),
        ('[optimisation]\ndevice = "cpu"', "[optimisation] of my.toml: use [trainer] for device"),
        (
            '[trainer]\nepochs = 2\nthreshold = "f1"',
            "[trainer] of my.toml: use [optimisation] for epochs and [evaluation] for threshold",
        ),
        ("[training]", "my.toml has no table 'training'; "),
    ],
)
def test_a_recipe_is_told_what_to_write(text, told, tmp_path):
    (tmp_path / "my.toml").write_text(f'{text}\n[method]\nname = "probe"\n')
    with pytest.raises(SettingError) as error:
        load_recipes(str(tmp_path / "my.toml"))
    assert told in str(error.value)
    assert "\n" not in str(error.value)
