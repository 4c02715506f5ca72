"""Which variants make a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from ecgtune.errors import SettingError
from ecgtune.recipe.recipe import Recipe
from ecgtune.workflows.floors import MAJORITY, RESNET, resnet_recipe


def variants_of(variants: Sequence[Recipe], floors: bool) -> list[tuple[Recipe, str]]:
    """What a comparison of `variants` trains: each with its kind, "method" or "baseline"."""
    kinds = [(variant, "method") for variant in variants]
    return [*kinds, (resnet_recipe(variants[0]), "baseline")] if floors else kinds


def check_variants(recipes: Sequence[Recipe], seeds: int, floors: bool) -> None:
    """Raise SettingError unless `recipes` can be compared: names of their own, one split."""
    names = [recipe.name for recipe in recipes]
    if not recipes or seeds < 1:
        raise SettingError(f"got {len(recipes)} methods and {seeds} seeds; allowed: one or more of each")
    if len(set(names)) < len(names):
        raise SettingError(f"two methods have the same name ({', '.join(names)}); give each its own name")
    taken = sorted({MAJORITY, RESNET} & set(names)) if floors else []
    if taken:
        raise SettingError(
            f"{taken[0]!r} is a floor already; leave it out of the methods, or the floors with --no-floors"
        )
    if any(recipe.evaluation != recipes[0].evaluation for recipe in recipes):
        raise SettingError("the methods are measured differently; give all the same [evaluation]")
    splits = {(recipe.input.fractions, recipe.input.split_seed, recipe.input.label_share) for recipe in recipes}
    if len(splits) > 1:
        raise SettingError("the methods ask for different splits; give all the same shares, split_seed and label_share")
