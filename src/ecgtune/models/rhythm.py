"""Linear readings of rhythm and beat shape from an encoder's tokens: the auxiliary task of a pretraining."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.models.pooling import POOLINGS, pool


class RhythmHead(nn.Module):
    """Values of a crop from the statistics of its tokens, and of a place from its token; linear, so that a frozen
    encoder's head can read them too.

    groups: how many crop values each group holds; groups weigh the same, whatever their size.
    """

    def __init__(self, width: int, groups: Sequence[int], token_values: int) -> None:
        super().__init__()
        self.crop = nn.Linear(POOLINGS["statistics"] * width, sum(groups))
        self.token = nn.Linear(width, token_values)
        weight = torch.cat([torch.full((size,), 1 / (size * len(groups))) for size in groups])
        self.register_buffer("weight", weight, persistent=False)
        self.weight: Tensor

    def forward(self, tokens: Tensor, crop: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """Loss per crop (batch,) of the crop values and of the token values: smooth L1 over those that are known.

        tokens (batch, tokens, width); crop (batch, values) and token (batch, tokens, values), standardised, NaN where
        unknown.
        """
        weight = self.weight * ~crop.isnan()
        of_crop = _error(self.crop(pool(tokens, None, "statistics")), crop)
        of_token = _error(self.token(tokens), token)
        known = (~token.isnan()).sum(dim=(1, 2)).clamp(min=1)
        return (of_crop * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-6), of_token.sum(dim=(1, 2)) / known


def _error(read: Tensor, target: Tensor) -> Tensor:
    known = ~target.isnan()
    return F.smooth_l1_loss(read.float(), target.nan_to_num(), reduction="none") * known
