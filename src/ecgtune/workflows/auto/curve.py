"""The learning curve of the probe, from the features that its training computed: only heads are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ecgtune.evaluation.learning_curve import learning_curve
from ecgtune.training.batches import TrainingInputs
from ecgtune.training.classification import Classification
from ecgtune.training.inference import logits_of
from ecgtune.training.loop import train
from ecgtune.training.prefix import precompute_inputs
from ecgtune.training.run_folder import RunFolder
from ecgtune.utils.files import temporary_folder
from ecgtune.workflows.auto.budget import Budget
from ecgtune.workflows.auto.do import read_results
from ecgtune.workflows.auto.plan_file import FOLDER, AutoPlan
from ecgtune.workflows.auto.trial import (
    CURVE_FRACTIONS,
    PROBE,
    material_of,
    probabilities,
    read_validation,
    ready_run,
)
from ecgtune.workflows.auto.validation import validation_of

NOTHING: dict[str, Any] = {"points": [], "extrapolated": []}


def probe_curve(out: Path, plan: AutoPlan, budget: Budget) -> dict[str, Any]:
    """Return the content of curve.json: validation scores of the probe at fractions of its windows, and beyond.

    Without points where the windows are too few for two steps of training, or the probe does not read features.
    """
    material = material_of(out, plan)
    results = read_results(out)
    probes = [one for one in results["trials"] if one["method"] == PROBE and one["encoder"] == results["encoder"]]
    whole = max((one for one in probes if "score" in one and one["round"] == 0), key=lambda one: one["train_windows"])
    folder = out / FOLDER / whole["name"] / f"round-{whole['round']}"
    rows, probability = read_validation(folder, material.dataset)
    validation = validation_of(material, rows)
    sizes, draws = [], []
    for fraction in CURVE_FRACTIONS:
        windows = int(fraction * whole["train_windows"])
        if windows >= max(2 * plan.training.batch_size, 4 * len(material.dataset.classes)):
            sizes.append(windows)
            draws.append(validation.draws([_predicted(out, plan, whole, windows)]))
            budget.tick(now=True)
    if len(sizes) < 2:
        return NOTHING
    sizes.append(whole["train_windows"])
    draws.append(validation.draws([probability]))
    if not all(np.isfinite(each[0]) for each in draws):  # a class has no validation windows
        return NOTHING
    return {"encoder": whole["encoder"], **learning_curve(sizes, draws)}


def _predicted(out: Path, plan: AutoPlan, job: Mapping[str, Any], windows: int) -> np.ndarray:
    """Probabilities of the validation windows by the probe of a job, trained on `windows` of its training windows."""
    few = material_of(out, plan).split(job["round"], windows=windows).train
    with temporary_folder() as place:
        run = ready_run(out, plan, job, place / "run")
        settings, trainer, split = run.recipe.optimisation, run.recipe.trainer, run.prepared.split
        signals = TrainingInputs(run.prepared.windows(split.train), run.prepared.windows(split.val))
        inputs = precompute_inputs(run.model, run.recipe.method, signals, settings, trainer)
        rows = np.flatnonzero(np.isin(split.train, few))
        training = replace(inputs.training, inputs=inputs.training.inputs[rows], label=inputs.training.label[rows])
        inputs = replace(inputs, training=training)
        objective = Classification(run.model, run.recipe.method, inputs, settings, trainer)
        train(objective, settings, trainer, seed=run.seed, folder=RunFolder(Path(place) / "run"))
        batch = trainer.inference_batch(settings.batch_size)
        logits = logits_of(objective.trained, inputs.validation.inputs, batch_size=batch, precision=trainer.precision)
    return probabilities(logits, run.prepared.dataset.task)
