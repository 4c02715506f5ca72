"""Frozen encoders that a method reads at several depths."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.models.base import Encoder


class IntermediateReader(nn.Module):
    """Base of modules that are called like the encoder and compute their tokens from its tokens at several depths.

    No gradient enters the encoder and none of its activations are kept, unless the lead mixer in front of it trains.
    Depths with another number of tokens than the last are averaged to that number.
    """

    def __init__(self, encoder: Encoder, depths: int) -> None:
        super().__init__()
        self.encoder = encoder
        self._depths = depths

    @property
    def stackable(self) -> bool:
        """Whether the tokens of all depths that are read have one width."""
        return len(set(self.encoder.block_widths[-self._depths :])) == 1

    def combine(self, states: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Tokens at the depths that are read, (batch, tokens, width) each, to those of the head."""
        raise NotImplementedError

    def read(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[tuple[Tensor, ...], Tensor]:
        """Tokens at the depths that are read, and the mask (batch, tokens) of the last ones."""
        with _frozen_forward(signal):
            states, mask = self.encoder.forward_intermediates(signal, padding_mask=padding_mask)
            return tuple(_to_length(state, states[-1].shape[1]) for state in states[-self._depths :]), mask

    def forward(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Same as of the encoder."""
        states, mask = self.read(signal, padding_mask)
        return self.combine(states, None if padding_mask is None else mask), mask

    def train(self, mode: bool = True) -> Self:
        """As in torch, but the encoder stays in evaluation mode: dropout in it would only add noise."""
        super().train(mode)
        self.encoder.eval()
        return self


def _to_length(state: Tensor, tokens: int) -> Tensor:
    if state.shape[1] == tokens:
        return state
    return F.adaptive_avg_pool1d(state.transpose(1, 2), tokens).transpose(1, 2)


def _frozen_forward(signal: Tensor) -> AbstractContextManager[object]:
    """Context of a forward pass through a frozen encoder: without a graph, unless a lead mixer made `signal`."""
    return nullcontext() if signal.requires_grad else torch.no_grad()
