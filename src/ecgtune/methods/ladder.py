"""Ladder side-tuning (Sung et al. 2022, arXiv:2206.06522): a small network beside a frozen encoder, reading its layers.

The encoder runs without a graph: no gradient enters it and none of its activations are kept (but for a lead mixer in
front of it, which can learn in no other way).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ecgtune.methods.added_settings import SideTuning
from ecgtune.methods.reading import reading
from ecgtune.models.base import Encoder
from ecgtune.models.ecg_fm.network import Attention, FeedForward

#: The part of parameter names by which the weights of a ladder are known.
PREFIX = ".ladder."
#: Divides the gates' weights before the sigmoid, as in the paper, so that gates open and close within a training.
TEMPERATURE = 0.1


class Block(nn.Module):
    """Pre-norm residual block on `(batch, tokens, width)`: attention (transformer blocks only), then feed-forward."""

    def __init__(self, method: SideTuning) -> None:
        super().__init__()
        width = method.width
        attends = method.block == "transformer"
        self.attention_norm = nn.LayerNorm(width) if attends else None
        self.attention = Attention(width, method.heads, dropout=0.0) if attends else None
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, method.expansion * width, method.dropout)
        self.dropout = nn.Dropout(method.dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        if self.attention is not None and self.attention_norm is not None:
            tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens), mask))
        return tokens + self.dropout(self.feed_forward(self.feed_forward_norm(tokens)))


class Ladder(nn.Module):
    """Tokens of all layers in, what is added to the encoder's last tokens out; zero at the start."""

    def __init__(self, features: int, depth: int, method: SideTuning) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Linear(features, method.width) for _ in range(depth + 1))
        self.gates = nn.Parameter(torch.zeros(depth))
        self.blocks = nn.ModuleList(Block(method) for _ in range(depth))
        self.norm = nn.LayerNorm(method.width)
        self.up = nn.Linear(method.width, features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, states: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        """states: depth + 1 tensors (batch, tokens, features); mask (batch, tokens) or None -> the same shape as one.

        The paper's h <- block(g * lateral(state) + (1 - g) * h), g = sigmoid(gate / T), from the lowest layer up.
        """
        hidden = self.lateral[0](states[0])
        openings = torch.sigmoid(self.gates / TEMPERATURE)
        rungs = zip(self.lateral[1:], states[1:], self.blocks, openings, strict=True)
        for lateral, state, block, opening in rungs:
            hidden = block(opening * lateral(state) + (1 - opening) * hidden, mask)
        return self.up(self.norm(hidden))


class SideTuned(nn.Module):
    """A frozen encoder and its ladder: called like the encoder, tokens and mask of the same shapes."""

    def __init__(self, encoder: Encoder, method: SideTuning) -> None:
        super().__init__()
        self.encoder = encoder
        self.ladder = Ladder(encoder.width, len(encoder.transformer_layers), method)

    def forward(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with reading(signal):
            states, mask = self.encoder.layer_tokens(signal, padding_mask)
        return self.climbed(states, None if padding_mask is None else mask), mask

    def states(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(batch, layers + 1, tokens, width) and the mask (batch, tokens), without a graph."""
        with torch.no_grad():
            states, mask = self.encoder.layer_tokens(signal, padding_mask)
            return torch.stack(states, dim=1), mask

    def climbed(self, states: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        """From the tokens of all layers to those that the head reads, all (batch, tokens, width)."""
        return states[-1] + self.ladder(states, mask)

    def train(self, mode: bool = True) -> SideTuned:
        """As in torch, but the encoder stays in evaluation mode: dropout in what is only read would only add noise."""
        super().train(mode)
        self.encoder.eval()
        return self
