"""The command `ecgtune sweep`: flags into a call of `workflows.sweep`; no logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ecgtune.cli.inputs import Reading, RecordFlags, read_data
from ecgtune.cli.settings import RecipeFlags
from ecgtune.config.commands import SweepSettings
from ecgtune.recipe.space import read_space


def sweep(
    data: Path,
    /,
    *,
    methods: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    trials: int = 20,
    out: Path = Path("runs/sweep"),
    space: Path | None = None,
    backend: Literal["local", "ray"] = "local",
    seed: int = 0,
    reading: Reading = Reading(),
    records: RecordFlags = RecordFlags(),
    settings: RecipeFlags = RecipeFlags(),
    quiet: bool = False,
) -> None:
    """Search settings: the same number of trials for every method, judged on the validation windows alone.

    Run it again to go on where it was stopped; finished trials are kept. A setting that is given as a flag is not
    searched. OUT/best/METHOD.toml is the best of a method, for `train --method` and `compare --methods`.

    Parameters
    ----------
    data
        CSV (signal_0 ... signal_599,label) or NPZ file of windows; with --records the table of labels.
    methods
        Names of methods and recipes, or TOML files; see `ecgtune methods`. [default: full adapter lora probe]
    trials
        Trials of each method; the first is the method as it is.
    out
        Folder of the sweep.
    space
        TOML file that says what to try instead, such as [lora.method] rank = { choices = [2, 4] }.
    backend
        One trial after the other here, or on a Ray cluster.
    seed
        Seed of every training and of what is tried.
    quiet
        Show no progress.
    """
    import ecgtune

    recipes = settings.recipes(",".join(methods or ["full", "adapter", "lora", "probe"]), reading)
    best = ecgtune.sweep(
        read_data(data, reading, records, [recipe.model.name for recipe in recipes], quiet=quiet),
        recipes,
        SweepSettings(trials=trials, space=read_space(space) if space else None, fixed=settings.typed, backend=backend),
        out=out,
        seed=seed,
        quiet=quiet,
    )
    for name, file in best.items():
        print(f"best {name}: {file}")
    print(f"report: {out / 'report.html'}")
