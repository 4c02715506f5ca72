"""One training of step do: job.json of a folder -> the trained run, its validation predictions, and result.json."""

from __future__ import annotations

import io
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecgtune.data.dataset import Dataset
from ecgtune.data.positive import POSITIVE
from ecgtune.data.splits import Split
from ecgtune.data.tasks import Task, label_counts
from ecgtune.errors import EcgtuneError, RunError
from ecgtune.evaluation.macro import macro_auroc
from ecgtune.evaluation.metrics import auroc
from ecgtune.recipes.comparison import RESNET, short_name
from ecgtune.recipes.lookup import changed
from ecgtune.recipes.recipe import Recipe, load_recipes
from ecgtune.training.callbacks import Callback
from ecgtune.training.inference import choose_device, logits_of, probability_of
from ecgtune.training.run_folder import begin_run
from ecgtune.utils.files import check_space, temporary_folder, write_atomically, write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.utils.stored import REMOVE, is_there, read_json, read_packed
from ecgtune.workflows.auto.budget import Deadline
from ecgtune.workflows.auto.material import Material, read_material
from ecgtune.workflows.auto.pieces import Pieces, in_pieces, within_memory
from ecgtune.workflows.auto.plan_file import SCRATCH, AutoPlan, read_plan
from ecgtune.workflows.auto.schemas import ELSEWHERE, Failed, Job, Trained
from ecgtune.workflows.fit_memory import fit_memory
from ecgtune.workflows.preparation import load_recipe_model
from ecgtune.workflows.ready import ReadyRun, RunBuilder
from ecgtune.workflows.run import fit, space

JOB, RESULT, VALIDATION, RUN = "job.json", "result.json", "validation.npz", "run"
PROBE = "probe"
#: Folder of the last training after folds, beside those of its folds.
FINAL = "final"
#: Parts of the windows of a probe that its learning curve trains on, beside all.
CURVE_FRACTIONS = (0.125, 0.25, 0.5)
#: Below so many epochs, 5 % of the steps are too few for the warm-up, and the head of a pretrained encoder is trained
#: alone first, on features that are computed once.
FEW_EPOCHS, _LONG_WARMUP, HEAD_EPOCHS = 4, 0.2, 15
#: Time of a head on precomputed features, per window and epoch, relative to a forward pass.
HEAD_STEP = 0.03
_MEASURED = 1.0  # seconds of steps that are timed
_SHORTEST = 1e-9  # seconds: the clock of a system may not have moved


def recipe_of(plan: AutoPlan, method: str, encoder: str, *, epochs: int, task: str) -> Recipe:
    """The recipe of a method with the decisions of the plan."""
    training = plan.training
    scratch = method == SCRATCH
    recipe = load_recipes(RESNET if scratch else method)[0]
    settings: dict[str, Any] = {"epochs": epochs, "batch_size": training.batch_size, "device": training.device}
    settings |= {"threshold": training.threshold if task != "multiclass" else "fixed"}
    settings |= {"class_weights": training.class_weights, "pos_weight": training.pos_weight}
    if not scratch:
        settings |= {"model": encoder, "max_memory": training.max_memory, "lead_mode": plan.model.lead_mode}
    recipe = replace(changed(recipe, settings), name=method)
    if epochs < FEW_EPOCHS:
        head = HEAD_EPOCHS if recipe.method.changes_encoder and not scratch else 0
        recipe = replace(recipe, optimisation=replace(recipe.optimisation, warmup=_LONG_WARMUP, head_epochs=head))
    plain = scratch or training.augmentation
    return recipe if plain else replace(recipe, augmentation=type(recipe.augmentation)())


@lru_cache(maxsize=1)
def material_of(out: Path, plan: AutoPlan) -> Material:
    """The windows of an auto, read once in a process."""
    return read_material(out, plan)


@lru_cache(maxsize=2)
def _builder(out: Path, plan: AutoPlan, number: int, windows: int | None, validated: int | None) -> RunBuilder:
    material = material_of(out, plan)
    return RunBuilder(material.dataset, split_of(material, number, windows, validated))


@contextmanager
def windows_in_memory() -> Iterator[None]:
    """Forget the windows that `material_of` keeps at the end: the next auto in the folder may be of other files."""
    try:
        yield
    finally:
        material_of.cache_clear()
        _builder.cache_clear()


def split_of(material: Material, number: int, windows: int | None, validated: int | None) -> Split:
    """The split of a job; number -1 is the last training."""
    return material.final(windows) if number < 0 else material.split(number, windows=windows, validated=validated)


def ready_run(out: Path, plan: AutoPlan, job: Mapping[str, Any], folder: Path) -> ReadyRun:
    """The run of a job, in `folder`."""
    builder = _builder(out, plan, job["round"], job["windows"], job["validated"])
    task = builder.dataset.task
    recipe = in_pieces(
        recipe_of(plan, job["method"], job["encoder"], epochs=job["epochs"], task=task), job.get("pieces")
    )
    if job.get("pieces") is None:
        recipe = fit_memory(recipe, builder.dataset, builder.split, folder=folder, progress=ProgressBar(shown=False))
    return builder.ready(recipe, seed=job["seed"], folder=folder)


