"""Prediction of hidden samples as an objective of the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ecgtune.data.sampling import generator
from ecgtune.models.base import Encoder
from ecgtune.models.masked_signal import SignalReconstruction
from ecgtune.pretraining.crops import Selection
from ecgtune.pretraining.draws import visible_tokens
from ecgtune.pretraining.objective import Batch, PretrainingObjective
from ecgtune.recipes.pretraining import MaskedSignalTask


class MaskedSignalObjective(PretrainingObjective[MaskedSignalTask]):
    """Objective of `models.masked_signal.SignalReconstruction`."""

    def make_module(self, encoder: Encoder, selection: Selection) -> nn.Module:
        task, shape = self._task, self._shape
        return SignalReconstruction(
            encoder,
            shape.places,
            shape.example(len(encoder.input_spec.leads)).shape[-1],
            **task.decoder,
        )

    def draw(self, windows: int, key: tuple[int, ...], *, training: bool, device: torch.device) -> Tensor:
        task, places = self._task, self._shape.places
        visible = visible_tokens(generator(*key), windows, task.masks, places, task.visible, task.visible_span)
        return torch.from_numpy(visible).to(device)

    def loss(self, trained: nn.Module, batch: Batch) -> dict[str, Tensor]:
        error, of_zeros = trained(batch.signal, batch.draws)
        return {"loss": error.sum(), "zero_error": of_zeros.sum()}

    def check_collapse(self, row: Mapping[str, Any]) -> None:
        """Samples are fixed targets, so nothing can collapse."""

    def sentence(self, row: Mapping[str, Any]) -> str:
        return (
            f"loss {row['train_loss']:.4f}, validation loss {row['val_loss']:.4f} (zeros as prediction: "
            f"{row['val_zero_error']:.4f})"
        )
