"""ECGFounder: a one-dimensional RegNet with squeeze-excitation (Li et al. 2024, arXiv:2410.04133).

`tests/models/ecgfounder/test_reference.py` compares every stage with the authors' code. Details that are easy to miss:
the file holds batch norms, and no configuration of the authors runs them; the first block has no activation in front of
its first convolution; the pooled shortcut pads with a zero, not with minus infinity; new channels are added on both
sides of the old ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.config.base import require
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.data.signal.steps import Butterworth, Notch, Resample, RunningMedian, StandardiseWindow, Step, Stretch
from ecgtune.models.base import Encoder
from ecgtune.models.input_spec import InputSpec
from ecgtune.models.layers import drop_path

KERNEL = 16
STRIDE = 2  # of the stem and of the first block of every stage
#: Zeros left and right of a signal for a convolution of `KERNEL`, which then gives ceil(length / stride) samples.
PADDING = ((KERNEL - 1) // 2, KERNEL // 2)
#: As the authors fine-tune, and as they evaluate the published head, without filters. Their code cannot resample before
#: it fine-tunes; ours does so behind the filters, where theirs means to. Before it evaluates, it makes 5000 samples of
#: any recording, so that only ten seconds keep their time scale: the last preset.
PRESETS: Mapping[str, tuple[Step, ...]] = {
    "fine-tuning": (
        Notch(50.0),
        Butterworth(0.67, 40.0, 4),
        RunningMedian(0.4),
        Resample(500.0, "linear"),
        StandardiseWindow(),
    ),
    "evaluation": (StandardiseWindow(), Resample(500.0, "linear")),
    "as-published": (StandardiseWindow(), Stretch(5000, 500.0)),
}


@dataclass(frozen=True)
class ECGFounderConfig:
    """Sizes; the defaults are those of the published 12-lead model (30.6 million parameters).

    widths, blocks: channels and residual blocks of every stage. stem: channels before the first stage. group: channels
    of a group in the grouped convolutions.
    """

    leads: tuple[str, ...] = STANDARD_LEADS
    stem: int = 64
    widths: tuple[int, ...] = (64, 160, 160, 400, 400, 1024, 1024)
    blocks: tuple[int, ...] = (2, 2, 2, 3, 3, 4, 4)
    group: int = 16

    def __post_init__(self) -> None:
        require(
            len(self.widths) == len(self.blocks),
            f"{len(self.widths)} widths and {len(self.blocks)} blocks; give one of each for every stage",
        )
        wrong = [width for width in self.widths if width % self.group]
        require(not wrong, f"width {wrong[:1]} is no multiple of the {self.group} channels of a group")


class Excitation(nn.Module):
    """Factors per channel from the means of all channels (Hu et al. 2018, arXiv:1709.01507)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, width // 2)
        self.fc2 = nn.Linear(width // 2, width)

    def forward(self, features: Tensor) -> Tensor:
        factor = torch.sigmoid(self.fc2(F.silu(self.fc1(features.mean(dim=-1)))))
        return features * factor[..., None]


class Block(nn.Module):
    """Bottleneck of 1x1, grouped and 1x1 convolutions, excitation, and a shortcut; no activation behind the sum."""

    def __init__(self, inputs: int, width: int, stride: int, group: int, *, activate: bool) -> None:
        super().__init__()
        self.activate = activate
        self.stride = stride
        self.conv1 = nn.Conv1d(inputs, width, 1)
        self.conv2 = nn.Conv1d(width, width, KERNEL, stride=stride, groups=width // group)
        self.conv3 = nn.Conv1d(width, width, 1)
        self.excitation = Excitation(width)
        new = width - inputs
        self.new_channels = (new // 2, new - new // 2)
        self.drop_path = 0.0

    def forward(self, features: Tensor) -> Tensor:
        inner = self.conv1(F.silu(features) if self.activate else features)
        inner = self.conv2(F.pad(F.silu(inner), PADDING))
        inner = self.excitation(self.conv3(F.silu(inner)))
        if self.stride > 1:
            features = F.max_pool1d(F.pad(features, (0, self.stride - 1)), self.stride)
        return drop_path(inner, self.drop_path, self.training) + F.pad(features, (0, 0, *self.new_channels))


class ECGFounder(Encoder):
    """Convolutional encoder; tokens are the positions of its last feature map."""

    config_type = ECGFounderConfig
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "conv": ("layers.*.conv1", "layers.*.conv3"),
        "grouped_conv": ("layers.*.conv2",),
        "gate_input": ("layers.*.excitation.fc1",),
        "gate_output": ("layers.*.excitation.fc2",),
        "conv_branch": ("layers.*.conv3",),
    }
    lead_weight = "stem.weight"
    channel_axis = 1

    def __init__(self, config: ECGFounderConfig) -> None:
        super().__init__(config)
        self.config: ECGFounderConfig = config
        self.stem = nn.Conv1d(len(config.leads), config.stem, KERNEL, stride=STRIDE)
        layers: list[Block] = []
        inputs = config.stem
        for width, blocks in zip(config.widths, config.blocks, strict=True):
            for number in range(blocks):
                stride = 1 if number else STRIDE
                layers.append(Block(inputs, width, stride, config.group, activate=bool(layers)))
                inputs = width
        self.layers = nn.ModuleList(layers)

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(
            leads=self.config.leads,
            sampling_rate=500.0,
            resampling="linear",
            seconds=10.0,
            presets=PRESETS,
        )

    @property
    def head_width(self) -> int:
        return self.config.widths[-1]

    @property
    def block_widths(self) -> tuple[int, ...]:
        config = self.config
        stages = zip(config.widths, config.blocks, strict=True)
        return (config.stem, *(width for width, blocks in stages for _ in range(blocks)))

    def embed(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        self.input_spec.check(signal)
        mask = None
        if padding_mask is not None:
            mask = self.valid_tokens(padding_mask, STRIDE ** (1 + len(self.config.widths)), partial=True)
        return F.silu(self.stem(F.pad(signal, PADDING))), mask
