"""Files of a run folder, the interface between training and all later steps (docs/architecture.md)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from ecgtune.errors import RunError
from ecgtune.recipes.pretraining import Pretraining, pretraining_differences, pretraining_from_tables, pretraining_text
from ecgtune.recipes.recipe import Recipe, differences, is_pretraining, recipe_from_tables, recipe_text, stored_tables
from ecgtune.text import shown
from ecgtune.training.schemas import MOST_TERMS, LogRow, Metrics, Term
from ecgtune.utils.csv_cells import csv_text
from ecgtune.utils.files import (
    FolderEntry,
    finite,
    remove_partial,
    write_json,
    write_text,
)
from ecgtune.utils.formatting import flat
from ecgtune.utils.locks import is_empty
from ecgtune.utils.schema import check_schema
from ecgtune.utils.stored import ELSEWHERE, is_there, read_json, read_json_lines, read_rows, read_toml

#: `format` of metrics.json, results.json and rounds.json. Increased when a key changes its name or meaning.
RESULT_FORMAT = 2
REPEAT = "repeat the command that wrote it (fine-tune and pretrain with --resume)"


@dataclass(frozen=True)
class RunFolder:
    """Paths of the files of one run; `title` is its name in progress lines."""

    path: Path
    title: str = ""

    recipe = FolderEntry("recipe.toml")
    environment = FolderEntry("environment.json")
    split = FolderEntry("split.csv")
    recordings = FolderEntry("recordings.csv")
    log = FolderEntry("log.jsonl")
    best = FolderEntry("best")
    head = FolderEntry("head")  # log and checkpoint of the `head_epochs`
    state = FolderEntry("last/state.pt")
    predictions = FolderEntry("predictions.csv")
    calibration = FolderEntry("calibration.json")
    certainty = FolderEntry("certainty.json")
    novelty = FolderEntry("novelty.npz")
    metrics = FolderEntry("metrics.json")

    @property
    def finished(self) -> bool:
        """Whether the run has ended: metrics.json is written last."""
        return self.metrics.is_file()

    def check_finished(self) -> None:
        """Raise RunError unless the folder holds a finished run with a model."""
        if self.finished and (self.best / "model.json").is_file():
            return
        unfinished = self.recipe.is_file() and not self.finished
        state = f"an unfinished run; {REPEAT}" if unfinished else "no run with a model"
        raise RunError(f"{self.path} holds {state}; allowed: a folder with metrics.json and best/model.json")

    def read_metrics(self) -> dict[str, Any]:
        """Read metrics.json. Raises RunError when it is missing, damaged or of another format."""
        return read_result(self.metrics, Metrics)

    def discard_state(self) -> None:
        """Remove the saved states, which only a resume needs."""
        for folder in (self.path, self.head):
            shutil.rmtree(folder / "last", ignore_errors=True)


def read_result(file: Path, schema: Any) -> dict[str, Any]:
    """Read a result file of `RESULT_FORMAT` and a schema of `training.schemas`. Raises RunError for any other file."""
    content = read_json(file, Any)
    check_format(file, content)
    check_schema(content, schema, str(file), RunError, ELSEWHERE)
    return content


def check_format(file: Path, content: Any) -> None:
    """Raise RunError unless the content of a result file has `RESULT_FORMAT`."""
    found = content.get("format") if isinstance(content, dict) else None
    if found != RESULT_FORMAT:
        raise RunError(
            f"{file} has format {found}, but this version reads format {RESULT_FORMAT}; use the version that wrote it,"
            " or run again in another folder"
        )


_WINDOWS = "data.windows_sha256"
_CHANGED = "the content of the data file has changed"
#: Keys of environment.json that a resume must not change.
FINGERPRINT = ("seed", "data", "recorded_at", "weights", "left_out", "auto_precision")


def check_run(folder: RunFolder, recipe: Recipe | Pretraining, fingerprint: Mapping[str, Any], *, resume: bool) -> None:
    """Raise RunError unless `folder` is new or empty, or with `resume` contains the same run.

    `fingerprint` contains seed, data and weights, which a resume must not change. Nothing is written.
    """
    if folder.recipe.is_file():
        if not resume:
            raise RunError(
                f"{folder.path} already holds a run; continue it with --resume or choose another folder with --out"
            )
        stored = read_json(folder.environment, dict[str, Any])
        found = _recipe_differences(folder, recipe) + _differences(stored, fingerprint)
        if found:
            raise RunError(f"{folder.path} holds another run: {'; '.join(found)}; choose another folder with --out")
    elif folder.path.is_dir() and not is_empty(folder.path, folder.environment.name):
        raise RunError(f"{folder.path} is not empty and holds no run; choose another folder with --out")


def begin_run(folder: RunFolder, recipe: Recipe | Pretraining, fingerprint: Mapping[str, Any]) -> None:
    """Write environment.json, then recipe.toml, by which a run folder is recognised; keep existing files.

    Temporary files of a killed process are removed.
    """
    for place in (folder.path, folder.state.parent, folder.head, RunFolder(folder.head).state.parent):
        remove_partial(place)
    if not folder.recipe.is_file():
        write_json(folder.environment, fingerprint)
        write_text(folder.recipe, pretraining_text(recipe) if isinstance(recipe, Pretraining) else recipe_text(recipe))


def read_recipe(folder: RunFolder) -> Recipe:
    """Read the recipe of a fine-tuning. Raises RunError if the folder has none or it cannot be read."""
    tables = _read_tables(folder)
    if is_pretraining(tables):
        raise RunError(f"{folder.path} holds a pretraining; fine-tune its encoder with --model {folder.best}")
    return recipe_from_tables(tables, str(folder.recipe), "")


def _read_tables(folder: RunFolder) -> dict[str, Any]:
    if not folder.recipe.is_file():
        raise RunError(f"{folder.path} holds no run (no recipe.toml); give the folder that fine-tune or compare wrote")
    return stored_tables(read_toml(folder.recipe))


def _recipe_differences(folder: RunFolder, recipe: Recipe | Pretraining) -> list[str]:
    if isinstance(recipe, Recipe):
        return differences(read_recipe(folder), recipe)
    tables = _read_tables(folder)
    if not is_pretraining(tables):
        raise RunError(f"{folder.path} holds a fine-tuning, not a pretraining; choose another folder with --out")
    return pretraining_differences(pretraining_from_tables(tables, str(folder.recipe), ""), recipe)


def _differences(stored: Any, requested: Mapping[str, Any]) -> list[str]:
    """Return one phrase per difference of two environment.json, with words instead of checksums."""
    before, after = (flat({key: values.get(key) for key in FINGERPRINT}) for values in (stored, requested))
    different = [key for key in after if before.get(key) != after[key]]
    found = [
        f"{key} was {before.get(key)}, now {after.get(key)}"
        for key in different
        if key not in ("data.sha256", _WINDOWS)
    ]
    if "data.sha256" in different:
        old, new = (values.get("file", "unknown") for values in (stored, requested))
        found.append(_CHANGED if old == new else f"the data were {old}, now {new}")
    elif _WINDOWS in different:
        found.append("the labels, groups or split of the windows differ (--label, --positive, --group, the split)")
    return found


def log_text(log: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of log.jsonl: one JSON object per epoch, with null for numbers that are not finite."""
    return "".join(json.dumps(finite(row)) + "\n" for row in log)


