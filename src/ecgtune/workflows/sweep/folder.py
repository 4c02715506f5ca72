"""Files of a sweep folder: settings, table of trials, best recipe of each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ecgtune.errors import RunError, SettingError
from ecgtune.recipes.recipe import differences, recipe_from_tables, recipe_text, stored_tables
from ecgtune.recipes.space import Space, space_table, stored_space, with_settings
from ecgtune.text import shown_name
from ecgtune.training.schemas import SweepSettings
from ecgtune.utils.csv_cells import csv_text
from ecgtune.utils.files import FolderEntry, parsed_toml, write_json, write_text
from ecgtune.utils.formatting import counted
from ecgtune.utils.locks import is_empty
from ecgtune.utils.stored import ELSEWHERE, read_json
from ecgtune.workflows.sweep.runner import TrialResult
from ecgtune.workflows.sweep.studies import Variant

#: Keys of sweep.json that a resume must not change.
FINGERPRINT = ("seed", "data", "windows_sha256")
_RESULTS = tuple(field.name for field in fields(TrialResult))


class SweepFolder:
    """Files of a sweep, each written atomically."""

    database = FolderEntry("sweep.db")
    settings = FolderEntry("sweep.json")
    trials = FolderEntry("trials.csv")

    def __init__(self, path: Path) -> None:
        self.path = path

    def best(self, method: str) -> Path:
        """Return the file for the recipe of the best trial, an argument of `fine-tune --method`."""
        return self.path / "best" / f"{method}.toml"

    def check(self, variants: Mapping[str, Variant], fingerprint: Mapping[str, Any], trials: int) -> dict[str, Any]:
        """Return the new content of sweep.json: `fingerprint` with `variants` and the methods already in the folder.

        Raises RunError if the folder contains another sweep, or methods that would have another number of trials.
        Nothing is written.
        """
        requested = {name: _entry(variant, fingerprint["weights"][name]) for name, variant in variants.items()}
        settings = {key: value for key, value in fingerprint.items() if key != "weights"} | {"trials": trials}
        if not self.settings.is_file():
            if self.path.is_dir() and not is_empty(self.path):
                raise RunError(f"{self.path} is not empty and holds no sweep; choose another folder with --out")
            return settings | {"methods": requested}
        stored = read_json(self.settings, SweepSettings)
        before = {key: stored.get(key) for key in FINGERPRINT}
        found = [f"{key} was {was}, now {settings[key]}" for key, was in before.items() if was != settings[key]]
        for name in requested.keys() & stored["methods"].keys():
            try:
                found += _differences(name, stored["methods"][name], variants[name], requested[name])
            except ValueError as error:
                raise RunError(f"{self.settings}: methods.{name}.recipe: {error}; {ELSEWHERE}") from None
        if found:
            raise RunError(f"{self.path} holds another sweep: {'; '.join(found)}; choose another folder with --out")
        if trials < stored["trials"]:
            raise RunError(
                f"{self.path} holds a sweep of {counted(stored['trials'], 'trial')} of each method; give --trials "
                f"{stored['trials']} or more, or choose another folder with --out"
            )
        others = sorted(stored["methods"].keys() - requested.keys())
        if others and trials != stored["trials"]:
            raise RunError(
                f"{self.path} also holds {counted(stored['trials'], 'trial')} of {', '.join(others)}; name all "
                "methods to give "
                "each the same number of trials, or choose another folder with --out"
            )
        return {**stored, "trials": trials, "methods": stored["methods"] | requested}

    def spaces(self, settings: Mapping[str, Any]) -> dict[str, Space]:
        """Return the space of each method in the content of sweep.json. Raises RunError."""
        found = {}
        for name, method in settings["methods"].items():
            try:
                found[name] = stored_space(method["space"])
            except SettingError as error:
                raise RunError(f"{self.settings}: methods.{shown_name(name)}.space: {error}; {ELSEWHERE}") from None
        return found

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Write sweep.json, by which a sweep folder is recognised."""
        write_json(self.settings, settings)

    def write_trials(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write trials.csv: `method, trial`, a column per setting of any method (empty for the others), results."""
        settings = dict.fromkeys(key for row in rows for key in row if "." in key)
        columns = ["method", "trial", *settings, *_RESULTS]
        write_text(self.trials, csv_text([columns, *([row.get(name, "") for name in columns] for row in rows)]))

    def write_best(self, variant: Variant, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """Write best/METHOD.toml of the first trial with the highest AUROC; return its row, None if all diverged."""
        finished = [row for row in rows if row["state"] == "finished"]
        if not finished:
            return None
        best = max(finished, key=lambda row: row["val_auroc"])
        recipe = with_settings(variant.recipe, {setting: best[setting] for setting in variant.space})
        about = (
            f"# {variant.recipe.name}: the best of {counted(len(rows), 'trial')} of a sweep, validation AUROC "
            f"{best['val_auroc']:.4f} (trial {best['trial']}).\n"
        )
        write_text(self.best(variant.recipe.name), about + recipe_text(recipe))
        return dict(best)


def _entry(variant: Variant, weights: str) -> dict[str, Any]:
    return {"recipe": recipe_text(variant.recipe), "space": space_table(variant.space), "weights": weights}


def _differences(name: str, stored: Mapping[str, Any], variant: Variant, requested: Mapping[str, Any]) -> list[str]:
    """List the differences between the stored and the requested settings of a method."""
    recipe = recipe_from_tables(stored_tables(parsed_toml(stored["recipe"])), "sweep.json", name)
    found = [f"{phrase} in {name}" for phrase in differences(recipe, variant.recipe)]
    before, after = stored["space"], requested["space"]
    for setting in sorted(before.keys() | after.keys()):
        if before.get(setting) != after.get(setting):
            found.append(f"the space of {setting} in {name} was {before.get(setting)}, now {after.get(setting)}")
    if stored["weights"] != requested["weights"]:
        found.append(f"weights of {name} were {stored['weights']}, now {requested['weights']}")
    return found
