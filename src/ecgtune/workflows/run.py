"""One recipe into one run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ecgtune.data.positive import POSITIVE
from ecgtune.data.splits import Split
from ecgtune.deployment.run import read_run
from ecgtune.evaluation.calibration.fitting import fit_calibration
from ecgtune.evaluation.decision import choose_decision
from ecgtune.recipes.recipe import Recipe
from ecgtune.reporting.writing import write_run
from ecgtune.training.augmented_copies import augmented_copies
from ecgtune.training.batches import TrainingInputs
from ecgtune.training.callbacks import Callback, ProgressCallback
from ecgtune.training.certainty import write_certainty
from ecgtune.training.classification import Classification
from ecgtune.training.head_first import count_head_steps, train_head
from ecgtune.training.inference import logits_of, probability_of
from ecgtune.training.loop import TrainingResult, count_steps, train
from ecgtune.training.predictions import Predictions, predictions_text
from ecgtune.training.prefix import precompute_inputs
from ecgtune.training.run_folder import begin_run, split_text
from ecgtune.utils.files import write_json, write_text
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.cases import write_cases
from ecgtune.workflows.certainty import certainty_results, run_novelty
from ecgtune.workflows.ready import ReadyRun
from ecgtune.workflows.results import calibration_results, calibration_summary, run_metrics, saved_model, scores

#: Bytes of a line of predictions.csv and one of split.csv, and of the figures, report and card of a run, about.
LINE_BYTES, REPORT_BYTES = 60, 1 << 20
#: Cost of a training step on features that are computed once, in forward passes of its windows through the encoder.
_HEAD_STEP = 0.1


def work(recipe: Recipe, split: Split) -> float:
    """Work of a run that is not finished, for the progress bar: forward passes of windows through its encoder."""
    items, settings = len(split.train), recipe.optimisation
    steps = count_steps(items, settings) * _step_cost(recipe) + count_head_steps(items, settings) * _HEAD_STEP
    return steps * settings.batch_size


def _step_cost(recipe: Recipe) -> float:
    """Cost of a step, in forward passes: also gradients through the encoder, and of its own weights."""
    method = recipe.method
    if not method.gradient_in_encoder:
        changing = recipe.augmentation.acting and not recipe.augmentation.augmented_copies
        return 1.0 if changing else _HEAD_STEP
    return 2.0 if method.adds_parameters else 3.0


def space(run: ReadyRun) -> tuple[int, int]:
    """Bytes on disk that a run keeps, about, and those that it needs beside while it trains; 0 for a finished run."""
    if run.folder.finished:
        return 0, 0
    weights = 4 * run.count.trainable
    kept = weights + LINE_BYTES * len(run.prepared.dataset) + REPORT_BYTES
    # The state holds the weights, their average and Adam's two moments; a new file is written beside the old one.
    return kept, weights + 2 * 4 * weights


def run_recipe(
    run: ReadyRun, progress: ProgressBar, callbacks: Sequence[Callback] = (), *, cases: bool = False
) -> None:
    """Train into the run folder: audits, best epoch, predictions, metrics, report. A finished run is left alone.

    cases: recordings are drawn for the report.
    """
    begin_run(run.folder, run.recipe, run.fingerprint)
    progress.describe(run.folder.title)
    if not run.folder.finished:
        _train_and_test(run, progress, callbacks)
    run.folder.discard_state()  # also that of a process that was killed between its results and this line
    if not (run.folder.path / "report.html").is_file():
        if cases:
            progress.describe("cases for the report")
            write_cases(read_run(run.folder.path), run.prepared.dataset, device=run.recipe.trainer.device)
        write_run(run.folder.path)


class Fitted(NamedTuple):
    """A training: its result, a sentence on what was precomputed, and the logits of the validation windows."""

    training: TrainingResult
    precomputed: str
    validation: Callable[[], np.ndarray]


def fit(run: ReadyRun, progress: ProgressBar, callbacks: Sequence[Callback] = ()) -> Fitted:
    """Train on the training windows and leave the best epoch on validation in model and folder; no others are read."""
    model, prepared, settings, trainer = run.model, run.prepared, run.recipe.optimisation, run.recipe.trainer
    inputs = TrainingInputs(
        prepared.windows(prepared.split.train),
        prepared.windows(prepared.split.val),
        run.augmentation,
        run.recipe.copies,
    )
    head_seconds = 0.0
    if settings.head_epochs:
        units = _HEAD_STEP * settings.batch_size * run.pass_cost
        shown = ProgressCallback(progress, f"{run.folder.title}, head", units)
        head_seconds = train_head(
            model, inputs, settings, trainer, seed=run.seed, folder=run.folder, callbacks=[shown, *callbacks]
        )
    method, augment = run.recipe.method, run.augmentation
    if augment is not None and augment.scale is not None:
        inputs = replace(inputs, training=prepared.unscaled(prepared.split.train))
    if augment is not None and run.recipe.augmentation.augmented_copies:
        copies = augmented_copies(inputs.training, augment, seed=run.seed, copies=inputs.copies)
        inputs = replace(inputs, training=copies, augment=None)
    inputs = precompute_inputs(model, method, inputs, settings, trainer)
    progress.note(f"{run.folder.title}: {inputs.sentence}{inputs.place and f', {inputs.place}'}")
    objective = Classification(model, method, inputs, settings, trainer)
    shown = ProgressCallback(progress, run.folder.title, _step_cost(run.recipe) * settings.batch_size * run.pass_cost)
    trained = train(objective, settings, trainer, seed=run.seed, folder=run.folder, callbacks=[shown, *callbacks])

    def validation_logits() -> np.ndarray:
        batch = trainer.inference_batch(settings.batch_size)
        return logits_of(objective.trained, inputs.validation.inputs, batch_size=batch, precision=trainer.precision)

    return Fitted(replace(trained, seconds=trained.seconds + head_seconds), inputs.sentence, validation_logits)


def _train_and_test(run: ReadyRun, progress: ProgressBar, callbacks: Sequence[Callback]) -> None:
    dataset, split, recipe = run.prepared.dataset, run.prepared.split, run.recipe
    origin = dataset.group if dataset.recording is None else dataset.recording
    write_text(run.folder.split, split_text(split.by_name(), origin))
    trained, precomputed, _ = fit(run, progress, callbacks)

    rows = np.concatenate([split.val, split.test])
    name = np.repeat(["val", "test"], [len(split.val), len(split.test)])
    logits = logits_of(
        run.model,
        run.prepared.windows(rows).inputs,
        batch_size=recipe.trainer.inference_batch(recipe.optimisation.batch_size),
        precision=recipe.trainer.precision,
    )
    probability = probability_of(logits, dataset.task)
    if dataset.task == "binary":
        probability = probability[:, POSITIVE]
    before = probability
    calibration = fit_calibration(
        dataset.task,
        dataset.label[split.val],
        before[: len(split.val)],
        run.prepared.groups(split.val),
        recipe.evaluation.calibration,
    )
    probability = calibration(before)
    val, test = probability[: len(split.val)], probability[len(split.val) :]
    decision = choose_decision(dataset.task, dataset.label[split.val], val, recipe.evaluation.threshold)
    results = scores(dataset, split.test, test, decision, recipe.evaluation)
    group, recording = run.prepared.groups(rows), dataset.pooled(rows)
    raw = before if calibration.changes else None
    predictions = Predictions(rows, group, name, dataset.label[rows], probability, recording)
    text = predictions_text(predictions, dataset.classes, uncalibrated=raw)
    write_text(run.folder.predictions, text)
    measured = calibration_results(dataset, split.test, before[len(split.val) :], calibration)
    write_json(run.folder.calibration, measured)
    write_json(run.folder.best / "model.json", saved_model(run, decision, calibration))
    novelty = run_novelty(run.model, run.prepared.preprocessing, dataset, split, precision=recipe.trainer.precision)
    certainty = certainty_results(dataset, split, val, test, decision, recipe.evaluation, novelty)
    write_certainty(run.folder, certainty, novelty)
    results["calibration"] = calibration_summary(measured)
    write_json(run.folder.metrics, run_metrics(run, trained, decision, precomputed) | results)
