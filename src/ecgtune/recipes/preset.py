"""Differences between a recipe and the bundled one of its name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from ecgtune.config.base import to_table
from ecgtune.config.model import ModelSettings
from ecgtune.methods.registry import method_to_table
from ecgtune.recipes.comparison import method_name
from ecgtune.recipes.recipe import Recipe, bundled_recipes, load_recipes


@dataclass(frozen=True)
class ChangedPreset:
    """A recipe that differs from the bundled recipe of its name.

    changes: phrases such as "epochs 1 instead of 50". epochs: those of the bundled recipe. titled: whether that has a
    title of its own, which no longer describes the recipe.
    """

    changes: tuple[str, ...]
    epochs: int
    titled: bool


def changed_preset(recipe: Recipe) -> ChangedPreset | None:
    """Compare method, model, optimisation, augmentation and normalisation; None for no difference, or no such preset.

    The encoder is compared where the preset names one. Device, precision, split and measurement are the user's.
    """
    name = method_name(recipe)
    found = {file: _changes(preset, recipe) for file, preset in _presets().get(name, {}).items()}
    if not found or not all(changed.changes for changed in found.values()):
        return None
    return found.get(name, next(iter(found.values())))


def _changes(preset: Recipe, recipe: Recipe) -> ChangedPreset:
    before, after = _settings(preset), _settings(recipe)
    if preset.model.name == ModelSettings().name:
        for key in (("model", "name"), ("model", "checkpoint")):
            before[key] = after.get(key)
    changes = tuple(
        f"{key[0] if key[1] == 'name' else key[1]} {_shown(after.get(key))} instead of {_shown(before.get(key))}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    )
    return ChangedPreset(changes, preset.optimisation.epochs, preset.title is not None)


@cache
def _presets() -> dict[str, dict[str, Recipe]]:
    """All bundled recipes by name, then by file; variants of several files may share a name."""
    found: dict[str, dict[str, Recipe]] = {}
    for file in bundled_recipes():
        for recipe in load_recipes(file):
            found.setdefault(recipe.name, {})[file] = recipe
    return found


def _settings(recipe: Recipe) -> dict[tuple[str, str], Any]:
    """Settings by table and name."""
    tables = {"method": method_to_table(recipe.method), "data": {"normalisation": recipe.data.normalisation}}
    tables |= {table: to_table(getattr(recipe, table)) for table in ("model", "optimisation", "augmentation")}
    return {(table, name): value for table, settings in tables.items() for name, value in settings.items()}


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
