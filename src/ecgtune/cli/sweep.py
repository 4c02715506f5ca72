"""`ecgtune sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ecgtune.cli.inputs import Reading, RecordFlags, read_data
from ecgtune.cli.options import (
    MACHINE,
    MOST_USED,
    OPTIMISATION,
    DataFile,
    Out,
    RecipeFlags,
    Seed,
    Wait,
    given,
    optional,
)
from ecgtune.cli.output import say
from ecgtune.config.commands import SweepSettings
from ecgtune.recipes.space import read_space

if TYPE_CHECKING:
    SweepFlags = SweepSettings
else:
    SweepFlags = optional(SweepSettings, "SweepFlags", MACHINE, recipe=False, skip=("space", "fixed"))


def sweep(
    data: DataFile,
    /,
    *,
    methods: Annotated[list[str] | None, Parameter(group=MOST_USED, consume_multiple=True)] = None,
    out: Out = Path("runs/sweep"),
    trials: SweepFlags = SweepFlags(),
    reading: Reading = Reading(),
    records: RecordFlags = RecordFlags(),
    settings: RecipeFlags = RecipeFlags(),
    space: Annotated[Path | None, Parameter(group=OPTIMISATION)] = None,
    seed: Seed = 0,
    wait: Wait = False,
) -> None:
    """Search settings, with the same number of trials for every method.

    Trials are judged on the validation windows alone. Rerun the command to resume; finished trials are kept. A setting
    that is given as an option is not searched. OUT/best/METHOD.toml is the best of a method, for `fine-tune --method`
    and `compare --methods`.

    Parameters
    ----------
    methods
        Names of methods and recipes, or TOML files; see `ecgtune methods`. [default: full adapter lora probe]
    space
        TOML file of the values to try instead, such as [lora.method] rank = { choices = [2, 4] }.
    """
    names = ",".join(methods or ["full", "adapter", "lora", "probe"])
    recipes = settings.recipes(names, copy_lead=reading.copy_lead)
    searched = SweepSettings(space=read_space(space) if space else None, fixed=settings.typed, **given(trials))
    dataset = read_data(data, reading, records, recipes)
    import ecgtune

    best = ecgtune.sweep(dataset, recipes, searched, out=out, seed=seed, wait=wait)
    say(*(f"best {name}: {file}" for name, file in best.items()), f"report: {out / 'report.html'}")
