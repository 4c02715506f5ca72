"""Encoders whose blocks are a list of layers of one width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from ecgtune.models.base import Encoder, EncoderConfig


class LayeredConfig(EncoderConfig, Protocol):
    """Settings of an encoder with a field `width`: channels of its tokens."""

    @property
    def width(self) -> int: ...


class LayeredEncoder(Encoder):
    """Encoder with blocks `layers`, a ModuleList, each called with features (batch, tokens, width) and their mask."""

    config: LayeredConfig
    layers: nn.ModuleList

    @property
    def head_width(self) -> int:
        return self.config.width

    @property
    def blocks(self) -> Mapping[str, nn.Module]:
        return {f"layers.{index}": layer for index, layer in enumerate(self.layers)}

    def run_block(self, index: int, block: nn.Module, features: Tensor, mask: Tensor | None) -> Tensor:
        return block(features, mask)
