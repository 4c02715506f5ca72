"""Masked prediction of a teacher's tokens for ECG-FM, see `models.masked_teacher`.

The student encodes only the visible tokens (Baevski et al. 2022, arXiv:2212.07525, section 3.3), and a convolutional
decoder predicts the hidden positions (3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.models.masked_teacher import ConvDecoder, TeacherModel
from ecgtune.models.rhythm import RhythmHead


class MaskedTeacher(TeacherModel):
    """Trainable student and decoder, and the teacher."""

    prediction_only = ("decoder", "hidden_token", "gap_token")

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
        self.encoder = encoder
        self.set_teacher(encoder)
        self.hidden_token = nn.Parameter(torch.zeros(encoder.head_width))  # to the positional convolution
        self.gap_token = nn.Parameter(torch.zeros(encoder.head_width))  # to the decoder
        self.decoder = ConvDecoder(encoder.head_width, layers, width, kernel, groups)
        self.rhythm = rhythm

    def start(self, signal: Tensor) -> Tensor:
        """Tokens of the student's stem, whose kernels do not overlap: visible ones do not depend on hidden samples."""
        return _tokens(self.encoder, signal)

    def whole_tokens(self, start: Tensor) -> Tensor:
        return self.encoder.contextualise(start, None)

    def teacher_tokens(self, signal: Tensor) -> list[Tensor]:
        tokens = self.teacher.place(_tokens(self.teacher, signal), None)
        found = []
        for layer in self.teacher.layers:
            tokens = layer(tokens, None)
            found.append(tokens)
        return found

    def predict(self, start: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        tokens = start.repeat_interleave(visible.shape[1], dim=0)
        kept = visible.flatten(0, 1)[..., None].expand(-1, -1, tokens.shape[-1])
        hidden = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        hidden.scatter_(1, visible.flatten(0, 1), False)
        masked = torch.where(hidden[..., None], self.hidden_token.to(tokens.dtype), tokens)
        placed = (masked + self.encoder.positional(masked)).gather(1, kept)
        encoded = self.encoder.dropout(self.encoder.input_norm(placed))
        for layer in self.encoder.layers:
            encoded = layer(encoded, None)
        gaps = self.gap_token.to(encoded.dtype).expand(tokens.shape)
        return self.decoder(gaps.scatter(1, kept, encoded)), hidden


def _tokens(encoder: EcgFM, signal: Tensor) -> Tensor:
    """Return projected tokens of the stem (batch, tokens, width), without positional information."""
    return encoder.projection(encoder.stem_norm(encoder.stem_features(signal)))
