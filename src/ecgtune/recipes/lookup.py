"""Recipes from names, files and methods, with single settings in place of their own.

A name means the same on the command line and in Python: `LoRA()` is the method of the bundled recipe "lora", and where
a recipe is expected it comes with the other settings of that recipe.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from ecgtune.config.base import suggest
from ecgtune.errors import CheckpointError, SettingError
from ecgtune.methods.base import Method
from ecgtune.models.names import check_model_name, may_download
from ecgtune.recipes.recipe import TABLES, Recipe, bundled_recipes, load_recipes

#: A recipe; a method, which comes with the other settings of its bundled recipe; or the name or TOML file of a recipe.
RecipeLike: TypeAlias = Recipe | Method | str | Path

#: Name of a setting -> its table and field; names are those of the flags.
_HOMES = {
    "model" if (table, field.name) == ("model", "name") else field.name: (table, field.name)
    for table, cls in TABLES.items()
    for field in dataclasses.fields(cls)
}


def as_recipes(given: RecipeLike | Sequence[RecipeLike], model: str | Path | None = None) -> list[Recipe]:
    """Recipes from names, files, methods or recipes; a file may hold several variants. Raises SettingError.

    model: name or path, in place of the model of every recipe.
    """
    if model is None:
        return _as_recipes(given)
    if not isinstance(model, (str, Path)):
        raise SettingError(f"model is {model!r}; give a name or path as load_model takes it: each run loads its own")
    return [replace(one, model=replace(one.model, name=str(model))) for one in _as_recipes(given)]


def _as_recipes(given: RecipeLike | Sequence[RecipeLike]) -> list[Recipe]:
    if isinstance(given, Method):
        return [_recipe_of(given)]
    if isinstance(given, Recipe):
        return [given]
    if isinstance(given, (str, Path)):
        return load_recipes(str(given))
    if not isinstance(given, Sequence):
        raise SettingError(
            f"recipe is {given!r}; give a name such as 'lora', a TOML file, a method such as ecgtune.LoRA(rank=16), or "
            "an ecgtune.Recipe"
        )
    return [recipe for item in given for recipe in _as_recipes(item)]


def as_recipe(given: RecipeLike, model: str | Path | None = None) -> Recipe:
    """One recipe, as `as_recipes`. Raises SettingError where `given` holds several variants."""
    recipes = as_recipes(given, model)
    if len(recipes) != 1:
        raise SettingError(f"{given} holds {len(recipes)} variants; run it with `ecgtune compare --methods {given}`")
    return recipes[0]


def recipe(given: RecipeLike, **settings: Any) -> Recipe:
    """A recipe with single settings in place of its own, as the flags of the command line set them.

    Parameters
    ----------
    given : name or TOML file of a recipe, a method such as `LoRA(rank=8)`, or a recipe.
    settings : by the names of the flags, such as `epochs=5`, `model="ecg-fm"`, `learning_rate=1e-3`.

    Raises SettingError for an unknown name or setting, a value that is not allowed, or a file of several variants.

    Examples
    --------
    >>> ecgtune.recipe("lora", epochs=5).optimisation.epochs
    5
    >>> ecgtune.recipe(ecgtune.LoRA()) == ecgtune.recipe("lora")
    True
    """
    return changed(as_recipe(given), settings)


def changed(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with `settings`, by the names of the flags, in place of its own. Raises SettingError."""
    tables: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        if name not in _HOMES:
            own = [field.name for field in dataclasses.fields(recipe.method)]
            hint = f"set it in the method, {type(recipe.method).__name__}({name}={value!r})"
            raise SettingError(f"no setting {name!r}; {hint if name in own else suggest(name, _HOMES)}")
        table, field = _HOMES[name]
        tables.setdefault(table, {})[field] = value
    optimisation, augmentation = tables.get("optimisation", {}), tables.get("augmentation", {})
    if "learning_rate" in optimisation:
        # A given rate is not scaled to the width of the encoder that the recipe's own was tuned on.
        optimisation.setdefault("rate_width", None)
    if augmentation and not replace(recipe.augmentation, **{**augmentation, "augmented_copies": None}).acting:
        augmentation.setdefault("augmented_copies", None)  # without augmentation there is nothing to copy
    return replace(recipe, **{table: replace(getattr(recipe, table), **own) for table, own in tables.items()})


def resolve_models(recipes: Sequence[Recipe]) -> None:
    """Check the names of the models of `recipes`, and download weights that are not here.

    Raises SettingError or CheckpointError, with the recipes that bring the model and what to type.
    """
    users: dict[str, list[str]] = {}
    for one in recipes:
        users.setdefault(one.model.name, []).append(one.name)
    for model, names in users.items():
        try:
            check_model_name(model)
        except SettingError as error:
            raise SettingError(f"model of {', '.join(names)}: {error}" if len(users) > 1 else str(error)) from None
    at_hand = {one.model.name for one in recipes if one.model.checkpoint is not None}
    for model, names in users.items():
        if model in at_hand or not may_download(model):
            continue
        from ecgtune.models.loading import fetch_weights  # imports torch

        try:
            fetch_weights(model)
        except CheckpointError as error:
            if all(one.data.fit == "encoder" for one in recipes):  # those of --models, which take no --checkpoint
                reason = str(error).replace("--checkpoint PATH", f"--models {model}=PATH")
                raise CheckpointError(f"{reason}; or leave {model} out of --models") from None
            named = ", ".join(names)
            instead = "give another model"
            if len(users) > 1:
                instead = f"leave out {named}, or give all methods another model"
            raise CheckpointError(
                f"{named} with the model {model}: {error}; or {instead}, such as --model ecg-fm-tiny"
            ) from None


def _recipe_of(method: Method) -> Recipe:
    """The bundled recipe of the method's name with this method; default settings where there is none."""
    if method.name not in bundled_recipes():
        return Recipe(method=method)
    return replace(load_recipes(method.name)[0], method=method)
