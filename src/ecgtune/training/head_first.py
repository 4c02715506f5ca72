"""Train the head before the method, because a random head distorts the features (LP-FT, Kumar et al. 2022,
arXiv:2202.10054)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ecgtune.config.base import require
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.methods.base import Method
from ecgtune.methods.split import head_alone
from ecgtune.methods.storage import load_head, save_head
from ecgtune.models.classifier import Classifier
from ecgtune.training.batches import Windows
from ecgtune.training.callbacks import Callback
from ecgtune.training.classification import Classification
from ecgtune.training.loop import count_steps, train
from ecgtune.training.prefix import compute_once
from ecgtune.training.run_folder import RunFolder


class _HeadAlone(Classification):
    """A probe that saves and loads only the head; the modules attached to the encoder do not change."""

    def save(self, folder: Path) -> None:
        save_head(self.model, folder)

    def load(self, folder: Path) -> None:
        load_head(self.model, folder)


def head_settings(settings: Optimisation) -> Optimisation:
    """Settings of the loop for `settings.head_epochs` (1 or more) of the head alone, at the rate of `LinearProbe`."""
    return replace(
        settings,
        epochs=settings.head_epochs,
        head_epochs=0,
        learning_rate=None,
        rate_width=None,
        head_rate_factor=1.0,
        layer_decay=1.0,
        drop_path=0.0,
    )


def count_head_steps(items: int, settings: Optimisation) -> int:
    """Optimizer steps of the head alone, 0 without `head_epochs`. Raises as `count_steps` does."""
    return count_steps(items, head_settings(settings)) if settings.head_epochs else 0


def check_head_first(method: Method, items: int, settings: Optimisation) -> None:
    """Raise SettingError for `head_epochs` without a method that changes the encoder, or with too few steps."""
    require(
        settings.head_epochs == 0 or method.changes_encoder,
        f"head_epochs is {settings.head_epochs}, but {method.name} already trains only the head; leave it out",
    )
    count_head_steps(items, settings)


def train_head(
    model: Classifier,
    training: Windows,
    validation: Windows,
    settings: Optimisation,
    trainer: TrainerSettings,
    *,
    seed: int,
    folder: RunFolder,
    callbacks: Sequence[Callback] = (),
) -> float:
    """Train the head of `model`, which has its method attached, for `settings.head_epochs`, and return the seconds.

    `training` and `validation` hold prepared windows; their features are computed once. The log and the checkpoint are
    in `folder.head`; the model keeps that head. A stopped training is resumed; once the training of the method has
    started, its state contains the head. Raises as `train` does.
    """
    alone = RunFolder(folder.head, title=f"{folder.title}, head")
    if folder.state.exists():
        steps = count_head_steps(len(training), settings)
        for callback in callbacks:
            callback.on_train_begin(steps, steps)
            callback.on_train_end(0)
    else:
        with head_alone(model) as probe:
            settings, trainer = head_settings(settings), replace(trainer, gradient_checkpointing=False)
            once = compute_once(model, probe, training, validation, settings, trainer, augmented=False)
            objective = _HeadAlone(model, probe, once.training, once.validation, settings, trainer)
            train(objective, settings, trainer, seed=seed, folder=alone, callbacks=callbacks)
    return sum(json.loads(line)["seconds"] for line in alone.log.read_text(encoding="utf-8").splitlines())
