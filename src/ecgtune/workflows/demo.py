"""The main job on embedded defaults: simulated ECGs, the embedded encoder, a short comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecgtune.config.commands import CompareSettings
from ecgtune.data.simulation import simulate
from ecgtune.recipes.lookup import recipe
from ecgtune.recipes.recipe import METHOD_RECIPES
from ecgtune.workflows.compare import compare

WINDOWS = 1000
SEEDS = 1
#: So few windows make few steps: smaller batches make more of them, and the recipes' 5 % of warm-up would be 3 steps.
#: Chosen on validation windows.
SETTINGS = {"epochs": 3, "batch_size": 32, "warmup": 0.25}


def demo(out: str | Path = "runs/demo") -> dict[str, Any]:
    """Compare the four methods on 1,000 simulated windows into `out`; returns the content of `results.json`."""
    recipes = [recipe(name, **SETTINGS) for name in METHOD_RECIPES]
    return compare(simulate(WINDOWS, seed=0), recipes, CompareSettings(seeds=SEEDS), out=out)
