"""A small 1-D residual network, trained from scratch: the baseline of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.models.layered import ConvEncoder
from ecgtune.models.layers import drop_path


@dataclass(frozen=True)
class ResNet1dConfig:
    """Sizes: one stage per entry of `channels`, two blocks each, every stage but the first halves the time axis.

    kernel, stem_kernel: taps of the convolutions of a block and of the first one, odd.
    """

    leads: tuple[str, ...] = ("II",)
    sampling_rate: float = 100.0
    channels: tuple[int, ...] = (32, 64, 96, 128)
    resampling: Literal["linear", "polyphase"] = "polyphase"
    kernel: int = 7
    stem_kernel: int = 15

    @property
    def width(self) -> int:
        """Channels of the tokens."""
        return self.channels[-1]

    @property
    def samples_per_token(self) -> int:
        """How many samples of signal make one token: 2 in the stem, 2 in every stage but the first."""
        return 2 ** len(self.channels)


class ResidualBlock(nn.Module):
    """x -> relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)), after He et al. 2016 (arXiv:1512.03385)."""

    def __init__(self, inputs: int, channels: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, channels, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norm1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, bias=False)
        self.norm2 = nn.BatchNorm1d(channels)
        self.shortcut = (
            nn.Identity()
            if inputs == channels and stride == 1
            else nn.Sequential(nn.Conv1d(inputs, channels, 1, stride=stride, bias=False), nn.BatchNorm1d(channels))
        )
        self.drop_path = 0.0

    def forward(self, features: Tensor) -> Tensor:
        inner = F.relu(self.norm1(self.conv1(features)))
        added = drop_path(self.norm2(self.conv2(inner)), self.drop_path, self.training)
        return F.relu(added + self.shortcut(features))


class ResNet1d(ConvEncoder):
    """Residual network whose last feature map is the tokens."""

    config_type = ResNet1dConfig
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "conv": ("layers.*.conv1", "layers.*.conv2", "layers.*.shortcut.0"),
        "conv_branch": ("layers.*.conv2",),
    }
    lead_weight = "stem.0.weight"

    def __init__(self, config: ResNet1dConfig) -> None:
        super().__init__(config)
        self.config: ResNet1dConfig = config
        first = config.channels[0]
        self.stem = nn.Sequential(
            nn.Conv1d(
                len(config.leads), first, config.stem_kernel, stride=2, padding=config.stem_kernel // 2, bias=False
            ),
            nn.BatchNorm1d(first),
            nn.ReLU(),
        )
        layers: list[nn.Module] = []
        inputs = first
        for stage, channels in enumerate(config.channels):
            layers.append(ResidualBlock(inputs, channels, 2 if stage else 1, config.kernel))
            layers.append(ResidualBlock(channels, channels, 1, config.kernel))
            inputs = channels
        self.layers = nn.Sequential(*layers)

    @property
    def block_widths(self) -> tuple[int, ...]:
        channels = self.config.channels
        return (channels[0], *(width for width in channels for _ in range(2)))
