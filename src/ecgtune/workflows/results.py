"""The content of metrics.json and results.json: data, split, task, parameters, training and scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ecgtune.config.base import to_table
from ecgtune.config.evaluation import Evaluation
from ecgtune.config.optimisation import Optimisation
from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import Split
from ecgtune.data.tasks import label_counts
from ecgtune.evaluation.calibration.maps import Calibration
from ecgtune.evaluation.calibration.measures import calibration_measures
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.evaluate import Grouping, evaluate
from ecgtune.evaluation.notes import preset_notes
from ecgtune.methods.registry import method_to_table
from ecgtune.recipes.preset import changed_preset
from ecgtune.recipes.recipe import Recipe
from ecgtune.training.loop import TrainingResult
from ecgtune.training.run_folder import RESULT_FORMAT
from ecgtune.utils.formatting import counted
from ecgtune.utils.sources import user_files
from ecgtune.workflows.preparation import summarise
from ecgtune.workflows.ready import ReadyRun

#: Validation windows of the rarest class below which AUROC chooses an epoch by chance: with 30 and 30 its standard
#: error is 0.05 (Hanley and McNeil 1982, at 0.85), more than epochs differ by. The F1 of a fitted threshold rests on as
#: few.
FEWEST_TO_CHOOSE = 30


def choice_warnings(dataset: Dataset, split: Split, optimisation: Optimisation, threshold: str) -> list[str]:
    """Warnings where validation windows are too few to choose an epoch by AUROC, or a threshold."""
    positives, known = label_counts(dataset.label[split.val], dataset.classes)
    fewest = int(np.minimum(positives, known - positives).min())
    if fewest >= FEWEST_TO_CHOOSE:
        return []
    few = f"validation has {counted(len(split.val), 'window')}, {fewest} of the rarest class"
    warnings = []
    if optimisation.checkpoint_metric == "auroc" and optimisation.epochs > 1:
        warnings.append(
            f"{few}: the epoch of the highest AUROC depends on chance, and its probabilities may be"
            " poorly calibrated; use --checkpoint-metric loss or last"
        )
    if threshold != "fixed":
        warnings.append(
            f"{few}: a threshold fitted on them ({threshold}) depends on chance, and so do accuracy and F1;"
            " AUROC does not; --threshold fixed is 0.5 in every run"
        )
    return warnings


def summarise_task(dataset: Dataset, evaluation: Evaluation) -> dict[str, Any]:
    """The entries `task` and `evaluation` of metrics.json; none for two classes and default settings."""
    if dataset.task == "binary" and evaluation == Evaluation(threshold=evaluation.threshold):
        return {}
    return {"task": dataset.task, "evaluation": to_table(evaluation)}


def shown_title(recipe: Recipe) -> str:
    """The name of a recipe in tables; one with a title of its own is marked when its settings are changed."""
    changed = changed_preset(recipe)
    return f"{recipe.label} (changed)" if changed is not None and changed.titled else recipe.label


def changed_notes(recipes: Iterable[Recipe]) -> list[str]:
    """Notes on recipes that differ from the bundled ones of their names, for the log before a training."""
    return preset_notes([{"name": recipe.name, **summarise_preset(recipe)} for recipe in recipes])


def summarise_preset(recipe: Recipe) -> dict[str, Any]:
    """The entry `preset` of metrics.json; none for an unchanged recipe, or one that is not bundled."""
    changed = changed_preset(recipe)
    if changed is None:
        return {}
    epochs = recipe.optimisation.epochs
    return {"preset": {"changes": list(changed.changes), "epochs": epochs, "preset_epochs": changed.epochs}}


def scores(
    dataset: Dataset, rows: np.ndarray, probability: np.ndarray, decision: Decision, evaluation: Evaluation
) -> dict[str, Any]:
    """Metrics with intervals of the predictions for `rows`, per window and per group or recording."""
    group = None if dataset.group is None else dataset.group[rows]
    grouping = Grouping(group, dataset.group_name or "record", dataset.pooled(rows), evaluation.recording)
    over = evaluation.f1_over or ()
    return evaluate(dataset.label[rows], probability, grouping, decision, dataset.classes, f1_over=over)


def calibration_results(
    dataset: Dataset, rows: np.ndarray, probability: np.ndarray, calibration: Calibration
) -> dict[str, Any]:
    """The content of calibration.json: measures of the predictions for `rows` before and after calibration.

    probability: before it. "after" is None where nothing is calibrated.
    """
    group = None if dataset.group is None else dataset.group[rows]

    def measured(probability: np.ndarray) -> dict[str, Any]:
        return calibration_measures(dataset.task, dataset.label[rows], probability, group, dataset.classes)

    return {
        "format": RESULT_FORMAT,
        "calibration": calibration.to_dict(),
        "sentence": calibration.sentence(dataset.classes),
        "before": measured(probability),
        "after": measured(calibration(probability)) if calibration.changes else None,
    }


def calibration_summary(measured: dict[str, Any]) -> dict[str, Any]:
    """The entry `calibration` of metrics.json: what was fitted, and means before and after it."""
    means = {name: measured[name] and measured[name]["mean"] for name in ("before", "after")}
    return {"sentence": measured["sentence"], **means}


def saved_model(run: ReadyRun, decision: Decision, calibration: Calibration) -> dict[str, Any]:
    """The content of best/model.json: what a prediction needs beside the weights."""
    return {
        **run.description,
        **_imports(run),
        "method": method_to_table(run.recipe.method),
        "preprocessing": run.prepared.preprocessing.to_dict(),
        "input_sampling_rate": run.prepared.dataset.sampling_rate,
        "threshold": decision.to_dict(run.model.classes),
        "calibration": calibration.to_dict(),
    }


def _imports(run: ReadyRun) -> dict[str, list[str]]:
    """The files of the user that register encoder or method, which whatever loads the run has to import."""
    files = user_files(type(run.model.base_encoder), type(run.recipe.method))
    return {"imports": files} if files else {}


def imported_files(metrics: Iterable[dict[str, Any]]) -> list[str]:
    """The files of the user that several runs state."""
    return list(dict.fromkeys(file for run in metrics for file in run.get("imports", ())))


def run_metrics(run: ReadyRun, trained: TrainingResult, decision: Decision, precomputed: str) -> dict[str, Any]:
    """Return metrics.json without the scores. precomputed: the sentence on precomputation."""
    recipe, count = run.recipe, run.count
    summary = summarise(run.prepared.dataset, run.prepared.split)
    summary["split"]["warnings"] += choice_warnings(
        run.prepared.dataset, run.prepared.split, recipe.optimisation, recipe.evaluation.threshold
    )
    return {
        "format": RESULT_FORMAT,
        "name": recipe.name,
        "title": shown_title(recipe),
        "seed": run.seed,
        "model": recipe.model.name,
        "method": str(recipe.method),
        **_imports(run),
        "weights": run.model.weights.describe(),
        "classes": list(run.model.classes),
        "normalisation": recipe.data.normalisation,
        **summarise_preset(recipe),
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
            **trained.facts,
            "head_epochs": recipe.optimisation.head_epochs,
            "checkpoint_metric": recipe.optimisation.checkpoint_metric,
            "batch_size": recipe.optimisation.batch_size,
            "file_bytes": sum(f.stat().st_size for f in run.folder.best.rglob("*") if f.is_file()),
            "precomputed": precomputed,
        },
        "audits": {"weights": run.model.weights.audit(), "gradients": trained.audit, "count": count.sentence()},
        "threshold": decision.to_dict(run.model.classes),
        **summarise_task(run.prepared.dataset, recipe.evaluation),
    }
