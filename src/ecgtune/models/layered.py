"""Encoders whose blocks are a list of layers of one width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ecgtune.models.base import Encoder


class LayeredEncoder(Encoder):
    """Encoder with blocks `layers`, a ModuleList, each called with features (batch, tokens, width) and their mask."""

    config: Any  # sizes, among them `width`: channels of the tokens
    layers: nn.ModuleList

    @property
    def head_width(self) -> int:
        return self.config.width

    @property
    def blocks(self) -> Mapping[str, nn.Module]:
        return {f"layers.{index}": layer for index, layer in enumerate(self.layers)}

    def run_block(self, index: int, block: nn.Module, features: Tensor, mask: Tensor | None) -> Tensor:
        return block(features, mask)
