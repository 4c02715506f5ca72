"""A small 1-D residual network, trained from scratch: the floor that a pretrained encoder has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.models.base import Encoder

KERNEL = 7
STEM_KERNEL = 15


@dataclass(frozen=True)
class ResNet1dConfig:
    """Sizes: one stage per entry of `channels`, two blocks each, every stage but the first halves the time axis."""

    leads: tuple[str, ...] = ("II",)
    sampling_rate: float = 100.0
    channels: tuple[int, ...] = (32, 64, 96, 128)
    resampling: Literal["linear", "polyphase"] = "polyphase"

    @property
    def width(self) -> int:
        """Features per token."""
        return self.channels[-1]

    @property
    def samples_per_token(self) -> int:
        """How many samples of signal make one token: 2 in the stem, 2 in every stage but the first."""
        return 2 ** len(self.channels)


class ResidualBlock(nn.Module):
    """x -> relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)), after He et al. 2016 (arXiv:1512.03385)."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, channels, KERNEL, stride=stride, padding=KERNEL // 2, bias=False)
        self.norm1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, KERNEL, padding=KERNEL // 2, bias=False)
        self.norm2 = nn.BatchNorm1d(channels)
        self.shortcut = (
            nn.Identity()
            if inputs == channels and stride == 1
            else nn.Sequential(nn.Conv1d(inputs, channels, 1, stride=stride, bias=False), nn.BatchNorm1d(channels))
        )

    def forward(self, features: Tensor) -> Tensor:
        inner = F.relu(self.norm1(self.conv1(features)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(features))


class ResNet1d(Encoder):
    """Residual network whose last feature map is the tokens; it has no linear layers that LoRA could adapt."""

    architecture = "resnet-1d"
    first_kernel = "stem.0.weight"

    def __init__(self, config: ResNet1dConfig) -> None:
        super().__init__(config)
        self.config: ResNet1dConfig = config
        first = config.channels[0]
        self.stem = nn.Sequential(
            nn.Conv1d(len(config.leads), first, STEM_KERNEL, stride=2, padding=STEM_KERNEL // 2, bias=False),
            nn.BatchNorm1d(first),
            nn.ReLU(),
        )
        blocks: list[nn.Module] = []
        inputs = first
        for stage, channels in enumerate(config.channels):
            blocks += [ResidualBlock(inputs, channels, 2 if stage else 1), ResidualBlock(channels, channels, 1)]
            inputs = channels
        self.blocks = nn.Sequential(*blocks)

    def forward(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode normalised windows; see `Encoder.forward`."""
        self._check_signal(signal)
        tokens = self.blocks(self.stem(signal)).transpose(1, 2)
        count = tokens.shape[1]
        if padding_mask is None:
            return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        valid = -(-self._valid_samples(padding_mask) // self.config.samples_per_token)  # rounded up, as padding does
        return tokens, torch.arange(count, device=tokens.device) < valid[:, None]
