"""A few real steps of one recipe, timed: what an estimate is made of."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import Split
from ecgtune.methods.split import reads_features
from ecgtune.methods.storage import save_weights, trained_tensors
from ecgtune.recipe.recipe import Recipe
from ecgtune.training.inference import choose_device, logits_of
from ecgtune.training.peak import PeakMemory
from ecgtune.utils.files import write_atomically
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.preparation import load_recipe_model, prepare
from ecgtune.workflows.run import ReadyRun, make_ready, run_recipe

#: Steps of each of the two epochs that are measured, by how long they take, and the seconds that they should fill.
FEWEST, MOST, SECONDS = 3, 20, 1.5
#: The first steps of a training carry its audits, and warm up.
AUDITED = 2
#: Passes over the data that are measured: the first step of the second one shows what an epoch's start costs.
EPOCHS = 2


@dataclass(frozen=True)
class Phase:
    """One training of a run in seconds: the method's own is the last; one of the head alone may come before it.

    before: until the first step, tokens that are computed once included. step: of the optimizer. epoch_end: validation
    and saving. epochs: how many were measured.
    """

    before: float
    step: float
    epoch_end: float
    epochs: int


@dataclass(frozen=True)
class Measurement:
    """What a few steps of a recipe took on this machine: seconds, bytes, and on how many windows.

    start: loading the model and attaching the method. prepare, forward: per window, the latter of the encoder without
    its method. save: weights and state of one epoch. finish: all after the last epoch, predictions of `val` + `test`
    windows included. peak: of the training.
    still: memory before the first batch goes through the model. inference: what a window takes on its way through it
    without gradients. window: bytes of a window as
    it was read and as the model takes it. file, folder, state: what is deployed, what is kept, what a resume needs.
    once: what was computed once for `train` + `val` windows, in the cache folder; features: whether that is pooled
    tokens, which are computed once however many there are.
    """

    train: int
    val: int
    test: int
    start: float
    prepare: float
    forward: float
    save: float
    finish: float
    phases: tuple[Phase, ...]
    peak: int
    still: int
    inference: int
    window: tuple[int, int]
    file: int
    folder: int
    state: int
    once: int = 0
    features: bool = False

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Measurement:
        """The inverse of `dataclasses.asdict`, after a way through JSON."""
        phases = tuple(Phase(**phase) for phase in table["phases"])
        return cls(**{**table, "phases": phases, "window": tuple(table["window"])})


class StepClock(ProgressBar):
    """Listens to a run as its progress bar, and keeps the time between the words.

    The loop says `advance(0)` when a training begins and when it ends, `advance(windows)` after every step and `note`
    when an epoch is validated and saved. So what is timed is the loop itself, with whatever a method or a later version
    does in it.
    """

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self._mark = time.monotonic()
        self._training = False
        self._before: list[float] = []
        self._steps: list[list[float]] = []
        self._ends: list[list[float]] = []

    def lap(self) -> float:
        """Seconds since the last word."""
        before, self._mark = self._mark, time.monotonic()
        return self._mark - before

    def advance(self, units: int) -> None:
        seconds = self.lap()
        if units:
            self._steps[-1].append(seconds)
            return
        self._training = not self._training
        if self._training:
            self._before.append(seconds)
            self._steps.append([])
            self._ends.append([])

    def note(self, text: str) -> None:
        if self._training:  # before it, a run says what it computes once
            self._ends[-1].append(self.lap())

    @property
    def phases(self) -> tuple[Phase, ...]:
        return tuple(
            Phase(before, float(np.median(steps[AUDITED:])), float(np.median(ends)), len(ends))
            for before, steps, ends in zip(self._before, self._steps, self._ends, strict=True)
        )


def sample(dataset: Dataset, split: Split, recipe: Recipe, steps: int = MOST) -> tuple[Dataset, Split]:
    """The few windows that are measured on: `steps` batches to train on, one to validate and one to test on."""
    batch = recipe.optimisation.batch_size
    wanted = {"train": steps * batch, "val": max(batch, 2 * FEWEST), "test": max(batch, 2 * FEWEST)}
    chosen = [_spread(dataset.label, rows, wanted[name]) for name, rows in split.by_name().items()]
    ends = np.cumsum([len(rows) for rows in chosen])
    train, val, test = (np.arange(end - len(rows), end) for end, rows in zip(ends, chosen, strict=True))
    return dataset.select(np.concatenate(chosen)), replace(split, train=train, val=val, test=test)


def _shortened(recipe: Recipe) -> Recipe:
    """The recipe for two epochs; they show one augmented copy twice only where the whole training repeats copies."""
    repeats = recipe.optimisation.epochs > recipe.copies
    copies = (1 if repeats else EPOCHS) if recipe.augmentation.augmented_copies else None
    short = replace(recipe.optimisation, epochs=EPOCHS, patience=None)
    return replace(recipe, optimisation=short, augmentation=replace(recipe.augmentation, augmented_copies=copies))


def measure(recipe: Recipe, dataset: Dataset, split: Split, *, steps: int | None = None) -> Measurement:
    """Run `recipe` for two short epochs on the windows of `sample`, in a folder that is thrown away.

    steps: of an epoch; without it as many as fill about 1.5 seconds, 3 to 20. Raises what `train` raises, and
    MemoryError or torch's RuntimeError where memory ends.
    """
    clock = StepClock()
    with tempfile.TemporaryDirectory(prefix="ecgtune-plan-") as place:
        model = load_recipe_model(recipe, dataset, seed=0)
        start = clock.lap()
        prepared = prepare(model, dataset, split, recipe.data)
        preparing = clock.lap() / len(dataset)

        device = choose_device(recipe.trainer.device)
        peak = PeakMemory(device)
        few = prepared.windows(split.val[: recipe.trainer.inference_batch(recipe.optimisation.batch_size)]).inputs
        model.to(device)
        logits_of(model, few[:2], precision=recipe.trainer.precision)
        before = peak.read()
        clock.lap()
        logits_of(model, few, precision=recipe.trainer.precision)
        forward = clock.lap() / len(few)
        inference = (peak.read() - before) // len(few)
        peak.reset()

        batch = recipe.optimisation.batch_size
        if steps is None:
            # A step is about three forward passes; measured on one, so that a slow model is not kept running.
            steps = min(MOST, max(FEWEST, math.ceil(SECONDS / (3 * forward * batch))))
        short = _shortened(recipe)
        prepared.split = replace(split, train=split.train[: steps * batch])  # known only now that a pass is timed
        clock.lap()
        run = make_ready(short, model, prepared, seed=0, folder=Path(place) / "run", resume=False)
        start += clock.lap()
        with _cache_in(Path(place)):
            run_recipe(run, clock)
        finish = clock.lap()
        highest = peak.read()
        save, state = _save_again(run, Path(place), clock)
        metrics = run.folder.read_metrics()
        files = [path.stat().st_size for path in run.folder.path.rglob("*") if path.is_file()]
        return Measurement(
            train=len(prepared.split.train),
            val=len(split.val),
            test=len(split.test),
            start=start,
            prepare=preparing,
            forward=forward,
            save=save,
            finish=finish,
            phases=clock.phases,
            peak=highest,
            still=before,
            inference=inference,
            window=(dataset.signal[0].nbytes, few[0].nbytes),
            file=metrics["training"]["file_bytes"],
            folder=sum(files),
            state=state,
            once=sum(path.stat().st_size for path in (Path(place) / "cache").glob("prefix-*.npy")),
            features=reads_features(model, recipe.method),
        )


@contextmanager
def _cache_in(place: Path) -> Iterator[None]:
    """What a run computes once goes there: measuring keeps nothing, and finds nothing that another one has kept."""
    before = os.environ.get("ECGTUNE_CACHE")
    os.environ["ECGTUNE_CACHE"] = str(place / "cache")
    try:
        yield
    finally:
        del os.environ["ECGTUNE_CACHE"]
        if before is not None:
            os.environ["ECGTUNE_CACHE"] = before


def _save_again(run: ReadyRun, place: Path, clock: StepClock) -> tuple[float, int]:
    """Seconds and bytes of an epoch's saving: the loop validates and saves in one go, and only the first one grows."""
    tensors = trained_tensors(run.model)
    state = place / "state.pt"
    best = place / "best"
    best.mkdir()
    clock.lap()
    save_weights(run.model, best)
    # Adam keeps two numbers for every weight; the state holds them beside the weights.
    content = [tensors, *({name: tensor.clone() for name, tensor in tensors.items()} for _ in range(2))]
    write_atomically(state, lambda partial: torch.save(content, partial))
    return clock.lap(), state.stat().st_size


def _spread(label: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of `rows`, evenly over the labels, in the order of a shuffle that is always the same."""
    order = rows[np.lexsort(label[rows].reshape(len(rows), -1).T)]
    few = order[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    return np.random.default_rng(0).permutation(few)
