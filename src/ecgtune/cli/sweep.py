"""`ecgtune sweep`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ecgtune.cli.inputs import InputFlags, read_data
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


@Parameter(name="*")
@dataclass(frozen=True)
class SearchFlags:
    """What is tried, and with which random numbers."""

    trials: SweepFlags = field(default_factory=SweepFlags)
    space: Annotated[Path | None, Parameter(group=OPTIMISATION)] = None
    """TOML file of the values to try instead, such as [lora.method] rank = { choices = [2, 4] }."""
    seed: Seed = 0


def sweep(
    data: DataFile,
    /,
    *,
    methods: Annotated[list[str] | None, Parameter(group=MOST_USED, consume_multiple=True)] = None,
    out: Out = Path("runs/sweep"),
    search: SearchFlags = SearchFlags(),
    inputs: InputFlags = InputFlags(),
    settings: RecipeFlags = RecipeFlags(),
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
    """
    names = ",".join(methods or ["full", "adapter", "lora", "probe"])
    recipes = settings.recipes(names)
    space = None if search.space is None else read_space(search.space)
    searched = SweepSettings(space=space, fixed=settings.typed, **given(search.trials))
    dataset = read_data(data, inputs, recipes)
    import ecgtune

    best = ecgtune.sweep(dataset, recipes, searched, out=out, seed=search.seed, wait=wait)
    say(*(f"best {name}: {file}" for name, file in best.items()), f"report: {out / 'report.html'}")
