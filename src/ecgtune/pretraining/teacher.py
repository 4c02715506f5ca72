"""Masked prediction of a teacher's tokens as an objective of the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgtune.data.sampling import generator
from ecgtune.errors import RunError
from ecgtune.models.base import Encoder
from ecgtune.models.masked_signal import SignalTeacher
from ecgtune.models.masked_teacher import TeacherOutput
from ecgtune.models.rhythm import RhythmHead
from ecgtune.pretraining.crops import CropPositions, Selection
from ecgtune.pretraining.draws import visible_tokens
from ecgtune.pretraining.objective import Batch, PretrainingObjective
from ecgtune.pretraining.rhythm import GROUPS, TOKEN_TARGETS, RhythmTargets
from ecgtune.recipes.pretraining import MaskedTeacherTask
from ecgtune.training.objective import StepContext


def teacher_decay(start: float, end: float, step: int, total_steps: int) -> float:
    """Return the decay of the moving average after step `step` (0, 1, ...), linear from `start` to `end`."""
    return start + (end - start) * step / max(1, total_steps - 1)


class MaskedTeacherObjective(PretrainingObjective[MaskedTeacherTask]):
    """Objective of `models.masked_teacher`, by the architecture's own module or that of `models.masked_signal`.

    The teacher is updated after every step with increasing decay.
    """

    def make_module(self, encoder: Encoder, selection: Selection) -> nn.Module:
        task = self._task
        self._rhythm = RhythmTargets(self._recordings, selection, self._shape) if task.rhythm else None
        own = encoder.pretraining_models.get(task.name)
        module: Any = (own or partial(SignalTeacher, places=self._shape.places))(
            encoder,
            **task.decoder,
            rhythm=RhythmHead(encoder.head_width, GROUPS, TOKEN_TARGETS) if task.rhythm else None,
        )
        if task.masks == 0:  # distributed training needs a gradient for every trainable tensor
            module.freeze_prediction()
        return module

    @property
    def encoder(self) -> Encoder:
        return cast(Encoder, self.model.teacher if self._task.keep == "teacher" else self.model.encoder)

    def draw(self, windows: int, key: tuple[int, ...], *, training: bool, device: torch.device) -> Tensor:
        task = self._task
        visible = visible_tokens(
            generator(*key), windows, task.masks, self._shape.places, task.visible, task.visible_span
        )
        return torch.from_numpy(visible).to(device)

    def targets(
        self, crops: NDArray[np.float32], positions: CropPositions, rows: np.ndarray, device: torch.device
    ) -> tuple[Tensor, Tensor] | None:
        if self._rhythm is None:
            return None
        found = self._rhythm(crops, positions, rows)
        return torch.from_numpy(found.crop).to(device), torch.from_numpy(found.token).to(device)

    def loss(self, trained: nn.Module, batch: Batch) -> dict[str, Tensor]:
        output: TeacherOutput = trained(batch.signal, batch.draws, batch.targets)
        crops = len(batch.signal)
        masked, crop, token = output.masked.sum(), output.crop.sum(), output.token.sum()
        terms = {"loss": masked + self._task.rhythm * (crop + token)}
        if self._rhythm is not None:
            terms |= {"masked": masked, "rhythm_crop": crop, "rhythm_token": token}
        return {
            **terms,
            "target_variance": output.target_variance * crops,
            "prediction_variance": output.prediction_variance * crops,
        }

    def after_step(self, context: StepContext) -> None:
        task = self._task
        decay = teacher_decay(task.decay_start, task.decay_end, context.step, context.total_steps)
        cast(Any, self.model).update_teacher(decay)

    def check_collapse(self, row: Mapping[str, Any]) -> None:
        variance = min(row["train_target_variance"], row["val_target_variance"])
        if self._task.masks and variance < self._task.least_variance:
            raise RunError(
                f"the teacher has collapsed: the variance of its tokens is {variance:.2g}, below "
                f"{self._task.least_variance:g}; lower learning_rate, lengthen warmup or raise decay_start"
            )

    def sentence(self, row: Mapping[str, Any]) -> str:
        return (
            f"loss {row['train_loss']:.4f}, validation loss {row['val_loss']:.4f}, variance of targets "
            f"{row['train_target_variance']:.3f}, of predictions {row['train_prediction_variance']:.3f}"
        )
