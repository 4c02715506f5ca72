"""S4D: layers of diagonal state spaces (Gu et al. 2022, arXiv:2206.11893), in both directions.

A channel is filtered by a sum of damped oscillations, whose decays, frequencies and amplitudes are trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.config.base import require
from ecgtune.models.input_spec import InputSpec
from ecgtune.models.layered import LayeredEncoder
from ecgtune.models.layers import drop_path


@dataclass(frozen=True)
class S4DConfig:
    """Sizes. states: oscillations of a channel. step: smallest and largest first time step of a channel, in tokens.

    patch: samples per token.
    """

    leads: tuple[str, ...] = ("II",)
    sampling_rate: float = 100.0
    width: int = 128
    depth: int = 4
    states: int = 16
    patch: int = 2
    step: tuple[float, float] = (1e-3, 1e-1)
    resampling: Literal["linear", "polyphase"] = "polyphase"

    def __post_init__(self) -> None:
        require(self.patch >= 1, f"patch is {self.patch}; allowed: 1 or more")


class StateSpace(nn.Module):
    """A filter of each channel, as long as the sequence, in both directions; then a gated linear unit."""

    def __init__(self, width: int, states: int, step: tuple[float, float]) -> None:
        super().__init__()
        low, high = map(math.log, step)
        self.log_step = nn.Parameter(torch.rand(2, width) * (high - low) + low)
        self.log_decay = nn.Parameter(torch.full((2, width, states), math.log(0.5)))
        self.frequency = nn.Parameter((math.pi * torch.arange(states)).expand(2, width, states).clone())
        self.cosine = nn.Parameter(torch.randn(2, width, states))
        self.sine = nn.Parameter(torch.randn(2, width, states))
        self.skip = nn.Parameter(torch.randn(width))
        self.project = nn.Linear(width, 2 * width)

    def kernel(self, tokens: int) -> Tensor:
        """Filters (2, width, tokens) of the two directions, float32."""
        step = self.log_step.float().exp()[..., None]
        time = torch.arange(tokens, device=step.device)
        decay = torch.exp(-(self.log_decay.float().exp() * step)[..., None] * time)
        phase = (self.frequency.float() * step)[..., None] * time
        # The sine of a state without a frequency is 0.
        wave = self.cosine.float()[..., None] * phase.cos() - self.sine.float()[..., None] * phase.sin()
        return 2 * step * (decay * wave).sum(dim=2)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """tokens (batch, tokens, width); mask (batch, tokens), True = valid, None = all."""
        if mask is not None:
            tokens = tokens.masked_fill(~mask[..., None], 0.0)
        signal, length = tokens.transpose(1, 2), tokens.shape[1]
        filtered = self._filtered(signal.float(), length) + self.skip[:, None] * signal
        return F.glu(self.project(F.gelu(filtered.to(tokens.dtype).transpose(1, 2))), dim=-1)

    def _filtered(self, signal: Tensor, length: int) -> Tensor:
        forward, backward = self.kernel(length)
        if torch.compiler.is_exporting():  # one kernel of both directions, as a convolution
            both = torch.cat([backward.flip(-1)[:, :-1], forward[:, :1] + backward[:, :1], forward[:, 1:]], dim=1)
            return F.conv1d(F.pad(signal, (length - 1, length - 1)), both.flip(-1)[:, None], groups=len(both))
        points = 2 * length
        spectrum = torch.fft.rfft(forward, n=points) + torch.fft.rfft(backward, n=points).conj()
        return torch.fft.irfft(torch.fft.rfft(signal, n=points) * spectrum, n=points)[..., :length]


class S4DLayer(nn.Module):
    """x = x + mix(norm(x))"""

    def __init__(self, config: S4DConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.mix = StateSpace(config.width, config.states, config.step)
        self.drop_path = 0.0

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        return tokens + drop_path(self.mix(self.norm(tokens), mask), self.drop_path, self.training)


class S4D(LayeredEncoder):
    """Layers of state spaces over short patches of the signal."""

    config_type = S4DConfig
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "mlp_output": ("layers.*.mix.project",),
        "mlp_branch": ("layers.*.mix",),
    }
    lead_weight = "stem.weight"
    after_blocks = ("norm.",)

    def __init__(self, config: S4DConfig) -> None:
        super().__init__(config)
        self.config: S4DConfig = config
        self.stem = nn.Conv1d(len(config.leads), config.width, config.patch, stride=config.patch)
        self.layers = nn.ModuleList(S4DLayer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(
            leads=self.config.leads,
            sampling_rate=self.config.sampling_rate,
            minimum_samples=4 * self.config.patch,
            resampling=self.config.resampling,
        )

    def embed(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        self.input_spec.check(signal)
        mask = None if padding_mask is None else self.valid_tokens(padding_mask, self.config.patch)
        return self.stem(signal).transpose(1, 2), mask

    def finish(self, features: Tensor, mask: Tensor | None) -> Tensor:
        return self.norm(features)
