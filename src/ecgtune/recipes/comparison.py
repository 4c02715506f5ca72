"""Which recipes can be compared; light, so that the command line can check before it reads anything."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from ecgtune.config.base import check_settings, require, suggest
from ecgtune.config.commands import CompareSettings
from ecgtune.config.model import ModelSettings
from ecgtune.errors import SettingError
from ecgtune.models.names import check_model_name
from ecgtune.recipes.lookup import RecipeLike, as_recipes
from ecgtune.recipes.recipe import Recipe

#: Names of the baselines: the majority class, and the recipes of networks from scratch.
MAJORITY, RESNET = "majority", "resnet"
#: Networks from scratch in comparisons of several encoders.
SCRATCH = (RESNET, "inception", "s4d")


def as_variants(
    recipes: RecipeLike | Sequence[RecipeLike], model: str | Path | Sequence[str] | None = None
) -> list[Recipe]:
    """The variants of a comparison: `as_recipes`, or with several models each recipe with each of them."""
    if isinstance(model, Sequence) and not isinstance(model, str):
        return with_models(as_recipes(recipes), model)
    return as_recipes(recipes, model)


def with_models(recipes: Sequence[Recipe], models: Sequence[str]) -> list[Recipe]:
    """Each recipe with each encoder, as variants MODEL-METHOD of one comparison.

    models: names of models, checkpoint files or folders; NAME=FILE is a named model with its published file. Windows
    are fitted to each encoder (`DataSettings.fit`).

    Raises SettingError for an unknown name, equal names, or a recipe that names an encoder itself.
    """
    found: dict[str, ModelSettings] = {}
    pairs = [(given, "") if Path(given).exists() else given.partition("=")[::2] for given in models]
    check_short_names([name for name, _ in pairs], models)
    for name, file in pairs:
        check_model_name(name)
        found[short_name(name)] = ModelSettings(name=name, checkpoint=file or None)
    own = [recipe.name for recipe in recipes if recipe.model.name != ModelSettings().name]
    if own:
        raise SettingError(f"{own[0]} names an encoder itself, so it cannot be combined with several; leave it out")
    if not found:
        raise SettingError("no model is named; give one or more, such as ecg-fm-tiny,openecg")
    return [
        replace(
            recipe,
            name=f"{short}-{recipe.name}",
            title=f"{short}, {recipe.label}",
            model=replace(recipe.model, name=model.name, checkpoint=model.checkpoint),
            data=replace(recipe.data, fit="encoder"),
        )
        for short, model in found.items()
        for recipe in recipes
    ]


def short_name(model: str) -> str:
    """A model in names of variants: the last part of a path that names it, without a suffix."""
    path = Path(model)
    path = path.parent if path.name == "best" and path.parent.name else path
    return re.sub(r"[^\w.-]", "-", path.name.removesuffix(path.suffix) if path.is_file() else path.name).lstrip(".")


def check_short_names(models: Sequence[str], shown: Sequence[str] | None = None) -> None:
    """Raise SettingError for two models with the same short name. shown: how they were given."""
    found: dict[str, str] = {}
    for name, given in zip(models, shown or models, strict=True):
        short = short_name(name)
        if short in found:
            raise SettingError(
                f"two models are called {short!r} ({found[short]}, {given}); give each once, and two files or folders"
                " under names of their own, without NAME="
            )
        found[short] = given


def method_name(recipe: Recipe) -> str:
    """Name of the recipe of a variant, without the encoder in front of it."""
    return recipe.name.removeprefix(f"{short_name(recipe.model.name)}-") if several_encoders([recipe]) else recipe.name


def several_encoders(recipes: Sequence[Recipe]) -> bool:
    """Whether variants are those of `with_models`."""
    return all(recipe.data.fit == "encoder" for recipe in recipes)


def encoder_pairs(recipes: Sequence[Recipe]) -> list[tuple[str, str]]:
    """Names of variants that differ in the encoder alone: every pair, method by method."""
    if not several_encoders(recipes):
        return []
    methods: dict[str, list[str]] = {}
    for recipe in recipes:
        methods.setdefault(method_name(recipe), []).append(recipe.name)
    return [pair for names in methods.values() for pair in combinations(names, 2)]


def baseline_names(recipes: Sequence[Recipe]) -> tuple[str, ...]:
    """Recipes of the networks from scratch in a comparison of `recipes`."""
    return SCRATCH if several_encoders(recipes) else (RESNET,)


def check_variants(recipes: Sequence[Recipe], settings: CompareSettings) -> str:
    """Return the name of the recipe that differences are taken to: the one given, else "full", else the first.

    Raises SettingError unless `recipes` can be compared: names of their own, one split, and the reference among them.
    """
    check_settings(settings, CompareSettings)
    names = [recipe.name for recipe in recipes]
    require(len(names) > 0, "got no methods; allowed: one or more")
    if len(set(names)) < len(names):
        raise SettingError(f"two methods have the same name ({', '.join(names)}); give each its own name")
    taken = sorted({MAJORITY, *baseline_names(recipes)} & set(names)) if settings.baselines else []
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
    reference = settings.reference or ("full" if "full" in names else names[0])
    if reference not in names:
        raise SettingError(f"reference {reference!r} is not among the methods; {suggest(reference, names)}")
    return reference
