"""What the sweep found becomes what ecgtune does unless told otherwise: the recipes of its methods."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from peft_rows import read_rows
from peft_settings import Study, tuned

from ecgtune.files import write_text
from ecgtune.recipe import Recipe, space_of

TABLES = ("method", "model", "training", "augmentation")


def write_recipes(study: Study, results: Path, folder: Path) -> list[str]:
    """Put the settings of every tuned method into its recipe in `folder`; names of the recipes that changed.

    None before all methods have had their trials: recipes that are tuned beside some that are not compare nothing.
    """
    tried = {row["method"] for row in read_rows(results / "trials.csv")}
    if not tried.issuperset(study.methods):
        return []
    changed = []
    for name, best in tuned(results).items():
        file = folder / f"{name}.toml"
        before = file.read_text(encoding="utf-8")
        after = recipe_with(before, won(study, name, best))
        if after != before:
            write_text(file, after)
            changed.append(name)
    return changed


def won(study: Study, name: str, best: Recipe) -> dict[str, Any]:
    """By name ("training.learning_rate") what the sweep chose, and what was the same for all of its trials.

    Numbers have three digits: more say nothing, and people read recipes.
    """
    names = [*space_of(study.swept(name), study.space), *study.care_of(name), "model.pooling"]
    found = {}
    for setting in names:
        table, _, key = setting.partition(".")
        value = getattr(getattr(best, table), key)
        if value is not None:
            found[setting] = float(f"{value:.3g}") if isinstance(value, float) else value
    return found


def recipe_with(text: str, settings: Mapping[str, Any]) -> str:
    """The recipe in `text` with `settings`, and everything else in it, comments too, as it was."""
    document = tomlkit.parse(text)
    for table in TABLES:
        own = {
            setting.partition(".")[2]: value for setting, value in settings.items() if setting.startswith(f"{table}.")
        }
        if own and table not in document:
            document.add(tomlkit.nl())
            document.add(table, tomlkit.table())
        for key, value in own.items():
            document[table][key] = value  # type: ignore[index]
    return tomlkit.dumps(document)
