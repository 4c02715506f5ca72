"""A recipe that differs from the bundled one of its name says in what."""

from dataclasses import replace

import pytest

import ecgtune
from ecgtune.evaluation.notes import preset_notes
from ecgtune.recipes.preset import changed_preset
from ecgtune.recipes.recipe import Recipe, bundled_recipes, load_recipes
from ecgtune.workflows.results import changed_notes, shown_title, summarise_preset
from helpers.settings import changed

PAPER, LORA = load_recipes("paper-lora")[0], load_recipes("lora")[0]
TINY = replace(PAPER, model=replace(PAPER.model, name="ecg-fm-tiny"))


@pytest.mark.parametrize("name", bundled_recipes())
def test_bundled_recipes_are_unchanged(name):
    assert [changed_preset(recipe) for recipe in load_recipes(name)] == [None] * len(load_recipes(name))


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        (changed(TINY, epochs=1), ("model ecg-fm-tiny instead of ecg-fm", "epochs 1 instead of 50")),
        (changed(LORA, ema=None), ("ema none instead of 0.998",)),
        (replace(LORA, method=ecgtune.LoRA(3, targets=("q", "v"))), ("targets q v instead of all",)),
        (replace(LORA, data=ecgtune.DataSettings(normalisation="global")), ("normalisation global instead of zscore",)),
    ],
    ids=["paper", "none", "method", "data"],
)
def test_changes_in_words(recipe, changes):
    found = changed_preset(recipe)
    assert found is not None
    assert found.changes == changes


@pytest.mark.parametrize(
    "recipe",
    [
        replace(LORA, model=replace(LORA.model, name="another.safetensors")),  # the preset names no encoder
        changed(LORA, device="cpu", precision="fp32", threshold="youden"),
        replace(changed(LORA, epochs=1), name="mine"),
    ],
    ids=["encoder", "machine", "own"],
)
def test_what_belongs_to_the_user_is_no_change(recipe):
    assert changed_preset(recipe) is None


def test_only_a_title_of_its_own_is_marked():
    assert shown_title(PAPER) == "Paper: lora"
    assert shown_title(TINY) == "Paper: lora (changed)"
    assert shown_title(changed(LORA, epochs=1)) == LORA.label


@pytest.mark.parametrize(("epochs", "far"), [(1, True), (9, True), (10, False), (20, None)])
def test_a_training_far_below_the_epochs_of_its_recipe_is_named(epochs, far):
    recipe = changed(LORA, epochs=epochs)
    notes = changed_notes([recipe])
    expected = [] if far is None else [f"Changed from the recipe: lora (epochs {epochs} instead of 20)."]
    expected += (
        [f"Far fewer epochs than in the recipe, so scores may be too low: lora ({epochs} of 20)."] if far else []
    )
    assert notes == expected


def test_methods_with_the_same_changes_are_listed_together():
    runs = [
        {"name": name, **summarise_preset(replace(changed(LORA, epochs=1), name=name))} for name in ("lora", "dora")
    ]
    runs[1]["preset"] = runs[0]["preset"]
    assert preset_notes(runs)[0] == "Changed from the recipe: lora, dora (epochs 1 instead of 20)."


def test_seeds_and_methods_share_a_note():
    runs = [{"name": name, **summarise_preset(Recipe(name=name, method=LORA.method))} for name in ("lora", "mine")] * 2
    assert [note.count("lora (") for note in preset_notes(runs)] == [1]
