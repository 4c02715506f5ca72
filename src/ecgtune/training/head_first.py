"""Linear probing before fine-tuning, because a random head distorts the features.

LP-FT, Kumar et al. 2022, arXiv:2202.10054.
"""

from __future__ import annotations

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
from ecgtune.training.batches import TrainingInputs
from ecgtune.training.callbacks import Callback
from ecgtune.training.classification import Classification
from ecgtune.training.loop import count_steps, train
from ecgtune.training.prefix import precompute_inputs
from ecgtune.training.run_folder import RunFolder, read_log


class _HeadObjective(Classification):
    """Linear probe that saves and loads only the head."""

    def save(self, folder: Path) -> None:
        save_head(self.model, folder)

    def load(self, folder: Path) -> None:
        load_head(self.model, folder)


def head_settings(settings: Optimisation) -> Optimisation:
    """Return the settings of the `head_epochs` (1 or more), with the learning rate of `LinearProbe`."""
    return replace(
        settings,
        epochs=settings.head_epochs,
        head_epochs=0,
        learning_rate=None,
        rate_width=None,
        head_rate_factor=1.0,
        layer_decay=1.0,
        drop_path=0.0,
        layer_drop=0.0,
    )


def count_head_steps(items: int, settings: Optimisation) -> int:
    """Return the optimizer steps of the `head_epochs`, 0 without any. Raises as `count_steps` does."""
    return count_steps(items, head_settings(settings)) if settings.head_epochs else 0


def check_head_epochs(method: Method, items: int, settings: Optimisation) -> None:
    """Raise SettingError if `head_epochs` has too few steps or the method does not change the encoder."""
    require(
        settings.head_epochs == 0 or method.changes_encoder,
        f"head_epochs is {settings.head_epochs}, but {method.name} already trains only the head; leave it out",
    )
    count_head_steps(items, settings)


def train_head(
    model: Classifier,
    inputs: TrainingInputs,
    settings: Optimisation,
    trainer: TrainerSettings,
    *,
    seed: int,
    folder: RunFolder,
    callbacks: Sequence[Callback] = (),
) -> float:
    """Train the head of `model` for `settings.head_epochs` and return the duration in seconds.

    The method is attached to `model`. The windows hold signals, whose features are precomputed, without augmentation.
    The log and the checkpoint are written to `folder.head`. An interrupted training resumes; it is skipped if the
    training of the method has started, whose saved state contains the head. Raises as `train` does.
    """
    head_folder, epochs = RunFolder(folder.head, title=f"{folder.title}, head"), settings.head_epochs
    if folder.state.exists():
        steps = count_head_steps(len(inputs.training), settings)
        for callback in callbacks:
            callback.on_train_begin(steps, steps)
            callback.on_train_end(0)
    else:
        with head_alone(model) as probe:
            settings, trainer = head_settings(settings), replace(trainer, gradient_checkpointing=False)
            plain = TrainingInputs(inputs.training, inputs.validation)
            objective = _HeadObjective(
                model, probe, precompute_inputs(model, probe, plain, settings, trainer), settings, trainer
            )
            train(objective, settings, trainer, seed=seed, folder=head_folder, callbacks=callbacks)
    return sum(row["seconds"] for row in read_log(head_folder.log, epochs))
