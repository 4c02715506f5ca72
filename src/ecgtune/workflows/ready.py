"""A run that is checked and not begun: the windows, the model with its method, and the folder."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ecgtune.config.base import check_seed, require
from ecgtune.data.augmentation import WindowAugmentation, cropped_samples
from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import Split
from ecgtune.errors import SettingError
from ecgtune.evaluation.decision import check_rule
from ecgtune.evaluation.macro import class_indices
from ecgtune.methods.attach import attach
from ecgtune.methods.audits import ParameterCount, count_parameters
from ecgtune.methods.depth import check_depth
from ecgtune.methods.registry import METHODS
from ecgtune.methods.split import reads_features
from ecgtune.models.architectures import ARCHITECTURES
from ecgtune.models.classifier import Classifier
from ecgtune.models.description import describe_model
from ecgtune.recipes.recipe import Recipe
from ecgtune.text import utf8
from ecgtune.training.head_first import check_head_epochs
from ecgtune.training.inference import choose_device
from ecgtune.training.loop import count_steps
from ecgtune.training.losses import check_loss
from ecgtune.training.precision import check_precision, resolved_precision
from ecgtune.training.prefix import check_prefix_cache
from ecgtune.training.run_folder import RunFolder, check_run
from ecgtune.workflows.environment import command_line, machine, now
from ecgtune.workflows.overlap import pretraining_file
from ecgtune.workflows.preparation import Prepared, load_recipe_model, prepare, preset_steps, summarise


@dataclass(frozen=True)
class ReadyRun:
    """A run whose settings are checked, and of which nothing is written yet."""

    recipe: Recipe
    model: Classifier
    prepared: Prepared
    seed: int
    folder: RunFolder
    fingerprint: dict[str, Any]
    description: dict[str, Any]
    count: ParameterCount
    augmentation: WindowAugmentation | None
    #: Cost of a forward pass in the unit of the progress bar; encoders of one comparison may differ.
    pass_cost: float = 1.0


@dataclass
class RunBuilder:
    """Makes runs on the windows of one split, which are prepared once for all encoders with the same input."""

    dataset: Dataset
    split: Split
    _prepared: dict[tuple[Any, ...], Prepared] = field(default_factory=dict, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prepared": {}}  # they are prepared again in another process

    def ready(
        self, recipe: Recipe, *, seed: int, folder: Path, resume: bool = True, model: Classifier | None = None
    ) -> ReadyRun:
        """Load the recipe's model, unless `model` is given, attach the method and check every setting.

        Writes nothing. Raises an EcgtuneError for what the user can repair.
        """
        check_seed(seed)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise SettingError("a run folder is written by one process; start the command without torchrun")
        METHODS.check(recipe.method, recipe.method.name)  # what cannot be loaded again is refused before it trains
        check_precision(choose_device(recipe.trainer.device), recipe.trainer.precision)
        if model is None:
            model = load_recipe_model(recipe, self.dataset, seed)
        ARCHITECTURES.check(model.base_encoder, model.base_encoder.architecture)
        prepared = self.prepared(model, recipe)
        _check_task(recipe, prepared)
        count_steps(len(prepared.split.train), recipe.optimisation)
        check_head_epochs(recipe.method, len(prepared.split.train), recipe.optimisation)
        check_depth(
            model,
            recipe.method,
            layer_decay=recipe.optimisation.layer_decay,
            drop_path=recipe.optimisation.drop_path,
            layer_drop=recipe.optimisation.layer_drop,
            checkpointing=recipe.trainer.gradient_checkpointing,
        )
        augmentation = _augmentation(recipe, model, prepared)
        run = RunFolder(folder, title=f"{recipe.name} seed {seed}")
        fingerprint = _fingerprint(recipe, prepared, model, seed)
        check_run(run, recipe, fingerprint, resume=resume)
        description = describe_model(model)
        attach(model, recipe.method, seed=seed)
        count = count_parameters(model, recipe.method)
        augmented = augmentation is not None and not recipe.augmentation.augmented_copies
        check_prefix_cache(model, recipe.method, recipe.optimisation, recipe.trainer, augmented)
        return ReadyRun(recipe, model, prepared, seed, run, fingerprint, description, count, augmentation)

    def prepared(self, model: Classifier, recipe: Recipe) -> Prepared:
        """The windows for the encoder of `model`."""
        spec = model.base_encoder.input_spec
        # All that preparation depends on; the lead mode is in the encoder's kernel and not in its input.
        key = (spec.sampling_rate, spec.samples, spec.resampling, spec.seconds, recipe.data.normalisation)
        key += (recipe.data.fit, model.leads, preset_steps(model, recipe.data), pretraining_file(model))
        if key not in self._prepared:
            self._prepared[key] = prepare(model, self.dataset, self.split, recipe.data)
        return self._prepared[key]


def _check_task(recipe: Recipe, prepared: Prepared) -> None:
    """Raise SettingError for settings that the labels cannot use."""
    task, classes = prepared.dataset.task, prepared.dataset.classes
    check_rule(task, recipe.evaluation.threshold)
    check_loss(task, classes, recipe.optimisation)
    over = recipe.evaluation.f1_over
    if over is not None and task == "binary":
        raise SettingError(
            "f1_over is for more than two classes or labels; F1 of the positive class is among the metrics"
        )
    class_indices(over or (), classes)


def _augmentation(recipe: Recipe, model: Classifier, prepared: Prepared) -> WindowAugmentation | None:
    """The random changes of the training windows; None without any.

    Raises SettingError where it could not act: on features that are computed once, on the only lead, or with crops that
    are too short for the encoder.
    """
    settings = recipe.augmentation
    if not settings.acting:
        return None
    named = ", ".join(f"{name} {getattr(settings, name):g}" for name in settings.acting)
    require(
        recipe.trainer.prefix_cache == "off"
        or bool(settings.augmented_copies)
        or not reads_features(model, recipe.method),
        f"{recipe.name} trains on cached features, which augmentation ({named}) does not change; leave out the "
        f"augmentation or {recipe.name}, give the augmentation in recipe files of the other methods, set "
        f"augmented_copies, or set prefix_cache to off",
    )
    encoder = model.base_encoder
    samples = cropped_samples(settings, prepared.samples)
    least = encoder.input_spec.minimum_samples
    require(
        samples >= least,
        f"crop {settings.crop:g} leaves {samples} of {prepared.samples} samples of a window, less than a token of the "
        f"encoder; allowed: {least / prepared.samples:.3g} or more",
    )
    _, rest, rate = prepared.scaling
    return WindowAugmentation(
        settings,
        windows=len(prepared.split.train),
        leads=len(model.leads),
        sampling_rate=rate,
        normalise=prepared.preprocessing.normalisation == "zscore",
        scale=None if rest is None else partial(rest, sampling_rate=rate),
    )


def _fingerprint(recipe: Recipe, prepared: Prepared, model: Classifier, seed: int) -> dict[str, Any]:
    """The content of environment.json; `check_run` compares parts of it when a run is resumed."""
    data = summarise(prepared.dataset, prepared.split)["data"]
    del data["reading"]  # as the path: the same windows may be read from another place
    return {
        "created": now(),
        "command": command_line(),
        "file": data.pop("path"),  # a file may move; what is in it may not change
        "seed": seed,
        "data": {**data, "unit": prepared.dataset.unit, "windows_sha256": _digest(prepared)},
        "weights": model.weights.describe(),
        **resolved_precision(choose_device(recipe.trainer.device), recipe.trainer.precision),
        **machine(),
    }


def _digest(prepared: Prepared) -> str:
    """sha256 of the rows, labels and groups of each split."""
    whole = hashlib.sha256()
    for rows in prepared.split.by_name().values():
        group = prepared.groups(rows)
        whole.update(rows.astype("<i8").tobytes())
        label = prepared.dataset.label[rows]
        whole.update((label if label.ndim == 2 else label.astype("<i8")).tobytes())
        whole.update(utf8("\0".join(map(str, [] if group is None else group.tolist()))))
    return whole.hexdigest()
