"""A training of which only the validation windows are looked at: what settings of the study are chosen by."""

import json
import tempfile
from pathlib import Path

from peft_rows import Row

import ecgtune
from ecgtune.data.dataset import Dataset
from ecgtune.recipe.recipe import Recipe
from ecgtune.workflows.environment import now

COLUMNS = ("train_loss", "val_loss", "val_auroc", "best_epoch", "best_val_auroc", "date")


def on_validation(recipe: Recipe, dataset: Dataset) -> Row:
    """What the log of a training with seed 0 says of the last epoch and of the best one."""
    with tempfile.TemporaryDirectory() as folder:
        run = ecgtune.fine_tune(dataset, recipe, out=Path(folder) / "run", seed=0)
        log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    best = max(log, key=lambda row: row["val_auroc"])
    return {
        **{name: f"{log[-1][name]:.4f}" for name in ("train_loss", "val_loss", "val_auroc")},
        "best_epoch": str(best["epoch"]),
        "best_val_auroc": f"{best['val_auroc']:.4f}",
        "date": now()[:10],
    }
