"""Masked prediction of a teacher's tokens: the parts that do not depend on the architecture.

Baevski et al. 2022 (arXiv:2212.07525, data2vec 2.0). An architecture adds its own module
(`Encoder.pretraining_models`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

NORM_EPSILON = 1e-5  # of the targets


@dataclass(frozen=True)
class TeacherOutput:
    """Terms of one batch; a term that is not computed is 0.

    masked : (batch,) squared error per crop, mean over hidden positions, masks and channels.
    crop, token : (batch,) losses of the rhythm head, see `models.rhythm`.
    target_variance : variance over crops and positions of the teacher's tokens (mean over blocks) before they are
        normalised, mean over channels. Layer norm makes their mean square about 1; near 0 all tokens are equal.
    prediction_variance : the same of the predictions at positions hidden by the first mask; the variance of their
        targets is at most 1.
    """

    masked: Tensor
    crop: Tensor
    token: Tensor
    target_variance: Tensor
    prediction_variance: Tensor


class ConvDecoder(nn.Module):
    """Grouped convolutions over the tokens with residual connections, then a projection to `outputs` (like inputs)."""

    def __init__(
        self, inputs: int, layers: int, width: int, kernel: int, groups: int, outputs: int | None = None
    ) -> None:
        super().__init__()
        widths = [inputs] + [width] * layers
        self.convs = nn.ModuleList(
            nn.Conv1d(before, after, kernel, padding=kernel // 2, groups=groups) for before, after in pairwise(widths)
        )
        self.project = nn.Linear(width, outputs or inputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, inputs) -> (batch, tokens, outputs)."""
        for conv in self.convs:
            filled = conv(tokens.transpose(1, 2)).transpose(1, 2)
            filled = F.gelu(F.layer_norm(filled, filled.shape[-1:]))
            tokens = tokens + filled if filled.shape == tokens.shape else filled
        return self.project(tokens)


def variance(tokens: Tensor, chosen: Tensor) -> Tensor:
    """Variance over chosen positions, mean over channels: (batch, tokens, width), (batch, tokens) bool -> scalar."""
    weight = (chosen / chosen.sum())[..., None]
    mean = (tokens * weight).sum(dim=(0, 1))
    return ((tokens - mean).square() * weight).sum(dim=(0, 1)).mean()
