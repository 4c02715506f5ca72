"""The run folder: the contract between training and everything after it (docs/architecture.md)."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecgtune.errors import RunError
from ecgtune.files import read_json, write_text
from ecgtune.recipe import (
    Pretraining,
    Recipe,
    differences,
    is_pretraining,
    pretraining_differences,
    pretraining_from_tables,
    pretraining_text,
    recipe_from_tables,
    recipe_text,
)

#: Entries of environment.json that belong to what a run is, and not to where it ran.
IDENTITY = ("seed", "data", "weights", "left_out")


@dataclass(frozen=True)
class RunFolder:
    """Names of the files of one run; `title` is what progress lines call it."""

    path: Path
    title: str = ""

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def split(self) -> Path:
        return self.path / "split.csv"

    @property
    def recordings(self) -> Path:
        return self.path / "recordings.csv"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def best(self) -> Path:
        return self.path / "best"

    @property
    def state(self) -> Path:
        return self.path / "last" / "state.pt"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.csv"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def finished(self) -> bool:
        """metrics.json is written last."""
        return self.metrics.is_file()

    def discard_state(self) -> None:
        """Remove what only a resume needs."""
        shutil.rmtree(self.state.parent, ignore_errors=True)


def open_run(folder: RunFolder, recipe: Recipe | Pretraining, identity: Mapping[str, Any], *, resume: bool) -> None:
    """Prepare the folder for a run of `recipe`; the `IDENTITY` part of `identity` must be unchanged on a resume.

    Raises RunError, and changes nothing, for a folder that holds another run, or any run when `resume` is False.
    """
    if folder.path.exists() and not folder.path.is_dir():
        raise RunError(f"{folder.path} is a file; choose another folder with --out")
    if folder.recipe.is_file():
        if not resume:
            raise RunError(
                f"{folder.path} holds a run already; continue it with --resume or choose another folder with --out"
            )
        _check_same(folder, recipe, identity)
        return
    if folder.path.is_dir() and any(folder.path.iterdir()):
        raise RunError(f"{folder.path} is not empty and holds no run; choose another folder with --out")
    folder.path.mkdir(parents=True, exist_ok=True)
    write_text(folder.environment, json.dumps(identity, indent=1, ensure_ascii=False) + "\n")
    write_text(folder.recipe, pretraining_text(recipe) if isinstance(recipe, Pretraining) else recipe_text(recipe))


def read_recipe(folder: RunFolder) -> Recipe:
    """The stored recipe of a fine-tuning. Raises RunError when the folder holds none."""
    if not folder.recipe.is_file():
        raise RunError(f"{folder.path} holds no run (no recipe.toml); give the folder that train or compare wrote")
    tables = tomllib.loads(folder.recipe.read_text(encoding="utf-8"))
    if is_pretraining(tables):
        raise RunError(f"{folder.path} holds a pretraining; fine-tune its encoder with --model {folder.best}")
    return recipe_from_tables(tables, str(folder.recipe), "")


def _check_same(folder: RunFolder, recipe: Recipe | Pretraining, identity: Mapping[str, Any]) -> None:
    tables = tomllib.loads(folder.recipe.read_text(encoding="utf-8"))
    if isinstance(recipe, Recipe):
        found = differences(read_recipe(folder), recipe)
    elif is_pretraining(tables):
        found = pretraining_differences(pretraining_from_tables(tables, str(folder.recipe), ""), recipe)
    else:
        raise RunError(f"{folder.path} holds a fine-tuning, no pretraining; choose another folder with --out")
    stored = read_json(folder.environment)
    for key in IDENTITY:
        if stored.get(key) != identity.get(key):
            found.append(f"{key} was {stored.get(key)}, now {identity.get(key)}")
    if found:
        raise RunError(f"{folder.path} holds another run: {'; '.join(found)}; choose another folder with --out")


def log_text(log: Sequence[Mapping[str, Any]]) -> str:
    """log.jsonl: one JSON object per epoch."""
    return "".join(json.dumps(row) + "\n" for row in log)


def split_text(split: Mapping[str, np.ndarray]) -> str:
    """split.csv: `row,split` for every window used, by row of the data file."""
    name = np.concatenate([np.full(len(rows), part) for part, rows in split.items()])
    row = np.concatenate(list(split.values()))
    order = np.argsort(row, kind="stable")
    return "row,split\n" + "".join(f"{r},{n}\n" for r, n in zip(row[order].tolist(), name[order].tolist(), strict=True))


def predictions_text(
    rows: np.ndarray, group: np.ndarray | None, split: np.ndarray, label: np.ndarray, probability: np.ndarray
) -> str:
    """predictions.csv: `row,group,split,label,probability`, the probability of the second class in full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["row", "group", "split", "label", "probability"])
    groups = [""] * len(rows) if group is None else group.tolist()
    for values in zip(rows.tolist(), groups, split.tolist(), label.tolist(), probability.tolist(), strict=True):
        writer.writerow(values)
    return out.getvalue()


@dataclass(frozen=True)
class Predictions:
    """predictions.csv as arrays of equal length; `group` is None when the file names none."""

    row: np.ndarray
    group: np.ndarray | None
    split: np.ndarray
    label: np.ndarray
    probability: np.ndarray

    def of(self, split: str) -> Predictions:
        """The rows of one split."""
        chosen = self.split == split
        group = None if self.group is None else self.group[chosen]
        return Predictions(self.row[chosen], group, self.split[chosen], self.label[chosen], self.probability[chosen])


def read_predictions(path: Path) -> Predictions:
    """Read predictions.csv. Raises RunError when it is missing or not of this layout."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        group = np.array([row["group"] for row in rows])
        return Predictions(
            row=np.array([int(row["row"]) for row in rows]),
            group=group if len(group) and np.all(group != "") else None,
            split=np.array([row["split"] for row in rows]),
            label=np.array([int(row["label"]) for row in rows]),
            probability=np.array([float(row["probability"]) for row in rows]),
        )
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise RunError(
            f"{path} cannot be read ({error}); the run is incomplete, train it again with --resume"
        ) from None
