"""One recipe into one run folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ecgtune.data.augmentation import WindowAugmentation
from ecgtune.data.splits import Split
from ecgtune.errors import SettingError
from ecgtune.evaluation.decision import Decision, check_rule, choose_decision
from ecgtune.evaluation.evaluate import evaluate
from ecgtune.evaluation.macro import class_indices
from ecgtune.methods.attach import attach
from ecgtune.methods.audits import ParameterCount, count_parameters
from ecgtune.methods.depth import check_depth
from ecgtune.methods.registry import check_registered as check_method_registered
from ecgtune.methods.registry import method_to_table
from ecgtune.models.architectures import check_registered as check_encoder_registered
from ecgtune.models.classifier import Classifier
from ecgtune.models.description import describe_model
from ecgtune.recipe.recipe import Recipe
from ecgtune.reporting.writing import write_run
from ecgtune.training.callbacks import Callback, ProgressCallback
from ecgtune.training.classification import Classification
from ecgtune.training.head_first import check_head_first, count_head_steps, train_head
from ecgtune.training.inference import choose_device, logits_of, probability_of
from ecgtune.training.loop import Trained, count_steps, train
from ecgtune.training.losses import check_loss
from ecgtune.training.precision import check_precision, resolved_precision
from ecgtune.training.predictions import predictions_text
from ecgtune.training.prefix import check_prefix, compute_once
from ecgtune.training.run_folder import RESULT_FORMAT, RunFolder, begin_run, check_run, split_text
from ecgtune.training.views import views_of
from ecgtune.utils.files import write_json, write_text
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.augmentation import make_augmentation
from ecgtune.workflows.environment import command_line, machine, now
from ecgtune.workflows.preparation import Prepared, choice_warnings, digest, summarise, summarise_task

#: The class whose probability is reported, "positive" in every metric: the second.
POSITIVE = 1


@dataclass(frozen=True)
class ReadyRun:
    """A run of which nothing is written yet and that nothing the user said can stop any more."""

    recipe: Recipe
    model: Classifier
    prepared: Prepared
    seed: int
    folder: RunFolder
    fingerprint: dict[str, Any]
    description: dict[str, Any]
    count: ParameterCount
    augmentation: WindowAugmentation | None


def work(recipe: Recipe, split: Split) -> int:
    """Work of a run that is not finished, for the progress bar: windows through the training loop."""
    items, settings = len(split.train), recipe.optimisation
    return (count_steps(items, settings) + count_head_steps(items, settings)) * settings.batch_size


def make_ready(
    recipe: Recipe, model: Classifier, prepared: Prepared, *, seed: int, folder: Path, resume: bool
) -> ReadyRun:
    """Attach the method and check all that the user can have got wrong. Writes nothing; raises an EcgtuneError."""
    if seed < 0:
        raise SettingError(f"seed is {seed}; allowed: 0 or more")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingError("a run folder is written by one process; start the command without torchrun")
    check_method_registered(recipe.method)  # what cannot be loaded again is refused before it trains
    check_encoder_registered(model.base_encoder)
    check_precision(choose_device(recipe.trainer.device), recipe.trainer.precision)
    _check_task(recipe, prepared)
    count_steps(len(prepared.split.train), recipe.optimisation)
    check_head_first(recipe.method, len(prepared.split.train), recipe.optimisation)
    check_depth(
        model,
        recipe.method,
        layer_decay=recipe.optimisation.layer_decay,
        drop_path=recipe.optimisation.drop_path,
        checkpointing=recipe.trainer.gradient_checkpointing,
    )
    augmentation = make_augmentation(recipe, model, prepared)
    run = RunFolder(folder, title=f"{recipe.name} seed {seed}")
    fingerprint = _fingerprint(recipe, prepared, model, seed)
    check_run(run, recipe, fingerprint, resume=resume)
    description = describe_model(model)
    attach(model, recipe.method, seed=seed)
    count = count_parameters(model, recipe.method)
    augmented = augmentation is not None and not recipe.augmentation.augmented_copies
    check_prefix(model, recipe.method, recipe.optimisation, recipe.trainer, augmented)
    return ReadyRun(recipe, model, prepared, seed, run, fingerprint, description, count, augmentation)


def run_recipe(run: ReadyRun, progress: ProgressBar, callbacks: Sequence[Callback] = ()) -> None:
    """Train into the run folder: audits, best epoch, predictions, metrics, report. A finished run is left alone."""
    begin_run(run.folder, run.recipe, run.fingerprint)
    progress.describe(run.folder.title)
    if not run.folder.finished:
        _train_and_test(run, progress, callbacks)
    if not (run.folder.path / "report.html").is_file():
        write_run(run.folder.path)


def fit(run: ReadyRun, progress: ProgressBar, callbacks: Sequence[Callback] = ()) -> tuple[Trained, str]:
    """Train on the training windows and leave the best epoch on validation in model and folder; no others are read.

    Returns what the training reports, and the sentence on what was computed once.
    """
    model, prepared, settings, trainer = run.model, run.prepared, run.recipe.optimisation, run.recipe.trainer
    training, validation = prepared.windows(prepared.split.train), prepared.windows(prepared.split.val)
    head_seconds = 0.0
    if settings.head_epochs:
        shown = ProgressCallback(progress, f"{run.folder.title}, head", settings.batch_size)
        head_seconds = train_head(
            model,
            training,
            validation,
            settings,
            trainer,
            seed=run.seed,
            folder=run.folder,
            callbacks=[shown, *callbacks],
        )
    method, augment, copies = run.recipe.method, run.augmentation, run.recipe.copies
    if augment is not None and run.recipe.augmentation.augmented_copies:
        training, augment = views_of(training, augment, seed=run.seed, copies=copies), None
    once = compute_once(
        model, method, training, validation, settings, trainer, augmented=augment is not None, copies=copies
    )
    progress.note(f"{run.folder.title}: {once.sentence}")
    objective = Classification(model, method, once.training, once.validation, settings, trainer, augment, copies=copies)
    shown = ProgressCallback(progress, run.folder.title, settings.batch_size)
    trained = train(objective, settings, trainer, seed=run.seed, folder=run.folder, callbacks=[shown, *callbacks])
    return replace(trained, seconds=trained.seconds + head_seconds), once.sentence


def _train_and_test(run: ReadyRun, progress: ProgressBar, callbacks: Sequence[Callback]) -> None:
    model, prepared, trainer = run.model, run.prepared, run.recipe.trainer
    split = prepared.split
    write_text(run.folder.split, split_text(split.by_name()))
    trained, once = fit(run, progress, callbacks)

    rows = np.concatenate([split.val, split.test])
    label, group, recording = prepared.dataset.label[rows], prepared.groups(rows), prepared.dataset.pooled(rows)
    part = np.repeat(["val", "test"], [len(split.val), len(split.test)])
    inputs = prepared.windows(rows).inputs
    logits = logits_of(
        model,
        inputs,
        batch_size=trainer.inference_batch(run.recipe.optimisation.batch_size),
        precision=trainer.precision,
    )
    task, classes = prepared.dataset.task, prepared.dataset.classes
    probability = probability_of(logits, task)
    if task == "binary":
        probability = probability[:, POSITIVE]
    decision = choose_decision(task, label[part == "val"], probability[part == "val"], run.recipe.evaluation.threshold)
    test = part == "test"
    results = evaluate(
        label[test],
        probability[test],
        None if group is None else group[test],
        decision,
        classes,
        recording=None if recording is None else recording[test],
        f1_over=run.recipe.evaluation.f1_over or (),
        group_name=prepared.dataset.group_name or "record",
        pooled=run.recipe.evaluation.recording,
    )
    write_text(run.folder.predictions, predictions_text(rows, group, part, label, probability, classes, recording))
    write_json(run.folder.best / "model.json", _saved_model(run, decision))
    write_json(run.folder.metrics, _metrics(run, trained, decision, once) | results)
    run.folder.discard_state()


def _check_task(recipe: Recipe, prepared: Prepared) -> None:
    """Raise SettingError for settings that the labels cannot use."""
    task, classes = prepared.dataset.task, prepared.dataset.classes
    check_rule(task, recipe.evaluation.threshold)
    check_loss(task, classes, recipe.optimisation)
    over = recipe.evaluation.f1_over
    if over is not None and task == "binary":
        raise SettingError(
            "f1_over is for more than two classes or labels; F1 of the second class is among the metrics"
        )
    class_indices(over or (), classes)


def _saved_model(run: ReadyRun, decision: Decision) -> dict[str, Any]:
    return {
        **run.description,
        "method": method_to_table(run.recipe.method),
        "preprocessing": run.prepared.preprocessing.to_dict(),
        "input_sampling_rate": run.prepared.dataset.sampling_rate,
        "threshold": decision.to_dict(run.model.classes),
    }


def _metrics(run: ReadyRun, trained: Trained, decision: Decision, once: str) -> dict[str, Any]:
    recipe, count = run.recipe, run.count
    summary = summarise(run.prepared.dataset, run.prepared.split)
    summary["split"]["warnings"] += choice_warnings(
        run.prepared.dataset, run.prepared.split, recipe.optimisation, recipe.evaluation.threshold
    )
    return {
        "format": RESULT_FORMAT,
        "name": recipe.name,
        "title": recipe.label,
        "seed": run.seed,
        "model": recipe.model.name,
        "method": str(recipe.method),
        "weights": run.model.weights.describe(),
        "classes": list(run.model.classes),
        "normalisation": recipe.data.normalisation,
        **summary,
        "parameters": {
            "encoder": count.encoder,
            "method": count.method,
            "head": count.head,
            **({"leads": count.leads} if count.leads else {}),
            "trainable": count.trainable,
            "total": count.total,
            "trainable_fraction": count.fraction,
        },
        "training": {
            "epochs": trained.epochs,
            "head_epochs": recipe.optimisation.head_epochs,
            "best_epoch": trained.best_epoch,
            "checkpoint_metric": recipe.optimisation.checkpoint_metric,
            "stopped_early": trained.stopped_early,
            "learning_rate": trained.learning_rate,
            "batch_size": recipe.optimisation.batch_size,
            "seconds": trained.seconds,
            "seconds_per_epoch": trained.seconds_per_epoch,
            "peak_memory_bytes": trained.peak_memory_bytes,
            "file_bytes": sum(f.stat().st_size for f in run.folder.best.rglob("*") if f.is_file()),
            "device": trained.device,
            "precision": trained.precision,
            "precomputed": once,
        },
        "audits": {"weights": run.model.weights.audit(), "gradients": trained.audit, "count": count.sentence()},
        "threshold": decision.to_dict(run.model.classes),
        **summarise_task(run.prepared.dataset, recipe.evaluation),
    }


def _fingerprint(recipe: Recipe, prepared: Prepared, model: Classifier, seed: int) -> dict[str, Any]:
    """What environment.json says; `check_run` holds a resume against what must be unchanged in it."""
    data = summarise(prepared.dataset, prepared.split)["data"]
    return {
        "created": now(),
        "command": command_line(),
        "file": data.pop("path"),  # a file may move; what is in it may not change
        "seed": seed,
        "data": {**data, "unit": prepared.dataset.unit, "windows_sha256": digest(prepared)},
        "weights": model.weights.describe(),
        **resolved_precision(choose_device(recipe.trainer.device), recipe.trainer.precision),
        **machine(),
    }
