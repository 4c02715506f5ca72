"""`ecgtune compare`."""

from __future__ import annotations

from pathlib import Path

from ecgtune.cli.inputs import InputFlags, RoundFlags, read_data
from ecgtune.cli.options import DataFile, Out, RecipeFlags, VariantFlags, Wait
from ecgtune.cli.output import print_comparison, say
from ecgtune.recipes.comparison import check_variants


def compare(
    data: DataFile,
    /,
    *,
    variants: VariantFlags = VariantFlags(),
    out: Out = Path("runs/compare"),
    inputs: InputFlags = InputFlags(),
    rounds: RoundFlags = RoundFlags(),
    settings: RecipeFlags = RecipeFlags(),
    wait: Wait = False,
) -> None:
    """Compare methods on one dataset: a table, figures and a report.

    Every method and seed has its own run folder. Rerun the command to resume; finished runs are kept.
    """
    recipes = settings.recipes(variants.methods, models=variants.models)
    compared = variants.settings()
    check_variants(recipes, compared)
    dataset = read_data(data, inputs, recipes)
    repeated = rounds.of(dataset, seed=recipes[0].data.split_seed)
    import ecgtune

    if not repeated:
        print_comparison(ecgtune.compare(dataset, recipes, compared, out=out, wait=wait), out)
        return
    from ecgtune.workflows.cross_validation import rounds_table

    summary = ecgtune.cross_validate(repeated, recipes, compared, out=out, wait=wait)
    say(*rounds_table(summary).split("\n"))
    say(f"{len(repeated)} rounds, mean ± standard deviation over them: {out / 'rounds.json'}")
