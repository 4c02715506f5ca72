"""`ecgtune plan`: the flags of `compare`, and what they would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ecgtune.cli import AugmentationFlags, InputFlags, ModelFlags, Reading, TrainingFlags, _names, _with_flags
from ecgtune.recipe import load_recipes


def plan(
    data: Path,
    /,
    *,
    methods: str = "full,adapter,lora,probe",
    seeds: int = 3,
    floors: Annotated[bool, Parameter(negative="--no-floors")] = True,
    reading: Reading = Reading(),
    model: ModelFlags = ModelFlags(),
    input: InputFlags = InputFlags(),
    training: TrainingFlags = TrainingFlags(),
    augmentation: AugmentationFlags = AugmentationFlags(),
    quiet: bool = False,
) -> None:
    """Measure a few steps of each method here, and say what comparing them would cost: time, memory, disk, file size.

    Takes the flags of `compare` and keeps nothing.

    Parameters
    ----------
    data
        CSV (signal_0 ... signal_599,label) or NPZ file of windows.
    methods
        Names of methods and recipes, or TOML files, joined by commas; see `ecgtune methods`.
    seeds
        Runs of each method, with seeds 0, 1, ...
    floors
        Count the residual network from scratch too.
    quiet
        Show no progress.
    """
    from ecgtune import workflows

    recipes = [recipe for name in _names(methods) for recipe in load_recipes(name)]
    recipes = [_with_flags(recipe, reading, model, input, training, augmentation) for recipe in recipes]
    found = workflows.plan(reading.read(data), recipes, seeds=seeds, floors=floors, quiet=quiet)
    print("\n".join(found.lines()))
