"""The arguments of workflows: a dataset, then one recipe or the variants of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ecgtune.data.dataset import Dataset
from ecgtune.errors import SettingError
from ecgtune.recipes.recipe import Recipe
from ecgtune.workflows.baselines import MAJORITY, RESNET, resnet_recipe


def check_dataset(dataset: Dataset, function: str) -> None:
    """Raise SettingError unless `dataset` is one; it is the first argument of every workflow."""
    if not isinstance(dataset, Dataset):
        raise SettingError(
            f"{function} got a {type(dataset).__name__} first; write {function}(dataset, recipe, ...) with a dataset "
            "from read_dataset, read_records or simulate"
        )


def variants_of(variants: Sequence[Recipe], baselines: bool) -> list[tuple[Recipe, str]]:
    """What a comparison of `variants` trains: each with its kind, "method" or "baseline"."""
    kinds = [(variant, "method") for variant in variants]
    return [*kinds, (resnet_recipe(variants[0]), "baseline")] if baselines else kinds


def check_variants(recipes: Sequence[Recipe], seeds: int, baselines: bool) -> None:
    """Raise SettingError unless `recipes` can be compared: names of their own, one split."""
    names = [recipe.name for recipe in recipes]
    if not recipes or seeds < 1:
        raise SettingError(f"got {len(recipes)} methods and {seeds} seeds; allowed: one or more of each")
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
