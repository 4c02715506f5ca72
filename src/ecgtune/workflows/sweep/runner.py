"""Where the trials of a sweep run: on training and validation windows, with no others at hand."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import Split
from ecgtune.errors import DataError, DivergedError
from ecgtune.recipes.recipe import Recipe
from ecgtune.training.loop import Trained
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.ready import ReadyRun, RunBuilder
from ecgtune.workflows.run import fit


@dataclass(frozen=True)
class Outcome:
    """What one trial came to: the best epoch on validation, or nothing when the training diverged.

    `seconds` of training, `epochs` that were run, `trainable` weights; `val_auroc`, `val_accuracy` and `best_epoch`
    (from 1) are None when diverged.
    """

    state: Literal["finished", "diverged"]
    val_auroc: float | None = None
    val_accuracy: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    trainable: int | None = None

    def sentence(self) -> str:
        """For the user who waits."""
        if self.state == "diverged":
            return "diverged"
        return (
            f"validation AUROC {self.val_auroc:.4f} in epoch {self.best_epoch} of {self.epochs}, {self.seconds:.1f} s"
        )


class TrialRunner:
    """Runs recipes on the training and validation windows of one split. It is made without the test windows.

    A sweep sees the data through this object alone, so nothing in it can choose by what is to be tested on later.
    """

    def __init__(self, dataset: Dataset, split: Split) -> None:
        train, val = len(split.train), len(split.val)
        self.dataset = dataset.select(np.concatenate([split.train, split.val]))
        self.split = replace(
            split, train=np.arange(train), val=np.arange(train, train + val), test=np.array([], dtype=np.int64)
        )
        self._builder = RunBuilder(self.dataset, self.split)

    def sha256(self) -> str:
        """Of samples, labels and groups of the windows, in their order, and of which part each stands in."""
        whole = hashlib.sha256(np.ascontiguousarray(self.dataset.signal).data)
        whole.update(self.dataset.label.astype("<i8").tobytes())
        whole.update("\0".join([] if self.dataset.group is None else map(str, self.dataset.group)).encode())
        whole.update(str(len(self.split.train)).encode())
        return whole.hexdigest()

    def ready(self, recipe: Recipe, seed: int, folder: Path) -> ReadyRun:
        """The run of `recipe` in `folder`, checked and not begun. Raises an EcgtuneError for a user's mistake."""
        return self._builder.ready(recipe, seed=seed, folder=folder)

    def run(self, recipe: Recipe, seed: int, progress: ProgressBar, title: str) -> Outcome:
        """Train `recipe` and return its best epoch on validation; weights and log are thrown away.

        A loss or an answer that is no number is an outcome: some rate of a wide search is too high for any method.
        """
        with tempfile.TemporaryDirectory(prefix="ecgtune-trial-") as place:
            run = self.ready(recipe, seed, Path(place) / "run")
            run = replace(run, folder=replace(run.folder, title=title))
            progress.describe(title)
            try:
                trained, _ = fit(run, progress)
            except (DivergedError, DataError):  # the windows were checked when they were read: these are of the answers
                return Outcome("diverged", trainable=run.count.trainable)
        return _outcome(trained, run.count.trainable)


def _outcome(trained: Trained, trainable: int) -> Outcome:
    best = trained.log[trained.best_epoch - 1]
    return Outcome(
        "finished",
        val_auroc=best["val_auroc"],
        val_accuracy=best["val_accuracy"],
        best_epoch=trained.best_epoch,
        epochs=trained.epochs,
        seconds=trained.seconds,
        trainable=trainable,
    )
