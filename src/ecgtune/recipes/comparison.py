"""Which recipes can be compared; light, so that the command line can tell before it reads anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ecgtune.config.base import suggest
from ecgtune.errors import SettingError
from ecgtune.recipes.recipe import Recipe
from ecgtune.utils.formatting import counted

#: Names of the baselines: the majority class, and the recipe of the residual network.
MAJORITY, RESNET = "majority", "resnet"


def check_variants(recipes: Sequence[Recipe], seeds: int, baselines: bool, reference: str | None = None) -> str:
    """Return the name of the recipe that differences are taken to: `reference`, else "full", else the first.

    Raises SettingError unless `recipes` can be compared: names of their own, one split, and the reference among them.
    """
    names = [recipe.name for recipe in recipes]
    if not recipes or seeds < 1:
        raise SettingError(
            f"got {counted(len(recipes), 'method')} and {counted(seeds, 'seed')}; allowed: one or more of each"
        )
    if len(set(names)) < len(names):
        raise SettingError(f"two methods have the same name ({', '.join(names)}); give each its own name")
    taken = sorted({MAJORITY, RESNET} & set(names)) if baselines else []
    if taken:
        raise SettingError(
            f"{taken[0]!r} is a baseline already; leave it out of the methods, or the baselines with --no-baselines"
        )
    first = recipes[0].evaluation
    if any(replace(recipe.evaluation, threshold=first.threshold) != first for recipe in recipes):
        raise SettingError("the methods are measured differently; give all the same [evaluation]")
    splits = {(recipe.data.fractions, recipe.data.split_seed, recipe.data.label_fraction) for recipe in recipes}
    if len(splits) > 1:
        raise SettingError("the methods ask for different splits; give all the same fractions and split_seed")
    reference = reference or ("full" if "full" in names else names[0])
    if reference not in names:
        raise SettingError(f"reference {reference!r} is not among the methods; {suggest(reference, names)}")
    return reference
