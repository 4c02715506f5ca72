"""The main job on embedded defaults: simulated ECGs, the embedded encoder, a short comparison."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ecgtune.data.simulation import simulate
from ecgtune.recipes.recipe import METHOD_RECIPES, load_recipes
from ecgtune.workflows.compare import compare

WINDOWS = 2000
EPOCHS = 4
SEEDS = 1


def demo(out: str | Path = "runs/demo", *, quiet: bool = False) -> dict[str, Any]:
    """Compare the four methods on 2,000 simulated windows into `out`; returns the content of `results.json`."""
    recipes = [recipe for name in METHOD_RECIPES for recipe in load_recipes(name)]
    short = [replace(recipe, optimisation=replace(recipe.optimisation, epochs=EPOCHS)) for recipe in recipes]
    return compare(simulate(WINDOWS, seed=0), short, out=out, seeds=SEEDS, quiet=quiet)
