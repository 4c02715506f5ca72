"""`ecgtune compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ecgtune.cli.inputs import Reading, RecordFlags, RoundFlags, read_data
from ecgtune.cli.options import (
    EVALUATION,
    Baselines,
    DataFile,
    MethodNames,
    ModelNames,
    Out,
    RecipeFlags,
    Seeds,
    Wait,
)
from ecgtune.cli.output import print_comparison, say
from ecgtune.recipes.comparison import check_variants


def compare(
    data: DataFile,
    /,
    *,
    methods: MethodNames = "full,adapter,lora,probe",
    models: ModelNames = None,
    seeds: Seeds = 3,
    out: Out = Path("runs/compare"),
    reading: Reading = Reading(),
    records: RecordFlags = RecordFlags(),
    rounds: RoundFlags = RoundFlags(),
    settings: RecipeFlags = RecipeFlags(),
    baselines: Baselines = True,
    reference: Annotated[str | None, Parameter(group=EVALUATION)] = None,
    wait: Wait = False,
) -> None:
    """Compare methods on one dataset: a table, figures and a report.

    Every method and seed has its own run folder. Rerun the command to resume; finished runs are kept.

    Parameters
    ----------
    reference
        Method that differences are computed to; full, or else the first one, when not given.
    """
    recipes = settings.recipes(methods, models=models, copy_lead=reading.copy_lead)
    check_variants(recipes, seeds, baselines, reference)
    dataset = read_data(data, reading, records, recipes)
    repeated = rounds.of(dataset, seed=recipes[0].data.split_seed)
    import ecgtune

    if not repeated:
        results = ecgtune.compare(
            dataset, recipes, out=out, seeds=seeds, baselines=baselines, reference=reference, wait=wait
        )
        print_comparison(results, out)
        return
    from ecgtune.workflows.cross_validation import rounds_table

    summary = ecgtune.cross_validate(
        repeated, recipes, out=out, seeds=seeds, baselines=baselines, reference=reference, wait=wait
    )
    say(*rounds_table(summary).split("\n"))
    say(f"{len(repeated)} rounds, mean ± standard deviation over them: {out / 'rounds.json'}")
