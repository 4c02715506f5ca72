"""One meaning of a name, on the command line and in Python."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

import ecgtune
from ecgtune.cli.options import ModelFlags, OptimisationFlags, RecipeFlags
from ecgtune.errors import CheckpointError, SettingError
from ecgtune.methods.registry import find_method, method_names
from ecgtune.recipes.lookup import as_recipes, changed, resolve_models
from ecgtune.recipes.recipe import TABLES, Recipe, bundled_recipes, load_recipes

BUNDLED = sorted({*method_names()} & {*bundled_recipes()})


@pytest.mark.parametrize("name", BUNDLED)
def test_a_method_is_that_of_its_recipe(name):
    assert [find_method(name)()] == [recipe.method for recipe in load_recipes(name)]
    assert as_recipes(find_method(name)()) == as_recipes(name) == [ecgtune.recipe(name)]


def test_a_method_comes_with_the_other_settings_of_its_recipe():
    assert ecgtune.recipe(ecgtune.LoRA(rank=16)) == replace(ecgtune.recipe("lora"), method=ecgtune.LoRA(rank=16))


def test_one_model_for_all_recipes():
    variants = as_recipes(["probe", ecgtune.LoRA()], Path("my/encoder"))
    assert variants == [ecgtune.recipe(name, model="my/encoder") for name in ("probe", "lora")]
    with pytest.raises(SettingError, match="give a name or path"):
        as_recipes("probe", object())


@pytest.mark.parametrize("command", [ecgtune.compare, ecgtune.cross_validate, ecgtune.plan, ecgtune.sweep])
def test_every_command_takes_the_model_of_fine_tune(command, tmp_path):
    data = ecgtune.simulate(8, seconds=2)
    given = {"out": tmp_path / "out"} if command is not ecgtune.plan else {}
    with pytest.raises(SettingError, match=r"'ecg-fm-tyni'.*did you mean 'ecg-fm-tiny'"):
        command([data] * 2 if command is ecgtune.cross_validate else data, ["probe"], model="ecg-fm-tyni", **given)
    assert not (tmp_path / "out").exists()


def test_settings_are_those_of_the_flags():
    flags = RecipeFlags(
        model=ModelFlags(model="ecg-fm", head_hidden=8), optimisation=OptimisationFlags(epochs=5, learning_rate=0.01)
    )
    ours = ecgtune.recipe("lora", model="ecg-fm", head_hidden=8, epochs=5, learning_rate=0.01)
    assert [ours] == flags.recipes("lora")
    assert (ours.model.name, ours.optimisation.epochs, ours.optimisation.rate_width) == ("ecg-fm", 5, None)


def test_every_setting_has_a_name_of_its_own():
    names = [field.name for cls in TABLES.values() for field in fields(cls)]
    assert len(set(names)) == len(names)


def test_a_recipe_is_not_changed_by_nothing():
    recipe = Recipe("mine", ecgtune.LoRA(rank=7))
    assert ecgtune.recipe(recipe) == changed(recipe, {}) == recipe


@pytest.mark.parametrize(
    ("given", "settings", "parts"),
    [
        ("lorra", {}, ["lorra", "did you mean 'lora'"]),
        ("lora", {"lr": 1e-3}, ["no setting 'lr'", "use 'learning_rate'"]),
        ("lora", {"epoch": 3}, ["did you mean 'epochs'"]),
        ("lora", {"rank": 8}, ["no setting 'rank'", "LoRA(rank=8)"]),
        ("lora", {"epochs": 0}, ["epochs is 0"]),
        ("ablation-normalisation", {}, ["holds 3 variants"]),
        (3, {}, ["recipe is 3", "'lora'"]),
    ],
)
def test_mistakes_are_one_clear_line(given, settings, parts):
    with pytest.raises(SettingError) as error:
        ecgtune.recipe(given, **settings)
    assert all(part in str(error.value) for part in parts), str(error.value)


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        ("paper-lora", "no network; or give another model, such as --model ecg-fm-tiny"),
        ("lora,paper-lora", "no network; or leave out paper-lora, or give all methods another model, such as"),
    ],
)
def test_a_model_that_cannot_be_downloaded_is_told_with_what_is_left(monkeypatch, names, remedy):
    def fetch(model):
        raise CheckpointError("no network")

    monkeypatch.setattr("ecgtune.recipes.lookup.may_download", lambda model: model == "ecg-fm")
    monkeypatch.setattr("ecgtune.models.loading.fetch_weights", fetch)
    with pytest.raises(CheckpointError, match=f"paper-lora with the model ecg-fm: {remedy}"):
        resolve_models([recipe for name in names.split(",") for recipe in load_recipes(name)])
