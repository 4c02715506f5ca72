"""Encoders whose blocks are a list of layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ecgtune.models.base import Encoder
from ecgtune.models.input_spec import InputSpec

FEWEST_SAMPLES = 8  # that a convolutional encoder reads


class LayeredEncoder(Encoder):
    """Encoder with blocks `layers`, each called with features (batch, tokens, width) and their mask."""

    config: Any  # sizes, among them `width`: channels of the tokens
    layers: nn.ModuleList | nn.Sequential
    _layer_drop = 0.0

    @property
    def head_width(self) -> int:
        return self.config.width

    def run_block(self, index: int, block: nn.Module, features: Tensor, mask: Tensor | None) -> Tensor:
        return block(features, mask)

    def _through(self, index: int, block: nn.Module, features: Tensor, mask: Tensor | None) -> Tensor:
        after = super()._through(index, block, features, mask)
        if not self.training or self._layer_drop == 0 or after.shape != features.shape:
            return after
        # No short cut: several processes wait for a gradient of every weight, zero or not.
        kept = torch.rand(len(after), 1, 1, device=after.device) >= self._layer_drop
        return torch.where(kept, after, features)

    def set_layer_drop(self, rate: float) -> None:
        """Skip whole layers at random in training mode, each for some of the records (LayerDrop).

        rate: probability for every layer, 0 (off) up to below 1; a layer that changes the shape is never skipped.
        Source: Fan et al. 2020, arXiv:1909.11556, where a layer is skipped for all records of a batch.
        """
        self._layer_drop = rate


class ConvEncoder(LayeredEncoder):
    """Convolutions: `stem`, then blocks `layers`, each called with features (batch, channels, samples).

    config: with `leads`, `sampling_rate`, `resampling`, `width` and `samples_per_token`.
    """

    channel_axis = 1
    stem: nn.Module

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(
            leads=self.config.leads,
            sampling_rate=self.config.sampling_rate,
            minimum_samples=max(FEWEST_SAMPLES, self.config.samples_per_token),
            resampling=self.config.resampling,
        )

    def embed(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        self.input_spec.check(signal)
        mask = None
        if padding_mask is not None:
            mask = self.valid_tokens(padding_mask, self.config.samples_per_token, partial=True)
        return self.stem(signal), mask

    def run_block(self, index: int, block: nn.Module, features: Tensor, mask: Tensor | None) -> Tensor:
        return block(features)