def read_log(file: Path, epochs: int) -> list[dict[str, Any]]:
    """Return the epochs of a log.jsonl, at most `epochs`. Raises RunError."""
    rows = read_json_lines(file, Any, epochs)
    check_log(rows, str(file), ELSEWHERE)
    return rows


def check_log(rows: Any, source: str, remedy: str) -> None:
    """Raise RunError, which begins with `source`, unless `rows` are epochs; null is a number that is not finite."""
    for schema in (list[LogRow], list[Annotated[dict[Term, float | None], 1, MOST_TERMS]]):
        check_schema(rows, schema, source, RunError, remedy)


def split_text(split: Mapping[str, np.ndarray], origin: np.ndarray | None = None) -> str:
    """Return the text of split.csv, `row,split` of every window in use; `row` is the index in the dataset, from 0.

    origin: recording or group of each window of the dataset, an additional column.
    """
    names = np.concatenate([np.full(len(rows), name) for name, rows in split.items()])
    row = np.concatenate(list(split.values()))
    order = np.argsort(row, kind="stable")
    columns = {"row": row[order].tolist(), "split": names[order].tolist()}
    if origin is not None:
        columns["origin"] = origin[row[order]].tolist()
    return csv_text([list(columns), *zip(*columns.values(), strict=True)])


_SPLITS = ("train", "val", "test")


def chosen_on(run: RunFolder) -> frozenset[str]:
    """Recordings or groups whose windows trained the run, or chose its epoch; empty where they have no names, and for a
    run from the hub, which comes without them."""
    if not is_there(run.split):
        return frozenset()
    return frozenset(row["origin"] for row in _split_rows(run) if "origin" in row and row["split"] != "test")


def read_split(run: RunFolder) -> dict[str, np.ndarray]:
    """Rows of each split of split.csv, rising. Raises RunError."""
    pairs = [(row["row"], row["split"]) for row in _split_rows(run)]
    return {name: np.array([row for row, of in pairs if of == name]) for name in _SPLITS}


def _split_rows(run: RunFolder) -> list[dict[str, Any]]:
    """Rows of split.csv, of which `row` is a number. Raises RunError."""

    def parsed(row: dict[str, str]) -> dict[str, Any]:
        number, split = int(row["row"]), row["split"]
        if number < 0 or split not in _SPLITS:
            raise ValueError(f"row {number} of {shown(split)}")
        return {**row, "row": number}

    return read_rows(run.split, parsed)
