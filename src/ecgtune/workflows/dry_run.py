"""A dry run: a few real steps of one recipe, whose seconds and bytes give the cost of the whole run."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import Split
from ecgtune.errors import EcgtuneError, RunError
from ecgtune.recipes.recipe import Recipe
from ecgtune.training.callbacks import Callback
from ecgtune.training.inference import choose_device, logits_of
from ecgtune.training.memory import PeakMemory, out_of_memory
from ecgtune.training.prefix import MEMORY_FRACTION
from ecgtune.utils import formatting
from ecgtune.utils.files import temporary_folder
from ecgtune.utils.machine import status_bytes
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.preparation import load_recipe_model
from ecgtune.workflows.ready import RunBuilder
from ecgtune.workflows.run import run_recipe

#: Optimizer steps of an epoch that are run, and epochs; the first steps carry the audits and are not timed.
STEPS, EPOCHS, AUDITED = 4, 2, 2
VALIDATED = 16  # windows at least


@dataclass
class Timing:
    """One training in seconds: before its first step, each of its steps, each end of an epoch (validation, saving)."""

    before: float
    steps: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    @property
    def step(self) -> float:
        """Of the optimizer, without the steps that are audited."""
        return float(np.median(self.steps[AUDITED:] or self.steps))


@dataclass(frozen=True)
class DryRun:
    """Seconds and bytes of a dry run, and on how many windows it was: `windows` of train, val and test.

    start: until the method is attached. forward: of a window through the encoder. trainings: that of the head alone, if
    there is one, and that of the method. finish: after the last step. peak: of memory. file, folder, state: deployed,
    kept, and needed for a resume. cached: of the frozen prefix, in the cache folder. window: in memory, of one window.
    """

    windows: tuple[int, int, int]
    start: float
    forward: float
    trainings: tuple[Timing, ...]
    finish: float
    peak: int
    file: int
    folder: int
    state: int
    cached: int
    window: int


class Clock(Callback):
    """Times what the loop does between two of its hooks."""

    def __init__(self) -> None:
        self.trainings: list[Timing] = []
        self._mark = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last call."""
        before, self._mark = self._mark, time.monotonic()
        return self._mark - before

    def on_train_begin(self, done: int, total: int) -> None:
        self.trainings.append(Timing(self.lap()))

    def on_step_end(self, step: int) -> None:
        self.trainings[-1].steps.append(self.lap())

    def on_epoch_end(self, row: Mapping[str, Any], sentence: str) -> None:
        self.trainings[-1].ends.append(self.lap())


def check_recipes(recipes: Iterable[Recipe], dataset: Dataset, split: Split) -> None:
    """Load the model of each recipe, attach its method and check every setting, on a few windows; nothing is kept.

    Raises what `RunBuilder.ready` raises.
    """
    with temporary_folder() as place:
        for recipe in recipes:
            builder = RunBuilder(*sample(dataset, split, recipe))
            builder.ready(recipe, seed=0, folder=place / recipe.name)


def dry_run(recipe: Recipe, dataset: Dataset, split: Split, memory: int) -> DryRun | str:
    """Run a few steps of `recipe` in a process that may take `memory` bytes; returns the reason where it does not fit.

    A process of its own makes the peak that of the recipe alone. Nothing is kept. Raises what `fine_tune` raises.
    """
    with temporary_folder() as place:
        job = place / "job.pickle"
        job.write_bytes(pickle.dumps((recipe, *sample(dataset, split, recipe), split, memory)))
        watched = f"from ecgtune.utils.child import end_with_parent; end_with_parent({os.getpid()})"
        command = [sys.executable, "-c", f"{watched}; from {__name__} import measure_job; measure_job({str(job)!r})"]
        environment = {**os.environ, "ECGTUNE_CACHE": str(place / "cache")}  # nothing is found there
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode == -9:
            return f"the system ended it, {formatting.size(memory)} were free"
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RunError(f"the dry run of {recipe.name} failed: {reason}; leave it out of --methods")
        found = pickle.loads(job.read_bytes())  # of the process that was started here
    if isinstance(found, EcgtuneError):
        raise found
    return found


def measure_job(file: str) -> None:
    """Replace the job in `file` by its result: a DryRun, why it does not fit, or an EcgtuneError."""
    job = Path(file)
    recipe, dataset, few, split, memory = pickle.loads(job.read_bytes())
    found: DryRun | str | EcgtuneError
    try:
        _limit_memory(memory, choose_device(recipe.trainer.device))
        found = measure(recipe, dataset, few, job.parent)
        whole = found.cached * (recipe.copies * len(split.train) + len(split.val)) // sum(found.windows[:2])
        if whole > MEMORY_FRACTION * psutil.virtual_memory().total and recipe.trainer.prefix_cache == "auto":
            # The whole run would not compute so much once.
            trainer = replace(recipe.trainer, prefix_cache="off")
            found = measure(replace(recipe, trainer=trainer), dataset, few, job.parent)
    except EcgtuneError as error:
        found = error
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        found = f"more than the {formatting.size(memory)} that are free"
    job.write_bytes(pickle.dumps(found))


