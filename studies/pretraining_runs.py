"""Pretrainings of a study."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from rows import Row
from settings import Study, Variant, digest

from ecgtune import PretrainSettings, pretrain
from ecgtune.data.dataset import Dataset
from ecgtune.recipes.pretraining import TASKS, Pretraining, load_pretraining_recipe
from ecgtune.utils.files import json_value


def pretraining_recipe(study: Study, variant: Variant) -> Pretraining:
    """Return the recipe of the study with the changes of a variant; `objective.name` selects another objective.

    Variants of a study whose pretraining has a name share it.
    """
    recipe = load_pretraining_recipe(study.tables["pretraining"]["recipe"])
    for changes in (study.tables["pretraining"]["settings"], variant.pretraining or {}):
        for table, values in changes.items():
            old = getattr(recipe, table)
            if table == "objective" and values.get("name", old.name) != old.name:
                new = TASKS[values["name"]](**{key: value for key, value in values.items() if key != "name"})
            else:
                new = replace(old, **values)
            recipe = replace(recipe, **{table: new})
    return replace(recipe, name=study.tables["pretraining"].get("name", variant.name))


def pretrained(study: Study, variant: Variant, dataset: Dataset, data: Path, work: Path) -> tuple[Path, Row]:
    """Return the encoder of a variant, which is trained in `work` unless it exists, and columns of its rows.

    Recordings are those of the setting file, without the ones that are tested, or else the training windows of
    `dataset`.
    """
    recipe, settings = pretraining_recipe(study, variant), study.tables["pretraining"]
    folder = work / f"{recipe.name}-{digest(recipe)}"
    if "file" in settings:
        pool, left_out = data / settings["file"], data / next(iter(study.tasks.values())).file
    else:
        pool, left_out = training_pool(dataset, work), None
        folder = folder.with_name(f"{folder.name}-{pool.stem}")
    best = pretrain(pool, recipe, PretrainSettings(leave_out=left_out), out=folder, resume=folder.exists())
    metrics = json_value(folder / "metrics.json")
    return best, {
        "parameters": str(metrics["parameters"]),
        "token_ms": f"{1000 * metrics['window']['seconds'] / metrics['window']['tokens']:g}",
        "pretraining_seconds": f"{metrics['training']['seconds']:.0f}",
    }


def training_pool(dataset: Dataset, folder: Path) -> Path:
    """Write the training windows of one lead as recordings without labels, and return the file."""
    rows = np.flatnonzero(dataset.split == "train")
    signal = np.asarray(dataset.signal[rows, 0])
    record = np.array([f"row {row}" for row in rows])
    file = folder / f"pool-{hashlib.sha256(signal.tobytes()).hexdigest()[:8]}.npz"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        offset = np.arange(len(rows) + 1) * signal.shape[1]
        np.savez(file, signal=signal.ravel(), offset=offset, record=record, sampling_rate=dataset.sampling_rate)
    return file
