"""One recipe into one run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ecgtune.data import Split
from ecgtune.evaluation import Threshold, choose_threshold, evaluate
from ecgtune.files import write_json, write_text
from ecgtune.methods import ParameterCount, attach, count_parameters
from ecgtune.models import Classifier, describe_model
from ecgtune.recipe import Recipe, method_to_table
from ecgtune.reporting import write_run
from ecgtune.training import (
    Classification,
    ProgressBar,
    RunFolder,
    Trained,
    choose_device,
    count_steps,
    encode_once,
    logits_of,
    open_run,
    predictions_text,
    probability_of,
    split_text,
    train,
)
from ecgtune.workflows.environment import command_line, machine, now
from ecgtune.workflows.preparation import Prepared, summarise

#: The class whose probability is reported, "positive" in every metric: the second.
POSITIVE = 1


def work(recipe: Recipe, split: Split) -> int:
    """Units of work of a run, for the progress bar: windows through the training loop."""
    return count_steps(len(split.train), recipe.training) * recipe.training.batch_size


def run_recipe(
    recipe: Recipe,
    model: Classifier,
    prepared: Prepared,
    *,
    seed: int,
    folder: Path,
    resume: bool,
    progress: ProgressBar,
) -> None:
    """Train `recipe` into `folder`: audits, best epoch, predictions, metrics, report. A finished run is left alone."""
    run = RunFolder(folder, title=f"{recipe.name} seed {seed}")
    # Whatever the user can have got wrong comes before the first file.
    choose_device(recipe.training.device)
    description = describe_model(model)
    attach(model, recipe.method, seed=seed)
    count = count_parameters(model, recipe.method)
    open_run(run, recipe, _identity(prepared, model, seed), resume=resume)
    progress.describe(run.title)
    if run.finished:
        progress.advance(work(recipe, prepared.split))
    else:
        _train_and_test(run, recipe, model, description, count, prepared, seed, progress)
    if not (folder / "report.html").is_file():
        write_run(folder)


def _train_and_test(
    run: RunFolder,
    recipe: Recipe,
    model: Classifier,
    description: dict[str, Any],
    count: ParameterCount,
    prepared: Prepared,
    seed: int,
    progress: ProgressBar,
) -> None:
    split, settings = prepared.split, recipe.training
    write_text(run.split, split_text(split.parts()))
    training, validation = prepared.windows(split.train), prepared.windows(split.val)
    if not recipe.method.changes_encoder:
        training = encode_once(model, training, precision=settings.precision)
        validation = encode_once(model, validation, precision=settings.precision)
    objective = Classification(model, recipe.method, training, validation, settings)
    trained = train(objective, settings, seed=seed, folder=run, progress=progress)

    rows = np.concatenate([split.val, split.test])
    label, group = prepared.dataset.label[rows], prepared.groups(rows)
    part = np.repeat(["val", "test"], [len(split.val), len(split.test)])
    logits = logits_of(model, prepared.windows(rows).inputs, precision=settings.precision)
    probability = probability_of(logits)[:, POSITIVE]
    threshold = choose_threshold(label[part == "val"], probability[part == "val"], settings.threshold)
    test = part == "test"
    results = evaluate(
        label[test],
        probability[test],
        None if group is None else group[test],
        threshold,
        group_name=prepared.dataset.group_name or "record",
    )
    write_text(run.predictions, predictions_text(rows, group, part, label, probability))
    write_json(run.best / "model.json", _saved_model(description, recipe, prepared, threshold))
    write_json(run.metrics, _metrics(run, recipe, model, prepared, seed, count, trained, threshold) | results)
    run.discard_state()


def _saved_model(
    description: dict[str, Any], recipe: Recipe, prepared: Prepared, threshold: Threshold
) -> dict[str, Any]:
    return {
        **description,
        "method": method_to_table(recipe.method),
        "preprocessing": prepared.preprocessing.to_dict(),
        "input_sampling_rate": prepared.dataset.sampling_rate,
        "threshold": {"value": threshold.value, "rule": threshold.rule},
    }


def _metrics(
    run: RunFolder,
    recipe: Recipe,
    model: Classifier,
    prepared: Prepared,
    seed: int,
    count: ParameterCount,
    trained: Trained,
    threshold: Threshold,
) -> dict[str, Any]:
    return {
        "format": 1,
        "name": recipe.name,
        "title": recipe.label,
        "seed": seed,
        "model": recipe.model.name,
        "method": str(recipe.method),
        "weights": model.weights.describe(),
        "classes": list(model.classes),
        "normalisation": recipe.input.normalisation,
        **summarise(prepared.dataset, prepared.split),
        "parameters": {
            "encoder": count.encoder,
            "method": count.method,
            "head": count.head,
            "trainable": count.trainable,
            "total": count.total,
            "share": count.share,
        },
        "training": {
            "epochs": trained.epochs,
            "best_epoch": trained.best_epoch,
            "stopped_early": trained.stopped_early,
            "learning_rate": trained.learning_rate,
            "batch_size": recipe.training.batch_size,
            "seconds": trained.seconds,
            "seconds_per_epoch": trained.seconds_per_epoch,
            "peak_memory_bytes": trained.peak_memory_bytes,
            "file_bytes": sum(file.stat().st_size for file in run.best.iterdir()),
            "device": trained.device,
            "precision": recipe.training.precision,
        },
        "audits": {"weights": model.weights.audit(), "gradients": trained.audit, "count": count.sentence()},
        "threshold": {"value": threshold.value, "rule": threshold.rule},
    }


def _identity(prepared: Prepared, model: Classifier, seed: int) -> dict[str, Any]:
    return {
        "created": now(),
        "command": command_line(),
        "seed": seed,
        "data": prepared.dataset.source.sha256,
        "weights": model.weights.describe(),
        **machine(),
    }
