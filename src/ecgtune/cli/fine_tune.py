"""`ecgtune fine-tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ecgtune.cli.inputs import InputFlags, read_data
from ecgtune.cli.options import MOST_USED, DataFile, RecipeFlags, RunFlags
from ecgtune.cli.output import say
from ecgtune.errors import SettingError


def fine_tune(
    data: DataFile,
    /,
    *,
    method: Annotated[str, Parameter(group=MOST_USED)] = "lora",
    out: Annotated[Path | None, Parameter(group=MOST_USED)] = None,
    inputs: InputFlags = InputFlags(),
    settings: RecipeFlags = RecipeFlags(),
    begin: RunFlags = RunFlags(),
) -> None:
    """Fine-tune one encoder with one method.

    Parameters
    ----------
    method
        Name of a method or recipe, or a TOML file; see `ecgtune methods`.
    out
        The run folder; runs/METHOD when not given.
    """
    recipes = settings.recipes(method)
    if len(recipes) > 1:
        raise SettingError(f"{method} holds {len(recipes)} variants; run it with `ecgtune compare --methods {method}`")
    recipe = recipes[0]
    folder = out or Path("runs") / recipe.name
    dataset = read_data(data, inputs, recipes)
    import ecgtune

    run = ecgtune.fine_tune(dataset, recipe, out=folder, seed=begin.seed, resume=begin.resume, wait=begin.wait)
    say(*run.summary().split("\n"), f"report: {folder / 'report.html'}")
