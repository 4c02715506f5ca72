"""The encoder of openecg's codec: convolutional tokens, four convolutional layers, four transformer layers.

One lead at 500 Hz; 20 ms per token, at most 512 tokens. The published network continues with layers that label every
sample; they are not part of the encoder. `tests/models/openecg/test_reference.py` compares every stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.config.base import require
from ecgtune.data.signal.steps import Ranks, Resample, Step
from ecgtune.models.input_spec import InputSpec
from ecgtune.models.layered import LayeredEncoder
from ecgtune.models.layers import PRE_NORM_ROLES, PreNormLayer, drop_path

RATE = 500.0
#: As the authors label recordings, in windows of 10 s; they do not resample.
PRESETS: Mapping[str, tuple[Step, ...]] = {"labelling": (Resample(RATE), Ranks())}


@dataclass(frozen=True)
class OpenECGConfig:
    """Sizes; the defaults are those of the published codec.

    patch: samples per token. convolutional, attentive: number of layers of either kind. positions: largest number of
    tokens.
    """

    leads: tuple[str, ...] = ("II",)
    patch: int = 10
    width: int = 128
    heads: int = 4
    feed_forward: int = 256
    convolutional: int = 4
    attentive: int = 4
    kernel: int = 7
    positions: int = 512

    def __post_init__(self) -> None:
        require(self.width % (2 * self.heads) == 0, f"width {self.width} is no multiple of twice {self.heads} heads")
        require(self.patch % 2 == 0, f"patch {self.patch} is odd; an even number of samples is needed")


class ConvLayer(nn.Module):
    """Post-norm: x = norm(x + gelu(conv(x))), the convolution along the tokens."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.norm = nn.LayerNorm(width)
        self.drop_path = 0.0

    def forward(self, tokens: Tensor) -> Tensor:
        added = F.gelu(self.conv(tokens.transpose(1, 2))).transpose(1, 2)
        return self.norm(tokens + drop_path(added, self.drop_path, self.training))


class OpenECG(LayeredEncoder):
    """Encoder of the codec; its tokens are those behind the last transformer layer."""

    config_type = OpenECGConfig
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **PRE_NORM_ROLES,
        "conv": ("layers.*.conv",),
        "conv_branch": ("layers.*.conv",),
    }
    lead_weight = "stem.weight"
    own_objective = "masked"

    def __init__(self, config: OpenECGConfig) -> None:
        super().__init__(config)
        self.config: OpenECGConfig = config
        patch = config.patch
        self.stem = nn.Conv1d(len(config.leads), config.width, 2 * patch, stride=patch, padding=patch // 2)
        self.positions: Tensor
        self.register_buffer("positions", _sinusoids(config.positions, config.width))
        self.layers = nn.ModuleList(
            [
                *(ConvLayer(config.width, config.kernel) for _ in range(config.convolutional)),
                *(PreNormLayer(config.width, config.heads, config.feed_forward) for _ in range(config.attentive)),
            ]
        )

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(
            leads=self.config.leads,
            sampling_rate=RATE,
            minimum_samples=self.config.patch,
            maximum_samples=self.config.patch * self.config.positions,
            seconds=10.0,
            presets=PRESETS,
        )

    def embed(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        self.input_spec.check(signal)
        tokens = self.stem(signal).transpose(1, 2)
        mask = None if padding_mask is None else self.valid_tokens(padding_mask, self.config.patch)
        return tokens + self.positions[:, : tokens.shape[1]], mask

    def run_block(self, index: int, block: nn.Module, features: Tensor, mask: Tensor | None) -> Tensor:
        return block(features) if index < self.config.convolutional else block(features, mask)


def _sinusoids(positions: int, width: int) -> Tensor:
    """Sines and cosines, alternating (Vaswani et al. 2017, arXiv:1706.03762, section 3.5): (1, positions, width)."""
    rate = 10_000.0 ** (-torch.arange(0, width, 2) / width)
    angle = torch.arange(positions)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[None]
