"""`ecgtune compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ecgtune.cli.inputs import Reading, RecordFlags, RoundFlags, read_data
from ecgtune.cli.options import (
    EVALUATION,
    MODEL,
    Baselines,
    DataFile,
    MethodNames,
    Out,
    Quiet,
    RecipeFlags,
    Seeds,
    Wait,
    given,
)
from ecgtune.cli.output import print_comparison, say
from ecgtune.errors import SettingError
from ecgtune.recipes.comparison import check_variants, with_models


def compare(
    data: DataFile,
    /,
    *,
    methods: MethodNames = "full,adapter,lora,probe",
    models: Annotated[str | None, Parameter(group=MODEL)] = None,
    seeds: Seeds = 3,
    out: Out = Path("runs/compare"),
    reading: Reading = Reading(),
    records: RecordFlags = RecordFlags(),
    rounds: RoundFlags = RoundFlags(),
    settings: RecipeFlags = RecipeFlags(),
    baselines: Baselines = True,
    reference: Annotated[str | None, Parameter(group=EVALUATION)] = None,
    wait: Wait = False,
    quiet: Quiet = False,
) -> None:
    """Compare methods on one dataset: a table, figures and a report.

    Every method and seed has its own run folder. Rerun the command to resume; finished runs are kept.

    Parameters
    ----------
    models
        Encoders joined by commas: each with every method on the same windows, at its own rate, leads and preset, and
        differences between them. NAME=FILE names the published file of a model.
    reference
        Method that differences are computed to; full, or else the first one, when not given.
    """
    if models is not None and given(settings.model).keys() & {"model", "checkpoint"}:
        raise SettingError(
            "--models and --model (or --checkpoint) are both given; give --models alone, NAME=FILE for a file"
        )
    recipes = settings.recipes(methods, copy_lead=reading.copy_lead)
    if models is not None:
        recipes = with_models(recipes, [name.strip() for name in models.split(",") if name.strip()])
    check_variants(recipes, seeds, baselines, reference)
    dataset = read_data(data, reading, records, recipes, quiet=quiet)
    repeated = rounds.of(dataset, seed=recipes[0].data.split_seed)
    import ecgtune

    if not repeated:
        results = ecgtune.compare(
            dataset, recipes, out=out, seeds=seeds, baselines=baselines, reference=reference, wait=wait, quiet=quiet
        )
        print_comparison(results, out)
        return
    from ecgtune.workflows.cross_validation import rounds_table

    summary = ecgtune.cross_validate(
        repeated, recipes, out=out, seeds=seeds, baselines=baselines, reference=reference, wait=wait, quiet=quiet
    )
    say(*rounds_table(summary).split("\n"))
    say(f"{len(repeated)} rounds, mean ± standard deviation over them: {out / 'rounds.json'}")
