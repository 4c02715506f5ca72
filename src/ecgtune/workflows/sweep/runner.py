"""Execution of the trials of a sweep on training and validation windows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import Split
from ecgtune.errors import DataError, DivergedError
from ecgtune.recipes.recipe import Recipe
from ecgtune.text import utf8
from ecgtune.utils.files import temporary_folder
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.ready import ReadyRun, RunBuilder
from ecgtune.workflows.run import fit


@dataclass(frozen=True)
class TrialResult:
    """Result of one trial at the best epoch; only `state` and `trainable` (parameters) are set if it diverged.

    `best_epoch` counts from 1; `epochs` is the number of epochs run; `seconds` is the duration of the training.
    """

    state: Literal["finished", "diverged"]
    val_auroc: float | None = None
    val_accuracy: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    trainable: int | None = None

    def sentence(self) -> str:
        """Return a summary for the progress display."""
        if self.state == "diverged":
            return "diverged"
        return (
            f"validation AUROC {self.val_auroc:.4f} in epoch {self.best_epoch} of {self.epochs}, {self.seconds:.1f} s"
        )


class TrialRunner:
    """Runs recipes on the training and validation windows of one split.

    It does not contain the test windows, and a sweep accesses the data only through it, so that no choice can depend on
    the test split.

    place: folder of this process alone for the files of trials, from which those of a killed process are removed; by
    default that of the system.
    """

    def __init__(self, dataset: Dataset, split: Split, place: Path | None = None) -> None:
        train, val = len(split.train), len(split.val)
        self.dataset = dataset.select(np.concatenate([split.train, split.val]))
        self.split = replace(
            split, train=np.arange(train), val=np.arange(train, train + val), test=np.array([], dtype=np.int64)
        )
        self._builder = RunBuilder(self.dataset, self.split)
        self._place = place

    def sha256(self) -> str:
        """Return the SHA-256 of samples, labels, groups and split of the windows."""
        digest = hashlib.sha256(np.ascontiguousarray(self.dataset.signal).data)
        digest.update(self.dataset.label.astype("<i8").tobytes())
        digest.update(utf8("\0".join([] if self.dataset.group is None else map(str, self.dataset.group))))
        digest.update(str(len(self.split.train)).encode())
        return digest.hexdigest()

    def ready(self, recipe: Recipe, seed: int, folder: Path) -> ReadyRun:
        """Return the checked run of `recipe` in `folder`, not started. Raises an EcgtuneError for invalid settings."""
        return self._builder.ready(recipe, seed=seed, folder=folder)

    def run(self, recipe: Recipe, seed: int, progress: ProgressBar, title: str) -> TrialResult:
        """Train `recipe` and return the result at its best epoch; weights and log are deleted.

        A loss or prediction that is not finite is a result too, because wide searches include too high learning rates.
        """
        with temporary_folder(self._place) as place:
            run = self.ready(recipe, seed, place / "run")
            run = replace(run, folder=replace(run.folder, title=title))
            progress.describe(title)
            try:
                trained = fit(run, progress).training
            except (DivergedError, DataError):  # DataError of predictions; the windows are already checked
                return TrialResult("diverged", trainable=run.count.trainable)
        best = trained.log[trained.best_epoch - 1]
        return TrialResult(
            "finished",
            val_auroc=best["val_auroc"],
            val_accuracy=best["val_accuracy"],
            best_epoch=trained.best_epoch,
            epochs=trained.epochs,
            seconds=trained.seconds,
            trainable=run.count.trainable,
        )