def name_of(job: Mapping[str, Any]) -> str:
    """Name of a candidate, and of its folder."""
    encoder = "" if job["method"] == SCRATCH else f"-{short_name(job['encoder'])}"
    windows = "all" if job["windows"] is None else job["windows"]
    return f"{short_name(job['method'])}{encoder}-{windows}-windows-{job['epochs']}-epochs-seed-{job['seed']}"


def read_job(folder: Path) -> dict[str, Any]:
    """Read job.json of the folder of a training. Raises RunError, one line."""
    return _of_folder(folder, read_json(folder / JOB, Job, REMOVE), JOB)


def read_trial(folder: Path) -> dict[str, Any]:
    """Read result.json of the folder of a training. Raises RunError, one line."""
    file = folder / RESULT
    failed = "failed" in read_json(file, dict[str, Any], REMOVE)
    return _of_folder(folder, read_json(file, Failed if failed else Trained, REMOVE), RESULT)


def _of_folder(folder: Path, job: dict[str, Any], file: str) -> dict[str, Any]:
    """The job, where it is that of its folder. Raises RunError."""
    place = FINAL if job["round"] < 0 else f"round-{job['round']}"
    if not folder.parent.name == job["name"] == name_of(job) or folder.name != place:
        raise RunError(f"{folder / file} is of another training; {REMOVE}")
    return job


