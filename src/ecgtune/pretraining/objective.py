"""Base class of the pretraining objectives: random crops of recordings, validation loss and log."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgtune.data.augmentation import Disturbance
from ecgtune.data.sampling import generator
from ecgtune.errors import DivergedError
from ecgtune.io.recordings import Recordings
from ecgtune.models.base import Encoder
from ecgtune.models.checkpoint import load_checkpoint, save_encoder
from ecgtune.models.weights import Weights
from ecgtune.pretraining.crops import (
    AUGMENTATION,
    CropPositions,
    CropShape,
    Selection,
    count_crops,
    cut,
    fixed_positions,
    normalised,
    random_positions,
)
from ecgtune.recipes.pretraining import ContrastiveTask, MaskedSignalTask, MaskedTeacherTask, Pretraining
from ecgtune.training.objective import Objective, StepContext
from ecgtune.training.precision import autocast

VALIDATION = 3  # key of the random generator of validation
VALIDATION_BATCH = 64
Task = TypeVar("Task", ContrastiveTask, MaskedTeacherTask, MaskedSignalTask)


@dataclass(frozen=True)
class Batch:
    """Signal (crops, leads, samples), normalised; random draws and targets of the objective; optimizer step."""

    signal: Tensor
    draws: Any
    targets: Any
    step: int


class PretrainingObjective(Objective, Generic[Task]):
    """Base class of the pretraining objectives; an item is a crop of `segments` adjacent windows.

    Subclasses implement the module (`make_module`), random draws (`draw`), loss (`loss`) and collapse test
    (`check_collapse`).
    """

    segments = 1

    def __init__(
        self,
        encoder: Encoder,
        recordings: Recordings,
        selection: Selection,
        recipe: Pretraining,
        shape: CropShape,
        *,
        origin: Mapping[str, Any],
        weights: Weights | None = None,
    ) -> None:
        self.learning_rate = recipe.optimisation.learning_rate or recipe.objective.learning_rate
        self._recordings, self._recipe, self._origin = recordings, recipe, origin
        self._shape, self._weights = shape, weights
        self._task = cast(Task, recipe.objective)
        self.model = self.trained = self.make_module(encoder, selection)
        self._samples = shape.samples * self.segments
        self._owner = count_crops(recordings, selection.train, self._samples)
        self._val_owner = count_crops(recordings, selection.val, self._samples)
        self._val_positions = fixed_positions(recordings, self._val_owner, self._samples)
        self._epoch: tuple[int, int, CropPositions, Disturbance] | None = None
        self.items = len(self._owner)

    @abstractmethod
    def make_module(self, encoder: Encoder, selection: Selection) -> nn.Module:
        """Return the module to train, which contains `encoder`."""

    @property
    def encoder(self) -> Encoder:
        """The encoder to save."""
        return cast(Encoder, self.model.encoder)

    @abstractmethod
    def draw(self, windows: int, key: tuple[int, ...], *, training: bool, device: torch.device) -> Any:
        """Return random draws for a batch of `windows` windows, a function of `key` (`data.sampling.generator`)."""

    def targets(
        self, crops: NDArray[np.float32], positions: CropPositions, rows: np.ndarray, device: torch.device
    ) -> Any:
        """Return the targets of the z-scored crops `rows` (crops, leads, samples) before augmentation, or None."""
        return None

    @property
    def started_from(self) -> dict[str, Any]:
        """Entries of metrics.json: the input of the encoder, and the weights that the training started from."""
        shape, weights = self._shape, self._weights
        seconds, rate = shape.samples / shape.sampling_rate, self.encoder.input_spec.sampling_rate
        facts = {"sampling_rate": rate, "seconds": seconds, "tokens": shape.places}
        start = {} if weights is None else {"start": {"weights": weights.describe(), "licence": weights.notice}}
        return {"window": facts, **start}

    @abstractmethod
    def check_collapse(self, row: Mapping[str, Any]) -> None:
        """Raise RunError if a row of the log shows a collapse of the representations."""

    def weight(self, rows: np.ndarray, context: StepContext) -> float:
        return float(len(rows))

    def batch(self, rows: np.ndarray, context: StepContext, device: torch.device) -> Batch:
        positions, disturb = self._of_epoch(context)
        # Normalised before augmentation, whose amplitudes are in standard deviations, and after it, as in fine-tuning.
        raw = cut(self._recordings, positions, rows, self._samples)
        crops = normalised(raw, 1)
        disturbed = disturb(crops, rows, self._recordings.sampling_rate) * self._spread(raw, positions, rows)
        signal = self._shape.inputs(disturbed, self.segments)
        key = (context.seed, context.step, int(rows[0]))
        draws = self.draw(len(signal), key, training=True, device=device)
        targets = self.targets(crops, positions, rows, device)
        return Batch(torch.from_numpy(signal).to(device), draws, targets, context.step)

    def evaluate(
        self, trained: nn.Module, sums: Mapping[str, float], weight: float, context: StepContext
    ) -> dict[str, Any]:
        row = {f"train_{name}": value / weight for name, value in sums.items()}
        row |= {f"val_{name}": value for name, value in self._validation(context).items()}
        return row

    def check(self, row: Mapping[str, Any]) -> None:
        if not math.isfinite(row["val_loss"]):
            raise DivergedError("the validation loss is not a number; lower learning_rate or set max_grad_norm")
        self.check_collapse(row)

    def score(self, row: Mapping[str, Any]) -> float:
        return -row["val_loss"] if self._recipe.optimisation.checkpoint_metric == "loss" else float(row["epoch"])

    def tensors(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self.model.state_dict().items()}

    def save(self, folder: Path) -> None:
        self.export(folder)

    def export(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write the encoder into `folder`, with the licence of the weights that the training started from."""
        save_encoder(self.encoder, folder, self._origin, dtype=dtype, weights=self._weights)

    def load(self, folder: Path) -> None:
        self.encoder.load_state_dict(load_checkpoint(folder).encoder.state_dict())

    def _of_epoch(self, context: StepContext) -> tuple[CropPositions, Disturbance]:
        if self._epoch is None or self._epoch[:2] != (context.seed, context.epoch):
            stretch = self._recipe.crops.time_stretch
            positions = random_positions(
                self._recordings, self._owner, self._samples, stretch, context.seed, context.epoch
            )
            rng = generator(context.seed, context.epoch, AUGMENTATION)
            disturb = Disturbance(self._recipe.crops, self.items, rng)
            self._epoch = (context.seed, context.epoch, positions, disturb)
        return self._epoch[2:]

    def _spread(self, crops: NDArray[np.float32], positions: CropPositions, rows: np.ndarray) -> NDArray[np.float32]:
        """Standard deviation in millivolts of each lead of the crops, for a preset that keeps them; otherwise 1."""
        if not self._shape.amplitude_matters:
            return np.ones((), np.float32)
        step = self._recordings.millivolts[positions.owner[rows]]
        return (crops.std(axis=-1, keepdims=True) * step[:, None, None]).astype(np.float32)

    @torch.no_grad()
    def _validation(self, context: StepContext) -> dict[str, float]:
        """Return the mean of each term over the validation crops, with the same crops and draws in every epoch."""
        device = next(self.model.parameters()).device
        items = np.arange(len(self._val_owner))
        sums: dict[str, float] = {}
        training = self.model.training
        self.model.eval()
        for number, rows in enumerate(np.array_split(items, -(-len(items) // VALIDATION_BATCH))):
            crops = cut(self._recordings, self._val_positions, rows, self._samples)
            scaled = normalised(crops, 1) * self._spread(crops, self._val_positions, rows)
            signal = self._shape.inputs(scaled if self._shape.amplitude_matters else crops, self.segments)
            draws = self.draw(len(signal), (context.seed, number, VALIDATION), training=False, device=device)
            targets = self.targets(normalised(crops, 1), self._val_positions, rows, device)
            batch = Batch(torch.from_numpy(signal).to(device), draws, targets, context.step)
            with autocast(device, self._recipe.trainer.precision):
                terms = self.loss(self.trained, batch)
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + float(term) / len(items)
        self.model.train(training)
        return sums
