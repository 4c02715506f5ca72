"""Masked prediction of a teacher's tokens for ECG-FM.

The teacher is a moving average of the encoder and encodes the whole crop; the student predicts its tokens at hidden
positions. Baevski et al. 2022 (arXiv:2212.07525, data2vec 2.0): targets are the mean over the teacher's blocks (section
3.1), the student encodes only the visible tokens, several masks share one forward pass of the teacher (3.3), and a
convolutional decoder predicts the hidden positions (3.2). Random draws are arguments. Optionally, the student also
predicts rhythm and beat shape from its tokens of the whole crop (`models.rhythm`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.models.masked_teacher import NORM_EPSILON, ConvDecoder, TeacherOutput, variance
from ecgtune.models.rhythm import RhythmHead


class MaskedTeacher(nn.Module):
    """Trainable student and decoder, and the teacher, which `update_teacher` updates after each step."""

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
        """Set the mode of student and decoder; the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def freeze_prediction(self) -> None:
        """Freeze the parts of the masked prediction, for a training without masks."""
        self.decoder.requires_grad_(False)
        self.hidden_token.requires_grad_(False)
        self.gap_token.requires_grad_(False)

    def forward(self, signal: Tensor, visible: Tensor, rhythm: tuple[Tensor, Tensor] | None = None) -> TeacherOutput:
        """Compute the loss of one batch.

        signal: (batch, leads, samples), normalised. visible: (batch, masks, kept) int64, ascending indices of the
        student's tokens for each of 0 or more masks. rhythm: targets of the rhythm head.
        """
        tokens = _tokens(self.encoder, signal)
        zero = torch.zeros(len(signal), device=signal.device)
        crop, token = zero, zero
        if self.rhythm is not None and rhythm is not None:
            crop, token = self.rhythm(self.encoder.contextualise(tokens, None), *rhythm)
        batch, masks, _ = visible.shape
        if masks == 0:
            return TeacherOutput(zero, crop, token, zero.mean(), zero.mean())
        target, target_variance = self.targets(signal)
        prediction, seen = self.predict(tokens, visible)
        hidden = (~seen).view(batch, masks, -1)
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
        tokens = self.teacher.place(_tokens(self.teacher, signal), None)
        raw, normed = [], []
        for layer in self.teacher.layers:
            tokens = layer(tokens, None)
            raw.append(tokens.float())
            normed.append(F.instance_norm(raw[-1].transpose(1, 2), eps=NORM_EPSILON).transpose(1, 2))
        variance_of_tokens = torch.stack(raw).mean(dim=0).flatten(0, 1).var(dim=0, correction=0).mean()
        return torch.stack(normed).mean(dim=0), variance_of_tokens

    def predict(self, tokens: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions (batch * masks, tokens, width) and bool (batch * masks, tokens), True where visible.

        tokens: (batch, tokens, width) of the student's stem, whose kernels do not overlap, so that visible tokens do
        not depend on hidden samples.
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
        """Set each weight of the teacher to decay * teacher + (1 - decay) * student."""
        for slow, fast in zip(self.teacher.parameters(), self.encoder.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)


def _tokens(encoder: EcgFM, signal: Tensor) -> Tensor:
    """Return projected tokens of the stem (batch, tokens, width), without positional information."""
    return encoder.projection(encoder.stem_norm(encoder.stem_features(signal)))
