"""A dataset as an encoder wants it, and what every result says about data and split."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ecgtune.data import Dataset, Preprocessing, Split, split_dataset
from ecgtune.errors import DataError, SettingError
from ecgtune.methods import base_encoder
from ecgtune.models import Classifier, Head, load_model
from ecgtune.recipe import Evaluation, Input, Recipe
from ecgtune.settings import to_table
from ecgtune.training import Windows


class Prepared:
    """Windows split, resampled and normalised for one encoder; made once, used by every run of a comparison."""

    def __init__(self, dataset: Dataset, split: Split, preprocessing: Preprocessing) -> None:
        self.dataset = dataset
        self.split = split
        self.preprocessing = preprocessing
        self._signal = preprocessing(dataset.signal, dataset.sampling_rate)

    @property
    def samples(self) -> int:
        """Samples of a window, at the rate of the encoder."""
        return self._signal.shape[-1]

    def windows(self, rows: np.ndarray) -> Windows:
        """Inputs `(rows, leads, samples)` and labels of `rows`."""
        return Windows(self._signal[rows], self.dataset.label[rows])

    def groups(self, rows: np.ndarray) -> np.ndarray | None:
        """The group of each of `rows`, None without groups."""
        return None if self.dataset.group is None else self.dataset.group[rows]


def draw_split(dataset: Dataset, settings: Input) -> Split:
    """The split that the settings ask for; raises what `split_dataset` raises."""
    return split_dataset(
        dataset,
        fractions=settings.fractions,
        seed=settings.split_seed,
        label_share=settings.label_share,
        allow_duplicates=settings.allow_duplicates,
    )


def digest(prepared: Prepared) -> str:
    """sha256 of which windows stand in which split with which label and group: other flags, another digest."""
    whole = hashlib.sha256()
    for rows in prepared.split.parts().values():
        group = prepared.groups(rows)
        whole.update(rows.astype("<i8").tobytes())
        label = prepared.dataset.label[rows]
        whole.update((label if label.ndim == 2 else label.astype("<i8")).tobytes())
        whole.update("\0".join(map(str, [] if group is None else group.tolist())).encode())
    return whole.hexdigest()


def summarise(dataset: Dataset, split: Split) -> dict[str, Any]:
    """Data and split as metrics.json and results.json tell them."""
    windows, _, samples = dataset.signal.shape
    return {
        "data": {
            "path": dataset.source.path,
            "sha256": dataset.source.sha256,
            "windows": windows,
            "sampling_rate": dataset.sampling_rate,
            "samples": samples,
            "leads": list(dataset.leads),
            "signal_path": dataset.source.signal_path,
        },
        "split": {
            "unit": split.unit,
            "origin": split.origin,
            "warnings": list(split.warnings),
            "duplicates": split.duplicates,
            "counts": split.counts(dataset),
        },
    }


def summarise_task(dataset: Dataset, evaluation: Evaluation) -> dict[str, Any]:
    """Task and way of measuring as metrics.json tells them; nothing of what two classes and the mean are."""
    if dataset.task == "binary" and evaluation == Evaluation():
        return {}
    return {"task": dataset.task, "evaluation": to_table(evaluation)}


def load_recipe_model(recipe: Recipe, dataset: Dataset, seed: int) -> Classifier:
    """The classifier that `recipe` names, for the classes and leads of `dataset`."""
    return load_model(
        recipe.model.name,
        classes=dataset.classes,
        leads=dataset.leads,
        lead_mode=recipe.model.lead_mode,
        lead_adapter=recipe.model.lead_adapter,
        head=Head(recipe.model.head_hidden, recipe.model.head_dropout, pooling=recipe.model.pooling),
        seed=seed,
    )


def prepare(model: Classifier, dataset: Dataset, split: Split, settings: Input) -> Prepared:
    """Fit the preprocessing that the model's encoder wants on the training windows, and apply it to all.

    Raises SettingError when model and data do not have the same classes, DataError for windows shorter than one token.
    """
    if model.classes != dataset.classes:
        raise SettingError(
            f"the model's classes are {', '.join(model.classes)}, the data's {', '.join(dataset.classes)}; "
            f"load the model with classes={dataset.classes}"
        )
    encoder = base_encoder(model)
    samples = int(dataset.samples * encoder.sampling_rate / dataset.sampling_rate)
    if samples < encoder.config.samples_per_token:
        raise DataError(
            f"windows of {dataset.samples} samples at {dataset.sampling_rate:g} Hz are {samples} at the model's "
            f"{encoder.sampling_rate:g} Hz; allowed: {encoder.config.samples_per_token} or more"
        )
    preprocessing = Preprocessing.fit(
        dataset,
        split.train,
        sampling_rate=encoder.sampling_rate,
        resampling=encoder.resampling,
        normalisation=settings.normalisation,
    )
    return Prepared(dataset, split, preprocessing)
