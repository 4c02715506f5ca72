"""`ecgtune plan`: the flags of `compare`, and what they would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ecgtune.cli.inputs import Reading, RecordFlags, read_data
from ecgtune.cli.settings import RecipeFlags


def plan(
    data: Path,
    /,
    *,
    methods: str = "full,adapter,lora,probe",
    seeds: int = 3,
    baselines: Annotated[bool, Parameter(negative="--no-baselines")] = True,
    reading: Reading = Reading(),
    records: RecordFlags = RecordFlags(),
    settings: RecipeFlags = RecipeFlags(),
    quiet: bool = False,
) -> None:
    """Measure a few steps of each method here, and say what comparing them would cost: time, memory, disk, file size.

    Takes the flags of `compare` and keeps nothing.

    Parameters
    ----------
    data
        CSV (signal_0 ... signal_599,label) or NPZ file of windows; with --records the table of labels.
    methods
        Names of methods and recipes, or TOML files, joined by commas; see `ecgtune methods`.
    seeds
        Runs of each method, with seeds 0, 1, ...
    baselines
        Count the residual network from scratch too.
    quiet
        Show no progress.
    """
    import ecgtune

    recipes = settings.recipes(methods, reading)
    dataset = read_data(data, reading, records, [recipe.model.name for recipe in recipes], quiet=quiet)
    found = ecgtune.plan(dataset, recipes, seeds=seeds, baselines=baselines, quiet=quiet)
    print("\n".join(found.lines()))
