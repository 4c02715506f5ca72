"""The demonstration is short, and what it shows is worth seeing."""

import pytest

from ecgtune.recipes.recipe import METHOD_RECIPES
from ecgtune.workflows import demo


def test_the_demo_compares_the_recipes_with_few_epochs(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(demo, "compare", lambda dataset, recipes, settings, **_: asked.append((len(dataset), recipes)))
    demo.demo(tmp_path / "demo")
    ((windows, recipes),) = asked
    assert windows == demo.WINDOWS
    assert tuple(recipe.name for recipe in recipes) == METHOD_RECIPES
    assert {recipe.optimisation.epochs for recipe in recipes} == {demo.SETTINGS["epochs"]}


@pytest.mark.slow
def test_every_method_of_the_demo_is_far_above_the_majority_class(tmp_path):
    results = demo.demo(tmp_path / "demo")
    accuracy = {row["method"]: row["metrics"]["accuracy"]["mean"] for row in results["rows"]}
    assert all(accuracy[name] > 0.8 > accuracy["majority"] + 0.2 for name in METHOD_RECIPES), accuracy