def read_validation(folder: Path, dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows that a training predicted for validation, rising, and their probabilities, from validation.npz.

    Raises RunError, one line.
    """

    def unpack(content: bytes) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            row, probability = stored["row"], stored["probability"].astype(np.float64)
        several = () if dataset.task == "binary" else (len(dataset.classes),)
        if row.dtype != np.int64 or row.ndim != 1 or not len(row) or probability.shape != (len(row), *several):
            raise ValueError(f"rows of shape {row.shape}, probabilities of shape {probability.shape}")
        if row[0] < 0 or row[-1] >= len(dataset) or (np.diff(row) <= 0).any():
            raise ValueError(f"its rows do not rise from 0 to below {len(dataset)}")
        if not ((probability >= 0) & (probability <= 1)).all():
            raise ValueError("a probability is outside 0 to 1")
        return row, probability

    return read_packed(folder / VALIDATION, unpack, ELSEWHERE)


def run_trial(out: Path, folder: Path, callbacks: Sequence[Callback] = ()) -> dict[str, Any]:
    """Run the job of a folder, unless its result is there, and return result.json.

    Only training and validation windows are read. A training that reaches `seconds` of the job ends after it was
    validated once more. One that cannot be run (such as a length that the encoder does not take) has its reason as
    "failed".
    """
    file = folder / RESULT
    if is_there(file):
        return read_trial(folder)
    job, started = read_job(folder), time.monotonic()
    plan = read_plan(out)
    batch, device = plan.training.batch_size, plan.training.device

    def attempt(pieces: Pieces | None) -> dict[str, Any]:
        if pieces != job.get("pieces"):  # what the attempt before left
            shutil.rmtree(folder / RUN, ignore_errors=True)
            write_json(folder / JOB, {**job, "pieces": pieces})
        return _trained(out, plan, {**job, "pieces": pieces}, folder, callbacks)

    try:
        with limited_threads(job.get("threads")):
            result, _ = within_memory(attempt, job.get("pieces"), batch=batch, device=device)
            result["threads"] = torch.get_num_threads()
    except EcgtuneError as error:
        result = {**job, "failed": str(error)}
    result["spent"] = time.monotonic() - started
    write_json(file, result)
    return result


def _trained(
    out: Path, plan: AutoPlan, job: Mapping[str, Any], folder: Path, callbacks: Sequence[Callback]
) -> dict[str, Any]:
    """Train the run of a job, write its validation predictions, and return the result."""
    run = ready_run(out, plan, job, folder / RUN)
    begin_run(run.folder, run.recipe, run.fingerprint)
    limit = Deadline(math.inf if job["seconds"] is None else job["seconds"], job.get("steps"))
    clock = Steps()
    trained, _, validation_logits = fit(run, ProgressBar(shown=False), [limit, clock, *callbacks])
    rows, dataset = run.prepared.split.val, run.prepared.dataset
    probability = probabilities(validation_logits(), dataset.task)
    write_atomically(folder / VALIDATION, lambda partial: _save(partial, rows, probability))
    return {
        **job,
        "score": score_of(dataset.task, dataset.label[rows], probability),
        "train_windows": len(run.prepared.split.train),
        "trained_epochs": trained.epochs,
        "best_epoch": trained.best_epoch,
        "trainable": run.count.trainable,
        "trainable_fraction": run.count.fraction,
        "step": clock.seconds(plan.training.batch_size) if run.recipe.method.gradient_in_encoder else None,
        "ended": trained.epochs < job["epochs"] or limit.ended,
        "steps": limit.steps if limit.ended else None,
    }


def _save(partial: Path, rows: np.ndarray, probability: np.ndarray) -> None:
    with partial.open("wb") as file:
        np.savez(file, row=rows, probability=probability)


def probabilities(logits: np.ndarray, task: Task) -> np.ndarray:
    """Probabilities as metrics take them: (windows,) of the positive class of two, else (windows, classes)."""
    probability = probability_of(logits, task)
    return probability[:, POSITIVE] if task == "binary" else probability


def score_of(task: str, label: np.ndarray, probability: np.ndarray) -> float:
    """AUROC of two classes, else the mean over classes or labels."""
    return float(auroc(label, probability) if task == "binary" else macro_auroc(label, probability))


def measured(out: Path, plan: AutoPlan, method: str, encoder: str) -> dict[str, Any]:
    """Seconds of a training "step" and of a "forward" pass, both per window, and the "pieces" that fit into memory.

    Raises what the training raises.
    """

    def attempt(pieces: Pieces | None) -> tuple[float, float]:
        return seconds_per_window(out, plan, method, encoder, pieces)

    batch, device = plan.training.batch_size, plan.training.device
    (step, forward), pieces = within_memory(attempt, None, batch=batch, device=device)
    step, forward = max(step, _SHORTEST), max(forward, _SHORTEST)
    return {"step": step, "forward": forward, **({} if pieces is None else {"pieces": pieces})}


def seconds_per_window(
    out: Path, plan: AutoPlan, method: str, encoder: str, pieces: Pieces | None, steps: int = 5
) -> tuple[float, float]:
    """Seconds of a training step and of a forward pass, both per window, measured on a few steps.

    Raises what the training raises.
    """
    material = material_of(out, plan)
    batch = plan.training.batch_size
    split = material.split(0, windows=max(steps * batch, 2 * _classes(material)), validated=max(64, batch))
    recipe = recipe_of(plan, method, encoder, epochs=2, task=material.dataset.task)  # of tiny data one has one step
    recipe = replace(recipe, optimisation=replace(recipe.optimisation, checkpoint_metric="loss", head_epochs=0))
    recipe = in_pieces(recipe, pieces)
    if recipe.method.gradient_in_encoder and pieces is None:
        recipe = fit_memory(recipe, material.dataset, split, progress=ProgressBar(shown=False))
    small = material.dataset.select(np.concatenate([split.train, split.val]))
    count = len(split.train)
    rows = np.arange(len(small))
    split = replace(split, train=rows[:count], val=rows[count:], test=rows[:0])
    model = load_recipe_model(recipe, small, 0).to(choose_device(recipe.trainer.device))
    builder = RunBuilder(small, split)
    prepared = builder.prepared(model, recipe)
    inputs = prepared.windows(split.val).inputs
    logits_of(model, inputs[:8], precision=recipe.trainer.precision)
    started = time.monotonic()
    logits_of(model, inputs, precision=recipe.trainer.precision)
    forward = (time.monotonic() - started) / len(split.val)
    if not recipe.method.gradient_in_encoder:
        return HEAD_STEP * forward, forward
    clock = Steps(_MEASURED)
    with temporary_folder() as place:
        run = builder.ready(recipe, seed=0, folder=place / RUN)
        kept, beside = space(run)
        check_space(out, (material.rounds + 1) * kept + beside)  # the chosen one is copied
        torch.manual_seed(0)
        fit(run, ProgressBar(shown=False), [clock])
    return clock.seconds(batch) or 5 * forward, forward


def _classes(material: Material) -> int:
    return len(label_counts(material.dataset.label, material.dataset.classes)[0])


class Steps(Callback):
    """The time of the steps of a training, of its last phase where it has several.

    enough: seconds after which three or more steps end the training.
    """

    def __init__(self, enough: float = math.inf) -> None:
        self._enough, self._laps, self._since = enough, list[float](), 0.0

    def on_train_begin(self, done: int, total: int) -> None:
        self._laps, self._since = [], time.monotonic()

    def on_step_end(self, step: int) -> None:
        now = time.monotonic()
        self._laps.append(now - self._since)
        self._since = now

    def on_epoch_end(self, row: Mapping[str, Any], sentence: str) -> None:
        self._since = time.monotonic()  # behind the validation and the saving

    @property
    def ends_training(self) -> bool:
        return len(self._laps) > 2 and sum(self._laps[1:]) > self._enough

    def seconds(self, batch: int) -> float | None:
        """Median seconds of a step per window of a batch, None for fewer than two steps.

        The later half counts, for the first steps allocate memory.
        """
        laps = self._laps[1:]
        return float(np.median(laps[len(laps) // 2 :])) / batch if laps else None


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """torch with so many threads; None for those that it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
