"""Ladder side-tuning (Sung et al. 2022, arXiv:2206.06522): a small network beside a frozen encoder, reading its layers.

The encoder runs without a graph: no gradient enters it and none of its activations are kept (but for a lead mixer in
front of it, which can learn in no other way).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ecgtune.methods.intermediates import IntermediateReader
from ecgtune.models.base import Encoder
from ecgtune.models.layers import Attention, FeedForward

#: Divides the gates' weights before the sigmoid, as in the paper, so that gates open and close within a training.
TEMPERATURE = 0.1


class Block(nn.Module):
    """Pre-norm residual block on `(batch, tokens, width)`: attention (transformer blocks only), then feed-forward."""

    def __init__(self, width: int, block: str, expansion: int, heads: int, dropout: float) -> None:
        super().__init__()
        attends = block == "transformer"
        self.attention_norm = nn.LayerNorm(width) if attends else None
        self.attention = Attention(width, heads, dropout=0.0) if attends else None
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, expansion * width, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        if self.attention is not None and self.attention_norm is not None:
            tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens), mask))
        return tokens + self.dropout(self.feed_forward(self.feed_forward_norm(tokens)))


class Ladder(nn.Module):
    """Tokens of all depths in, an addition to the encoder's last tokens out; zero at the start.

    widths: of the tokens before the first and after each block of the encoder. width and settings: of the ladder, see
    `SideTuning`.
    """

    def __init__(self, widths: Sequence[int], width: int, **settings: Any) -> None:
        super().__init__()
        depth = len(widths) - 1
        self.lateral = nn.ModuleList(nn.Linear(inputs, width) for inputs in widths)
        self.gates = nn.Parameter(torch.zeros(depth))
        self.blocks = nn.ModuleList(Block(width, **settings) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, widths[-1])
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, states: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        """states: depth + 1 tensors (batch, tokens, width); mask (batch, tokens) or None -> the shape of the last.

        The paper's h <- block(g * lateral(state) + (1 - g) * h), g = sigmoid(gate / T), from the lowest layer up.
        """
        hidden = self.lateral[0](states[0])
        openings = torch.sigmoid(self.gates / TEMPERATURE)
        rungs = zip(self.lateral[1:], states[1:], self.blocks, openings, strict=True)
        for lateral, state, block, opening in rungs:
            hidden = block(opening * lateral(state) + (1 - opening) * hidden, mask)
        return self.up(self.norm(hidden))


class SideTuned(IntermediateReader):
    """A frozen encoder and its ladder: called like the encoder, tokens and mask of the same shapes."""

    def __init__(self, encoder: Encoder, width: int, **settings: Any) -> None:
        super().__init__(encoder, len(encoder.block_widths))
        self.ladder = Ladder(encoder.block_widths, width, **settings)

    def combine(self, states: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Tokens at all depths to those that the head reads."""
        return states[-1] + self.ladder(states, mask)
