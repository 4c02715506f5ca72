"""A frozen encoder whose layers are read as one weighted mean, for probes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ecgtune.methods.reading import reading
from ecgtune.models.base import Encoder

#: The part of parameter names by which the weights of a mix are known.
PREFIX = ".mix"


class LayerMix(nn.Module):
    """Called like the encoder: its layers' tokens, mixed by the softmax of `mix` (layers + 1,), equal at the start."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.mix = nn.Parameter(torch.zeros(len(encoder.transformer_layers) + 1))

    def forward(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        states, mask = self.states(signal, padding_mask)
        return self.mixed(states), mask

    def states(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(batch, layers + 1, tokens, width) and the mask (batch, tokens), without a graph but for a lead mixer's."""
        with reading(signal):
            states, mask = self.encoder.layer_tokens(signal, padding_mask)
            return torch.stack(states, dim=1), mask

    def mixed(self, states: Tensor) -> Tensor:
        """(batch, layers + 1, ...) -> (batch, ...)."""
        return torch.einsum("l,bl...->b...", self.mix.softmax(dim=0).to(states.dtype), states)
