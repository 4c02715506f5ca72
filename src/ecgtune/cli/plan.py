"""`ecgtune plan`."""

from __future__ import annotations

import sys

from ecgtune.cli.inputs import InputFlags, read_data
from ecgtune.cli.options import DataFile, RecipeFlags, VariantFlags
from ecgtune.cli.output import say
from ecgtune.recipes.comparison import check_variants


def plan(
    data: DataFile,
    /,
    *,
    variants: VariantFlags = VariantFlags(),
    inputs: InputFlags = InputFlags(),
    settings: RecipeFlags = RecipeFlags(),
) -> None:
    """Estimate time, memory and disk space of a comparison.

    Takes the options of `compare`, measures a few steps of each method here, and keeps nothing. Exit status 3 if a
    method could not be measured.
    """
    recipes = settings.recipes(variants.methods, models=variants.models)
    compared = variants.settings()
    check_variants(recipes, compared)
    dataset = read_data(data, inputs, recipes)
    import ecgtune

    found = ecgtune.plan(dataset, recipes, compared)
    say(*found.lines())
    if any(one.failed for one in found.estimates):
        sys.exit(3)
