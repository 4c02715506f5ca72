"""Baselines of a comparison: the majority class, and networks from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ecgtune.config.evaluation import Evaluation
from ecgtune.data.dataset import Dataset
from ecgtune.data.positive import POSITIVE
from ecgtune.data.splits import Split
from ecgtune.data.tasks import label_counts
from ecgtune.evaluation.decision import choose_decision
from ecgtune.recipes.comparison import MAJORITY, RESNET, baseline_names
from ecgtune.recipes.recipe import Recipe, load_recipes
from ecgtune.training.predictions import Predictions, predictions_text
from ecgtune.training.run_folder import RESULT_FORMAT, RunFolder
from ecgtune.utils.files import write_json, write_text
from ecgtune.workflows.preparation import summarise
from ecgtune.workflows.results import scores, summarise_task

MAJORITY_TITLE = "Majority class"


def scratch_recipe(first: Recipe, name: str = RESNET) -> Recipe:
    """A network from scratch by its own recipe: split, epochs and rule of threshold are those of `first`.

    Batches are no larger than those of `first`, which may be for small data or little memory.
    Its loss stays plain: class weights that help a pretrained encoder made it worse (CinC 2017, docs/real_tasks.md),
    and a baseline is to be as high as its few settings allow.
    """
    recipe = load_recipes(name)[0]
    optimisation = replace(
        recipe.optimisation,
        epochs=first.optimisation.epochs,
        batch_size=min(recipe.optimisation.batch_size, first.optimisation.batch_size),
        checkpoint_metric=first.optimisation.checkpoint_metric,
        patience=first.optimisation.patience,
    )
    trainer = replace(recipe.trainer, device=first.trainer.device, precision=first.trainer.precision)
    data = replace(first.data, preset="auto")  # one that is named belongs to the encoder of `first`
    return replace(recipe, optimisation=optimisation, trainer=trainer, data=data, evaluation=first.evaluation)


def variants_of(variants: Sequence[Recipe], baselines: bool) -> list[tuple[Recipe, str]]:
    """What a comparison of `variants` trains: each with its kind, "method" or "baseline"."""
    kinds = [(variant, "method") for variant in variants]
    names = baseline_names(variants) if baselines else ()
    return [*kinds, *((scratch_recipe(variants[0], name), "baseline") for name in names)]


def write_majority(
    dataset: Dataset, split: Split, normalisation: str, evaluation: Evaluation, folder: Path
) -> RunFolder:
    """Write a run that always predicts the most frequent class of the training split; it has no model and no seed.

    Of several labels, each is predicted as it is in most training windows.
    """
    run = RunFolder(folder)
    label = dataset.label[split.test]
    group = None if dataset.group is None else dataset.group[split.test]
    recording = dataset.pooled(split.test)
    # The best constant is the fraction of positives; at 0.5 or more the prediction is always "positive".
    positives, known = label_counts(dataset.label[split.train], dataset.classes)
    fractions = positives / known
    probability = (
        np.full(len(label), fractions[POSITIVE]) if dataset.task == "binary" else np.tile(fractions, (len(label), 1))
    )
    decision = choose_decision(dataset.task, label, probability, "fixed")
    part = np.full(len(label), "test")
    predictions = Predictions(split.test, group, part, label, probability, recording)
    write_text(run.predictions, predictions_text(predictions, dataset.classes))
    nothing_trained = dict.fromkeys(
        ("epochs", "best_epoch", "learning_rate", "seconds", "seconds_per_epoch", "peak_memory_bytes", "file_bytes")
    )
    write_json(
        run.metrics,
        {
            "format": RESULT_FORMAT,
            "name": MAJORITY,
            "title": MAJORITY_TITLE,
            "seed": 0,
            "model": "none",
            "method": "the class that is more frequent in training",
            "weights": "none",
            "classes": list(dataset.classes),
            "normalisation": normalisation,
            **summarise(dataset, split),
            "parameters": {
                "encoder": 0,
                "method": 0,
                "head": 0,
                "trainable": 0,
                "total": 0,
                "trainable_fraction": None,
            },
            "training": nothing_trained,
            "audits": {},
            "threshold": decision.to_dict(dataset.classes),
            **summarise_task(dataset, evaluation),
            **scores(dataset, split.test, probability, decision, evaluation),
        },
    )
    return run
