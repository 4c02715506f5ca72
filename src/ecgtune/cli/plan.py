"""`ecgtune plan`."""

from __future__ import annotations

import sys

from ecgtune.cli.inputs import Reading, RecordFlags, read_data
from ecgtune.cli.options import Baselines, DataFile, MethodNames, ModelNames, RecipeFlags, Seeds
from ecgtune.cli.output import say
from ecgtune.recipes.comparison import check_variants


def plan(
    data: DataFile,
    /,
    *,
    methods: MethodNames = "full,adapter,lora,probe",
    models: ModelNames = None,
    seeds: Seeds = 3,
    reading: Reading = Reading(),
    records: RecordFlags = RecordFlags(),
    settings: RecipeFlags = RecipeFlags(),
    baselines: Baselines = True,
) -> None:
    """Estimate time, memory and disk space of a comparison.

    Takes the options of `compare`, measures a few steps of each method here, and keeps nothing. Exit status 3 if a
    method could not be measured.
    """
    recipes = settings.recipes(methods, models=models, copy_lead=reading.copy_lead)
    check_variants(recipes, seeds, baselines)
    dataset = read_data(data, reading, records, recipes)
    import ecgtune

    found = ecgtune.plan(dataset, recipes, seeds=seeds, baselines=baselines)
    say(*found.lines())
    if any(one.failed for one in found.estimates):
        sys.exit(3)
