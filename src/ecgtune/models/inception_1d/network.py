"""InceptionTime (Ismail Fawaz et al. 2020, arXiv:1909.04939): convolutions of three lengths side by side.

The first convolution reads the leads with one kernel, in place of the first bottleneck, so that leads can be adapted,
and halves the rate, with kernels half as long as the published ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.config.base import require
from ecgtune.models.layered import ConvEncoder
from ecgtune.models.layers import drop_path


@dataclass(frozen=True)
class Inception1dConfig:
    """Sizes: `depth` blocks of three inception modules; each module has four branches of `filters` channels.

    kernels: taps of the three convolutions, odd; the fourth branch is a maximum over three samples.
    """

    samples_per_token: ClassVar[int] = 2
    leads: tuple[str, ...] = ("II",)
    sampling_rate: float = 100.0
    filters: int = 32
    depth: int = 2
    kernels: tuple[int, ...] = (19, 9, 5)
    stem_kernel: int = 7
    resampling: Literal["linear", "polyphase"] = "polyphase"

    def __post_init__(self) -> None:
        even = [taps for taps in (*self.kernels, self.stem_kernel) if taps % 2 == 0]
        require(not even, f"a kernel of {even[:1]} taps is even; an odd number is needed")

    @property
    def width(self) -> int:
        """Channels behind a module."""
        return self.filters * (len(self.kernels) + 1)


class InceptionModule(nn.Module):
    """relu(norm([conv(bottleneck(x)) of every kernel, conv(max(x))]))"""

    def __init__(self, inputs: int, config: Inception1dConfig) -> None:
        super().__init__()
        filters = config.filters
        self.bottleneck = nn.Conv1d(inputs, filters, 1, bias=False)
        self.convs = nn.ModuleList(
            nn.Conv1d(filters, filters, taps, padding=taps // 2, bias=False) for taps in config.kernels
        )
        self.of_maximum = nn.Conv1d(inputs, filters, 1, bias=False)
        self.norm = nn.BatchNorm1d(config.width)

    def forward(self, features: Tensor) -> Tensor:
        narrow = self.bottleneck(features)
        maximum = self.of_maximum(F.max_pool1d(features, 3, stride=1, padding=1))
        return self.norm(torch.cat([*(conv(narrow) for conv in self.convs), maximum], dim=1))


class InceptionBlock(nn.Module):
    """Three modules and a residual connection around them."""

    def __init__(self, inputs: int, config: Inception1dConfig) -> None:
        super().__init__()
        widths = (inputs, config.width, config.width)
        self.inception = nn.ModuleList(InceptionModule(width, config) for width in widths)
        self.shortcut = nn.Conv1d(inputs, config.width, 1, bias=False)
        self.shortcut_norm = nn.BatchNorm1d(config.width)
        self.drop_path = 0.0

    def forward(self, features: Tensor) -> Tensor:
        inner = features
        for number, module in enumerate(self.inception):
            inner = module(F.relu(inner) if number else inner)
        added = drop_path(inner, self.drop_path, self.training)
        return F.relu(added + self.shortcut_norm(self.shortcut(features)))


class Inception1d(ConvEncoder):
    """InceptionTime; its tokens are the positions of the last feature map."""

    config_type = Inception1dConfig
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "conv": (
            *("layers.*.inception.*.bottleneck", "layers.*.inception.*.convs.*", "layers.*.inception.*.of_maximum"),
            "layers.*.shortcut",
        ),
    }
    lead_weight = "stem.weight"

    def __init__(self, config: Inception1dConfig) -> None:
        super().__init__(config)
        self.config: Inception1dConfig = config
        taps, stride = config.stem_kernel, config.samples_per_token
        self.stem = nn.Conv1d(len(config.leads), config.filters, taps, stride, padding=taps // 2, bias=False)
        widths = (config.filters, *(config.width for _ in range(config.depth - 1)))
        self.layers = nn.ModuleList(InceptionBlock(width, config) for width in widths)

    @property
    def block_widths(self) -> tuple[int, ...]:
        return (self.config.filters, *(self.config.width for _ in self.layers))
