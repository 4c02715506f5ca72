"""The masked teacher: predict, where a crop is hidden, what a slow copy of the encoder makes of the whole crop.

Baevski et al. 2022 (arXiv:2212.07525, data2vec 2.0): targets are the mean over the teacher's blocks (section 3.1), the
student encodes only what is visible, several masks share one pass of the teacher (3.3), and a few convolutions fill in
the hidden places (3.2). Every random draw is an argument. Beside it, when asked, values of classical signal processing
are read from the student's tokens of the whole crop (`models.rhythm`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.models.rhythm import RhythmHead

NORM_EPSILON = 1e-5


def teacher_decay(start: float, end: float, step: int, total_steps: int) -> float:
    """Decay of the moving average after step `step` (0 ...): from `start` in a straight line to `end` at the last."""
    return start + (end - start) * step / max(1, total_steps - 1)


@dataclass(frozen=True)
class TeacherOutput:
    """masked: (batch,) squared error per crop, mean over hidden places, masks and channels. crop, token: (batch,)
    losses of the rhythm head, see `models.rhythm`. What is not asked for is 0.

    target_variance: variance over crops and places of the teacher's tokens (mean over blocks) before they are
    normalised, mean over channels; their layer norm makes their mean square about 1, so near 0 says that the teacher
    answers the same to everything. prediction_variance: the same of the predictions at the places that the first mask
    hides, next to targets whose variance is at most 1.
    """

    masked: Tensor
    crop: Tensor
    token: Tensor
    target_variance: Tensor
    prediction_variance: Tensor


class MaskedTeacher(nn.Module):
    """Student, decoder and teacher. Only the first two train; `update_teacher` moves the third after each step."""

    def __init__(
        self,
        encoder: EcgFM,
        *,
        layers: int = 3,
        width: int = 192,
        kernel: int = 7,
        groups: int = 16,
        rhythm: RhythmHead | None = None,
    ) -> None:
        super().__init__()
        weights = {name: tensor.detach().clone() for name, tensor in encoder.state_dict().items()}
        self.encoder = encoder
        self.teacher = EcgFM.from_weights(encoder.config, weights).requires_grad_(False).eval()
        self.hidden_token = nn.Parameter(torch.zeros(encoder.head_width))  # to the positional convolution
        self.gap_token = nn.Parameter(torch.zeros(encoder.head_width))  # to the decoder
        self.decoder = ConvDecoder(encoder.head_width, layers, width, kernel, groups)
        self.rhythm = rhythm

    def train(self, mode: bool = True) -> MaskedTeacher:
        """The teacher never has dropout."""
        super().train(mode)
        self.teacher.eval()
        return self

    def freeze_prediction(self) -> None:
        """Train nothing that only the masked prediction needs: for a training without masks."""
        self.decoder.requires_grad_(False)
        self.hidden_token.requires_grad_(False)
        self.gap_token.requires_grad_(False)

    def forward(self, signal: Tensor, visible: Tensor, rhythm: tuple[Tensor, Tensor] | None = None) -> TeacherOutput:
        """Loss of one batch.

        signal (batch, leads, samples), normalised; visible (batch, masks, kept) int64, rising along the last axis, the
        tokens that the student sees under each mask, `masks` 0 or more; rhythm: targets of the rhythm head.
        """
        tokens = _tokens(self.encoder, signal)
        zero = torch.zeros(len(signal), device=signal.device)
        crop, token = zero, zero
        if self.rhythm is not None and rhythm is not None:
            crop, token = self.rhythm(self.encoder.contextualise(tokens, None), *rhythm)
        batch, masks, _ = visible.shape
        if masks == 0:
            return TeacherOutput(zero, crop, token, zero.mean(), zero.mean())
        target, spread = self.targets(signal)
        prediction, seen = self.predict(tokens, visible)
        hidden = (~seen).view(batch, masks, -1)
        prediction = prediction.float().view(batch, masks, *target.shape[1:])
        error = (prediction - target[:, None]).square().mean(dim=-1)
        return TeacherOutput(
            masked=(error * hidden).sum(dim=(1, 2)) / hidden.sum(dim=(1, 2)),
            crop=crop,
            token=token,
            target_variance=spread,
            prediction_variance=_variance(prediction.detach()[:, 0], hidden[:, 0]),
        )

    @torch.no_grad()
    def targets(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """What is to be predicted: (batch, tokens, width) float32, and the variance that `TeacherOutput` speaks of.

        Each block's output is normalised per crop and channel over time (instance norm), then blocks are averaged.
        """
        tokens = self.teacher.place(_tokens(self.teacher, signal), None)
        raw, normed = [], []
        for layer in self.teacher.layers:
            tokens = layer(tokens, None)
            raw.append(tokens.float())
            normed.append(F.instance_norm(raw[-1].transpose(1, 2), eps=NORM_EPSILON).transpose(1, 2))
        spread = torch.stack(raw).mean(dim=0).flatten(0, 1).var(dim=0, correction=0).mean()
        return torch.stack(normed).mean(dim=0), spread

    def predict(self, tokens: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """(batch * masks, tokens, width) predictions at all places, and bool (batch * masks, tokens), True where seen.

        tokens (batch, tokens, width) of the student's stem; its kernels do not overlap, so a hidden token cannot leak
        through its neighbours.
        """
        tokens = tokens.repeat_interleave(visible.shape[1], dim=0)
        kept = visible.flatten(0, 1)[..., None].expand(-1, -1, tokens.shape[-1])
        seen = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        seen.scatter_(1, visible.flatten(0, 1), True)
        masked = torch.where(seen[..., None], tokens, self.hidden_token.to(tokens.dtype))
        placed = (masked + self.encoder.positional(masked)).gather(1, kept)
        encoded = self.encoder.dropout(self.encoder.input_norm(placed))
        for layer in self.encoder.layers:
            encoded = layer(encoded, None)
        gaps = self.gap_token.to(encoded.dtype).expand(tokens.shape)
        return self.decoder(gaps.scatter(1, kept, encoded)), seen

    @torch.no_grad()
    def update_teacher(self, decay: float) -> None:
        """teacher = decay * teacher + (1 - decay) * student, weight by weight."""
        for slow, fast in zip(self.teacher.parameters(), self.encoder.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)


class ConvDecoder(nn.Module):
    """Grouped convolutions over the tokens with residual connections, then a projection to the targets."""

    def __init__(self, inputs: int, layers: int, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        widths = [inputs] + [width] * layers
        self.convs = nn.ModuleList(
            nn.Conv1d(before, after, kernel, padding=kernel // 2, groups=groups) for before, after in pairwise(widths)
        )
        self.project = nn.Linear(width, inputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, inputs) -> the same shape."""
        for conv in self.convs:
            filled = conv(tokens.transpose(1, 2)).transpose(1, 2)
            filled = F.gelu(F.layer_norm(filled, filled.shape[-1:]))
            tokens = tokens + filled if filled.shape == tokens.shape else filled
        return self.project(tokens)


def _tokens(encoder: EcgFM, signal: Tensor) -> Tensor:
    """Projected tokens of the stem (batch, tokens, width), before their positions."""
    return encoder.projection(encoder.stem_norm(encoder.stem_features(signal)))


def _variance(tokens: Tensor, chosen: Tensor) -> Tensor:
    """Variance over the chosen places, mean over channels: (batch, tokens, width), (batch, tokens) bool -> scalar."""
    weight = (chosen / chosen.sum())[..., None]
    mean = (tokens * weight).sum(dim=(0, 1))
    return ((tokens - mean).square() * weight).sum(dim=(0, 1)).mean()
