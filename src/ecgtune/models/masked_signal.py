"""Pretraining on masked signals: hidden stretches of all leads have one trained value, for any encoder.

A window has `places` equal stretches, one for each token of a row (`Encoder.token_rows`). For patches of a transformer,
a hidden place is a patch without its signal, with its position. Weights behind the last block stay as they are, and so
do the running statistics of batch norms, which masked signals would shift.
"""

from __future__ import annotations

from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ecgtune.config.base import require
from ecgtune.models.base import Encoder
from ecgtune.models.masked_teacher import ConvDecoder, TeacherModel
from ecgtune.models.rhythm import RhythmHead


def depth_tokens(encoder: Encoder, signal: Tensor) -> list[Tensor]:
    """Tokens (batch, tokens, width) of the embedding and of each block, without a class token and the last norm."""
    features, mask = encoder.embed(signal)
    found = [encoder.to_tokens(features)]
    for index, block in enumerate(encoder.blocks.values()):
        features = encoder.run_block(index, block, features, mask)
        found.append(encoder.to_tokens(features))
    return [tokens[:, 1:] for tokens in found] if encoder.pooling == "class_token" else found


def token_places(tokens: int, rows: int, places: int) -> Tensor:
    """Place of the window, 0 to `places` - 1, of each token of `rows` rows."""
    return torch.arange(tokens) * rows * places // tokens % places


class MaskedSignal(nn.Module):
    """The encoder, the value of hidden samples and a decoder of tokens with `outputs` values each."""

    def __init__(
        self, encoder: Encoder, places: int, *, layers: int, width: int, kernel: int, groups: int, outputs: int
    ) -> None:
        super().__init__()
        require(
            encoder.head_width % groups == 0,
            f"the encoder's width {encoder.head_width} is no multiple of decoder_groups ({groups}); give a divisor",
        )
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_(not name.startswith(encoder.after_blocks))
        self.encoder = encoder
        self.places = places
        self.hidden_value = nn.Parameter(torch.zeros(len(encoder.input_spec.leads), 1))
        self.decoder = ConvDecoder(encoder.head_width, layers, width, kernel, groups, outputs)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; batch norms with running statistics stay in evaluation mode."""
        super().train(mode)
        for module in self.encoder.modules():
            if isinstance(module, _BatchNorm) and module.track_running_stats:
                module.eval()
        return self

    def hidden_of(self, visible: Tensor) -> Tensor:
        """Indices of visible places (batch, masks, kept) -> (batch * masks, places) bool, True where hidden."""
        places = visible.flatten(0, 1)
        hidden = torch.ones(len(places), self.places, dtype=torch.bool, device=visible.device)
        return hidden.scatter(1, places, False)

    def masked(self, signal: Tensor, hidden: Tensor) -> Tensor:
        """The signals (batch, leads, samples), once for each mask, with hidden places: (batch * masks, ...)."""
        signal = signal.repeat_interleave(len(hidden) // len(signal), dim=0)
        samples = signal.shape[-1]
        place = torch.arange(samples, device=signal.device) * self.places // samples
        return torch.where(hidden[:, place][:, None], self.hidden_value.to(signal.dtype), signal)

    def of_tokens(self, hidden: Tensor, tokens: int) -> Tensor:
        """Hidden places (batch, places) -> (batch, tokens) bool."""
        return hidden[:, token_places(tokens, self.encoder.token_rows, self.places).to(hidden.device)]


class SignalTeacher(TeacherModel, MaskedSignal):
    """Prediction of a teacher's tokens. Targets are of the blocks whose tokens have the shape of the last ones."""

    prediction_only = ("decoder", "hidden_value")

    def __init__(
        self,
        encoder: Encoder,
        places: int,
        *,
        layers: int = 3,
        width: int = 192,
        kernel: int = 7,
        groups: int = 16,
        rhythm: RhythmHead | None = None,
    ) -> None:
        outputs = encoder.head_width
        super().__init__(encoder, places, layers=layers, width=width, kernel=kernel, groups=groups, outputs=outputs)
        self.set_teacher(encoder)
        self.rhythm = rhythm

    def whole_tokens(self, start: Tensor) -> Tensor:
        return depth_tokens(self.encoder, start)[-1]

    def teacher_tokens(self, signal: Tensor) -> list[Tensor]:
        found = depth_tokens(self.teacher, signal)
        return [tokens for tokens in found[1:] if tokens.shape == found[-1].shape] or found

    def token_variance(self, mean: Tensor) -> Tensor:
        # Relative to the mean square, which not every architecture has near 1.
        return super().token_variance(mean) / mean.square().mean()

    def predict(self, start: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.hidden_of(visible)
        prediction = self.decoder(depth_tokens(self.encoder, self.masked(start, hidden))[-1])
        return prediction, self.of_tokens(hidden, prediction.shape[1])


class SignalReconstruction(MaskedSignal):
    """Prediction of the hidden samples (He et al. 2022, arXiv:2111.06377; Xie et al. 2022, arXiv:2111.09886).

    The tokens of all rows at a place are averaged and predict its samples in all leads. samples: of a window, as the
    encoder takes it; those behind the last whole place do not count.
    """

    def __init__(
        self, encoder: Encoder, places: int, samples: int, *, layers: int, width: int, kernel: int, groups: int
    ) -> None:
        outputs = len(encoder.input_spec.leads) * (samples // places)
        super().__init__(encoder, places, layers=layers, width=width, kernel=kernel, groups=groups, outputs=outputs)

    def forward(self, signal: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Squared error per window (batch,), mean over hidden samples, masks and leads; the same of zeros.

        Arguments as of `SignalTeacher`.
        """
        batch, masks, _ = visible.shape
        hidden = self.hidden_of(visible)
        tokens = depth_tokens(self.encoder, self.masked(signal, hidden))[-1]
        tokens = tokens.unflatten(1, (self.encoder.token_rows, self.places)).mean(dim=1)
        found = self.decoder(tokens).float().view(batch, masks, self.places, signal.shape[1], -1)
        wanted = signal[..., : self.places * found.shape[-1]].unflatten(-1, (self.places, -1)).transpose(1, 2)
        chosen = hidden.view(batch, masks, self.places)
        count = chosen.sum(dim=(1, 2))

        def error(prediction: Tensor) -> Tensor:
            square = (prediction - wanted[:, None]).square().mean(dim=(-2, -1))
            return (square * chosen).sum(dim=(1, 2)) / count

        return error(found), cast(Tensor, error(torch.zeros_like(found)))
