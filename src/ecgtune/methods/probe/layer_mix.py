"""A frozen encoder whose blocks are read as one weighted mean, for probes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import torch
from torch import Tensor, nn

from ecgtune.methods.intermediates import IntermediateReader
from ecgtune.models.base import Encoder


class LayerMix(IntermediateReader):
    """Tokens of several depths, mixed by the softmax of `mix` (depths,), equal at the start.

    The depths are those at the end of the encoder whose tokens have the width of the last ones: all of a transformer.
    """

    def __init__(self, encoder: Encoder) -> None:
        widths = encoder.block_widths
        depths = len(list(takewhile(lambda width: width == widths[-1], reversed(widths))))
        super().__init__(encoder, depths)
        self.mix = nn.Parameter(torch.zeros(depths))

    def combine(self, states: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """(batch, ...) of each depth -> (batch, ...)."""
        weights = self.mix.softmax(dim=0).to(states[-1].dtype)
        return torch.einsum("l,bl...->b...", weights, torch.stack(tuple(states), dim=1))
