"""What a sweep may change: the table, changes from a file, and values that a recipe cannot take."""

import pytest

from ecgtune.config.optimisation import Optimisation
from ecgtune.config.space import Around, Choice, Range
from ecgtune.errors import SettingError
from ecgtune.methods.lora.settings import LoRA
from ecgtune.recipes.recipe import Recipe, list_recipes, load_recipes
from ecgtune.recipes.space import check_changes, own_value, read_space, space_of, space_table, with_settings

RATE = "optimisation.learning_rate"
RECIPES = [recipe for name in list_recipes() for recipe in load_recipes(name)]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_recipe_has_a_space_that_begins_with_itself(recipe):
    space = space_of(recipe)
    assert {RATE, "optimisation.weight_decay"} <= space.keys()
    own = {setting: own_value(recipe, setting) for setting in space}
    assert own[RATE] == (recipe.optimisation.learning_rate or recipe.method.learning_rate)
    started = with_settings(recipe, own)
    assert started.method == recipe.method
    for setting, span in space.items():
        if isinstance(span, Choice):
            assert own[setting] in span.values
            assert len(set(span.values)) == len(span.values)
        else:
            assert span.low <= own[setting] <= span.high


def test_the_rate_is_searched_around_the_methods_own():
    span = space_of(Recipe("lora"))[RATE]
    assert span == Range(LoRA.learning_rate / 10, LoRA.learning_rate * 10, log=True)
    own = Recipe("mine", optimisation=Optimisation(learning_rate=0.5))
    assert space_of(own, {"all": {RATE: Around(2)}})[RATE] == Range(0.25, 1.0, log=True)


def test_the_narrower_key_wins_and_fixed_settings_are_left_out():
    changes = {
        "all": {"optimisation.weight_decay": Choice((0.5,))},
        "lora": {"method.rank": Choice((2, 4)), "method.dropout": None},
        "mine": {"method.rank": Range(1, 20)},
    }
    space = space_of(Recipe("mine"), changes, fixed=["optimisation.learning_rate"])
    assert space == {"optimisation.weight_decay": Choice((0.01, 0.5)), "method.rank": Range(1, 20)}
    assert isinstance(space["method.rank"].low, int)
    assert space_of(Recipe("other"), changes)["method.rank"] == Choice((3, 2, 4))
    assert space_table(space)["optimisation.weight_decay"] == {"choices": [0.01, 0.5]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method.rnk": Choice((1,))}, "did you mean 'method.rank'"),
        ({"optimisation.epochs": Choice((1, 2))}, r"cannot change 'optimisation\.epochs'"),
        ({"data.split_seed": Choice((1, 2))}, r"cannot change 'data\.split_seed'"),
        ({"method.rank": Choice((0, 4))}, "rank of LoRA is 0"),
        ({"method.rank": Choice((2.5,))}, "a whole number is needed"),
        ({"method.rank": Range(4, 8)}, "outside of 4 to 8"),
        ({"method.rank": Range(0.5, 20)}, "whole number"),
        ({"method.rank": Around(20)}, "whole number"),
        ({"method.dropout": Around(2)}, "around needs one above 0"),
        ({"method.dropout": Range(0, 1)}, "dropout of LoRA is 1"),
        ({"method.targets": Range(0, 1)}, "no number"),
        ({"method.targets": Choice(("everything",))}, "everything"),
        ({"model.head_hidden": Range(8, 64)}, "no number"),
    ],
    ids=str,
)
def test_what_a_recipe_cannot_become_is_told_before_the_sweep(changes, message):
    with pytest.raises(SettingError, match=message):
        space_of(Recipe("lora"), {"lora": changes})


def test_a_space_file(tmp_path):
    file = tmp_path / "space.toml"
    file.write_text(
        "[all.optimisation]\nlearning_rate = { around = 30 }\n[lora.method]\nrank = { choices = [2, 4] }\n"
        "dropout = { low = 0.0, high = 0.3 }\ntargets = false\n"
    )
    changes = read_space(file)
    assert changes == {
        "all": {RATE: Around(30)},
        "lora": {"method.rank": Choice((2, 4)), "method.dropout": Range(0.0, 0.3), "method.targets": None},
    }
    check_changes(changes, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[lora", "no readable TOML"),
        ("lora = 3", r"lora must be a table, written \[lora\.method\]"),
        ("[lora]\nrank = 3", r"rank of lora must be a table"),
        ("[lora.method]\nrank = [2, 4]", r"rank in \[lora\.method\] of .*space\.toml is \[2, 4\]; allowed: \{ choices"),
        ("[lora.method]\nrank = { low = 2 }", "allowed"),
        ("[lora.method]\nrank = { low = 4, high = 2 }", r"rank in \[lora\.method\] of .*: low 4, high 2"),
        ("[lora.method]\nrank = { choices = [] }", "one or more"),
        ("[lora.method]\nrank = { choices = [[1]] }", "numbers or texts"),
        ("[lora.method]\nrank = { around = 1 }", "a factor above 1"),
        ("[lora.method]\nrank = { low = 0, high = 2, log = true }", "above 0"),
    ],
)
def test_space_files_that_say_something_else(tmp_path, text, message):
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(SettingError, match=message):
        read_space(tmp_path / "space.toml")


def test_a_space_for_nobody_and_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SettingError, match="did you mean 'lora'"):
        check_changes({"lorra": {}}, [])
    check_changes({"mine": {}}, [Recipe("mine")])
    with pytest.raises(SettingError, match="no such file"):
        read_space(tmp_path / "nowhere.toml")