def _limit_memory(memory: int, device: torch.device) -> None:
    """Let this process take `memory` bytes: more is an error here, and not a machine that swaps."""
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(min(1.0, memory / torch.cuda.mem_get_info(device)[1]), device)
    elif sys.platform == "linux":
        import resource

        limits = resource.getrlimit(resource.RLIMIT_DATA)
        asked = status_bytes("VmData") + memory
        resource.setrlimit(resource.RLIMIT_DATA, (asked if limits[1] < 0 else min(asked, limits[1]), limits[1]))


def sample(dataset: Dataset, split: Split, recipe: Recipe) -> tuple[Dataset, Split]:
    """The windows of a dry run: `STEPS` batches to train on, a batch of predictions to validate, a few to test on."""
    batch = recipe.optimisation.batch_size
    predicted = recipe.trainer.inference_batch(batch)
    # A validation split of one class has no AUROC, by which the weights to keep are chosen.
    wanted = {"train": max(STEPS * batch, predicted), "val": max(predicted, VALIDATED), "test": max(batch, VALIDATED)}
    chosen = [_stratified(dataset.label, rows, wanted[name]) for name, rows in split.by_name().items()]
    ends = np.cumsum([len(rows) for rows in chosen])
    train, val, test = (np.arange(end - len(rows), end) for end, rows in zip(ends, chosen, strict=True))
    return dataset.select(np.concatenate(chosen)), replace(split, train=train, val=val, test=test)


def _stratified(label: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of `rows`, evenly over the labels, in a fixed random order."""
    order = rows[np.lexsort(label[rows].reshape(len(rows), -1).T)]
    few = order[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    return np.random.default_rng(0).permutation(few)


def measure(recipe: Recipe, dataset: Dataset, split: Split, place: Path) -> DryRun:
    """Run `recipe` for `EPOCHS` short epochs in the folder `place`, which holds the cache, on the windows of `sample`.

    Raises what `fine_tune` raises, and MemoryError or torch's RuntimeError where memory ends.
    """
    device = choose_device(recipe.trainer.device)
    clock, peak = Clock(), PeakMemory(device)
    builder, model = RunBuilder(dataset, split), load_recipe_model(recipe, dataset, seed=0)
    prepared = builder.prepared(model, recipe)
    start = clock.lap()
    few = prepared.windows(split.val).inputs[: recipe.optimisation.batch_size]
    logits_of(model.to(device), few[:2], precision=recipe.trainer.precision)  # warms it up
    clock.lap()
    logits_of(model, few, precision=recipe.trainer.precision)
    forward = clock.lap() / len(few)
    folder = place / f"run-{recipe.trainer.prefix_cache}"
    run = builder.ready(_shortened(recipe), seed=0, folder=folder, model=model)
    start += clock.lap()
    run_recipe(run, ProgressBar(shown=False), [clock])
    finish = clock.lap()
    metrics = run.folder.read_metrics()
    return DryRun(
        windows=(len(split.train), len(split.val), len(split.test)),
        start=start,
        forward=forward,
        trainings=tuple(clock.trainings),
        finish=finish,
        peak=peak.read(),
        file=metrics["training"]["file_bytes"],
        folder=_bytes_in(folder),
        # The weights, Adam's two numbers for each, and their average.
        state=4 * (4 if recipe.optimisation.ema else 3) * metrics["parameters"]["trainable"],
        cached=0 if recipe.trainer.prefix_cache == "off" else _bytes_in(place / "cache"),
        window=dataset.signal[0].nbytes + 2 * 4 * len(dataset.leads) * prepared.samples,  # prepared, and a copy
    )


def _shortened(recipe: Recipe) -> Recipe:
    """The recipe for `EPOCHS` epochs at most, with augmented copies seen twice only where the whole run does so."""
    asked = recipe.optimisation
    short = replace(asked, epochs=min(EPOCHS, asked.epochs), head_epochs=min(EPOCHS, asked.head_epochs), patience=None)
    augmentation = recipe.augmentation
    if augmentation.augmented_copies:
        repeats = asked.epochs > recipe.copies
        augmentation = replace(augmentation, augmented_copies=1 if repeats else short.epochs)
    return replace(recipe, optimisation=short, augmentation=augmentation)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
