"""Pretraining on masked signals: hidden stretches of all leads have one trained value, for any encoder.

A window has `places` equal stretches, one for each token of a row (`Encoder.token_rows`). For patches of a transformer,
a hidden place is a patch without its signal, with its position. Weights behind the last block stay as they are, and so
do the running statistics of batch norms, which masked signals would shift.
"""

from __future__ import annotations

from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ecgtune.config.base import require
from ecgtune.models.base import Encoder
from ecgtune.models.masked_teacher import NORM_EPSILON, ConvDecoder, TeacherOutput, variance
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


class SignalTeacher(MaskedSignal):
    """Prediction of a teacher's tokens, a moving average of the encoder, which reads the whole signal.

    Targets are normalised per window and channel over time, then averaged over the blocks whose tokens have the shape
    of the last ones.
    """

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
        weights = {name: tensor.detach().clone() for name, tensor in encoder.state_dict().items()}
        self.teacher = encoder.from_weights(encoder.config, weights).requires_grad_(False).eval()
        self.rhythm = rhythm

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.teacher.eval()
        return self

    def freeze_prediction(self) -> None:
        """Freeze the parts of the masked prediction, for a training without masks."""
        self.decoder.requires_grad_(False)
        self.hidden_value.requires_grad_(False)

    def forward(self, signal: Tensor, visible: Tensor, rhythm: tuple[Tensor, Tensor] | None = None) -> TeacherOutput:
        """Compute the loss of one batch.

        signal: (batch, leads, samples), as the encoder takes it. visible: (batch, masks, kept) int64, ascending indices
        of places for each of 0 or more masks. rhythm: targets of the rhythm head.
        """
        zero = torch.zeros(len(signal), device=signal.device)
        crop, token = zero, zero
        if self.rhythm is not None and rhythm is not None:
            crop, token = self.rhythm(depth_tokens(self.encoder, signal)[-1], *rhythm)
        batch, masks, _ = visible.shape
        if masks == 0:
            return TeacherOutput(zero, crop, token, zero.mean(), zero.mean())
        target, target_variance = self.targets(signal)
        hidden = self.hidden_of(visible)
        prediction = self.decoder(depth_tokens(self.encoder, self.masked(signal, hidden))[-1]).float()
        chosen = self.of_tokens(hidden, prediction.shape[1]).view(batch, masks, -1)
        prediction = prediction.view(batch, masks, *target.shape[1:])
        error = (prediction - target[:, None]).square().mean(dim=-1)
        return TeacherOutput(
            masked=(error * chosen).sum(dim=(1, 2)) / chosen.sum(dim=(1, 2)),
            crop=crop,
            token=token,
            target_variance=target_variance,
            prediction_variance=variance(prediction.detach()[:, 0], chosen[:, 0]),
        )

    @torch.no_grad()
    def targets(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Return targets (batch, tokens, width) float32, and `target_variance` of `TeacherOutput`."""
        found = [tokens.float() for tokens in depth_tokens(self.teacher, signal)]
        alike = [tokens for tokens in found[1:] if tokens.shape == found[-1].shape] or found
        normed = [F.instance_norm(each.transpose(1, 2), eps=NORM_EPSILON).transpose(1, 2) for each in alike]
        mean = torch.stack(alike).mean(dim=0).flatten(0, 1)
        # Relative to the mean square, which not every architecture has near 1.
        spread = mean.var(dim=0, correction=0).mean() / mean.square().mean()
        return torch.stack(normed).mean(dim=0), spread

    @torch.no_grad()
    def update_teacher(self, decay: float) -> None:
        """Set each weight of the teacher to decay * teacher + (1 - decay) * student."""
        for slow, fast in zip(self.teacher.parameters(), self.encoder.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)


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
