"""Masked prediction of a teacher's tokens: the parts that do not depend on the architecture.

The teacher is a moving average of the encoder and encodes the whole crop; the student predicts its tokens at hidden
positions. Baevski et al. 2022 (arXiv:2212.07525, data2vec 2.0): targets are the mean over the teacher's blocks (section
3.1), and several masks share one forward pass of the teacher (3.3). Random draws are arguments. Optionally, the student
also predicts rhythm and beat shape from its tokens of the whole crop (`models.rhythm`). An architecture may have its
own module (`Encoder.pretraining_models`).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.models.base import Encoder
from ecgtune.models.rhythm import RhythmHead

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


class TeacherModel(nn.Module):
    """Base class: a trainable student `encoder` and `decoder`, and the teacher, which is updated after each step.

    prediction_only : names of the modules and parameters that only the masked prediction uses.
    """

    prediction_only: ClassVar[tuple[str, ...]]
    encoder: Any  # Encoder
    rhythm: RhythmHead | None

    def set_teacher(self, encoder: Encoder) -> None:
        """Set the teacher to a copy of the encoder."""
        weights = {name: tensor.detach().clone() for name, tensor in encoder.state_dict().items()}
        self.teacher: Any = encoder.from_weights(encoder.config, weights).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of student and decoder; the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def freeze_prediction(self) -> None:
        """Freeze the parts of the masked prediction, for a training without masks."""
        for name in self.prediction_only:
            getattr(self, name).requires_grad_(False)

    def start(self, signal: Tensor) -> Tensor:
        """What `whole_tokens` and `predict` begin with."""
        return signal

    @abstractmethod
    def whole_tokens(self, start: Tensor) -> Tensor:
        """Tokens (batch, tokens, width) of the student for the whole crop."""

    @abstractmethod
    def predict(self, start: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions (batch * masks, tokens, width) and bool (batch * masks, tokens), True where hidden."""

    @abstractmethod
    def teacher_tokens(self, signal: Tensor) -> list[Tensor]:
        """Tokens (batch, tokens, width) of the blocks of the teacher whose mean is the target."""

    def token_variance(self, mean: Tensor) -> Tensor:
        """`target_variance` of `TeacherOutput` from tokens (batch * tokens, width), mean over blocks."""
        return mean.var(dim=0, correction=0).mean()

    def forward(self, signal: Tensor, visible: Tensor, rhythm: tuple[Tensor, Tensor] | None = None) -> TeacherOutput:
        """Compute the loss of one batch.

        signal: (batch, leads, samples), as the encoder takes it. visible: (batch, masks, kept) int64, ascending indices
        of the places that the student sees, for each of 0 or more masks. rhythm: targets of the rhythm head.
        """
        start = self.start(signal)
        zero = torch.zeros(len(signal), device=signal.device)
        crop, token = zero, zero
        if self.rhythm is not None and rhythm is not None:
            crop, token = self.rhythm(self.whole_tokens(start), *rhythm)
        batch, masks, _ = visible.shape
        if masks == 0:
            return TeacherOutput(zero, crop, token, zero.mean(), zero.mean())
        target, target_variance = self.targets(signal)
        prediction, hidden = self.predict(start, visible)
        hidden = hidden.view(batch, masks, -1)
        prediction = prediction.float().view(batch, masks, *target.shape[1:])
        error = (prediction - target[:, None]).square().mean(dim=-1)
        return TeacherOutput(
            masked=(error * hidden).sum(dim=(1, 2)) / hidden.sum(dim=(1, 2)),
            crop=crop,
            token=token,
            target_variance=target_variance,
            prediction_variance=variance(prediction.detach()[:, 0], hidden[:, 0]),
        )

    @torch.no_grad()
    def targets(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Return targets (batch, tokens, width) float32, and `target_variance` of `TeacherOutput`.

        Each block's output is normalised per crop and channel over time (instance norm), then blocks are averaged.
        """
        blocks = [tokens.float() for tokens in self.teacher_tokens(signal)]
        normed = [F.instance_norm(each.transpose(1, 2), eps=NORM_EPSILON).transpose(1, 2) for each in blocks]
        mean = torch.stack(blocks).mean(dim=0).flatten(0, 1)
        return torch.stack(normed).mean(dim=0), self.token_variance(mean)

    @torch.no_grad()
    def update_teacher(self, decay: float) -> None:
        """Set each weight of the teacher to decay * teacher + (1 - decay) * student."""
        for slow, fast in zip(self.teacher.parameters(), self.encoder.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)


def variance(tokens: Tensor, chosen: Tensor) -> Tensor:
    """Variance over chosen positions, mean over channels: (batch, tokens, width), (batch, tokens) bool -> scalar."""
    weight = (chosen / chosen.sum())[..., None]
    mean = (tokens * weight).sum(dim=(0, 1))
    return ((tokens - mean).square() * weight).sum(dim=(0, 1)).mean()
