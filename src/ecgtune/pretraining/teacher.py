"""The masked teacher as an objective of the loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgtune.data.sampling import generator
from ecgtune.errors import RunError
from ecgtune.io.recordings import Recordings
from ecgtune.models.ecg_fm.masked_teacher import MaskedTeacher, TeacherOutput, teacher_decay
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.models.rhythm import RhythmHead
from ecgtune.pretraining.crops import CropPositions, Selection, crop_samples
from ecgtune.pretraining.draws import visible_tokens
from ecgtune.pretraining.objective import Batch, PretrainingObjective
from ecgtune.pretraining.rhythm import GROUPS, TOKEN_TARGETS
from ecgtune.pretraining.rhythm_reader import RhythmReader
from ecgtune.recipe.pretraining import MaskedTeacherTask, Pretraining
from ecgtune.training.objective import StepContext

#: Variance of a teacher's tokens, about 0.7 with random weights, below which it answers the same to everything.
COLLAPSED = 1e-3


class MaskedTeacherObjective(PretrainingObjective):
    """See `models.masked_teacher`. The teacher follows after every step, ever more slowly."""

    def __init__(
        self,
        encoder: EcgFM,
        recordings: Recordings,
        selection: Selection,
        recipe: Pretraining,
        *,
        origin: Mapping[str, Any],
    ) -> None:
        self._task = task = cast(MaskedTeacherTask, recipe.objective)
        self._rhythm = RhythmReader(recordings, selection, recipe) if task.rhythm else None
        self._module = MaskedTeacher(
            encoder,
            layers=task.decoder_layers,
            width=task.decoder_width,
            kernel=task.decoder_kernel,
            groups=task.decoder_groups,
            rhythm=RhythmHead(encoder.head_width, GROUPS, TOKEN_TARGETS) if task.rhythm else None,
        )
        if task.masks == 0:  # several processes wait for a gradient of everything that trains
            self._module.freeze_prediction()
        self._tokens = crop_samples(recipe) // encoder.config.samples_per_token
        super().__init__(self._module, recordings, selection, recipe, origin=origin)

    @property
    def encoder(self) -> EcgFM:
        return self._module.teacher if self._task.keep == "teacher" else self._module.encoder

    def draw(self, windows: int, key: tuple[int, ...], *, training: bool, device: torch.device) -> Tensor:
        task = self._task
        visible = visible_tokens(generator(*key), windows, task.masks, self._tokens, task.visible, task.visible_span)
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
        self._module.update_teacher(teacher_decay(task.decay_start, task.decay_end, context.step, context.total_steps))

    def check_collapse(self, row: Mapping[str, Any]) -> None:
        variance = min(row["train_target_variance"], row["val_target_variance"])
        if self._task.masks and variance < COLLAPSED:
            raise RunError(
                f"the teacher has collapsed: the variance of its answers is {variance:.2g}, below "
                f"{COLLAPSED:g}; lower learning_rate, lengthen warmup or raise decay_start"
            )

    def sentence(self, row: Mapping[str, Any]) -> str:
        return (
            f"loss {row['train_loss']:.4f}, validation loss {row['val_loss']:.4f}, variance of targets "
            f"{row['train_target_variance']:.3f}, of predictions {row['train_prediction_variance']:.3f}"
        )
