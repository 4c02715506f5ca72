"""The ECG encoders of MERL (Liu et al. 2024, arXiv:2403.06659): a residual network and a vision transformer.

`tests/models/merl/test_reference.py` compares every stage with the original. Details that are easy to miss: leads aVF
and aVL have changed places; no max-pooling behind the first convolution; the transformer's last norm acts on the mean
of the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ecgtune.data.signal.steps import Resample, ScaleWindow, Step
from ecgtune.models.input_spec import InputSpec
from ecgtune.models.layered import LayeredEncoder
from ecgtune.models.layers import PRE_NORM_ROLES, PreNormLayer
from ecgtune.models.resnet_1d.network import ResNet1d, ResNet1dConfig

LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
RATE = 500.0
#: As the authors prepare recordings of ten seconds.
PRESETS: Mapping[str, tuple[Step, ...]] = {"pretraining": (Resample(RATE), ScaleWindow())}


@dataclass(frozen=True)
class MerlResNetConfig(ResNet1dConfig):
    """Sizes; the defaults are those of the published ResNet18 (3.8 million parameters)."""

    leads: tuple[str, ...] = LEADS
    sampling_rate: float = RATE
    channels: tuple[int, ...] = (64, 128, 256, 512)
    kernel: int = 3
    stem_kernel: int = 7


class MerlResNet(ResNet1d):
    """Residual network; its tokens are the positions of the last feature map."""

    config_type = MerlResNetConfig

    @property
    def input_spec(self) -> InputSpec:
        return replace(super().input_spec, seconds=10.0, presets=PRESETS)


@dataclass(frozen=True)
class MerlViTConfig:
    """Sizes; the defaults are those of the published ViT-tiny (5.5 million parameters).

    patch: samples per token. tokens: number of them, the only one that is allowed.
    """

    leads: tuple[str, ...] = LEADS
    patch: int = 50
    tokens: int = 100
    width: int = 192
    depth: int = 12
    heads: int = 3
    feed_forward: int = 768


class MerlViT(LayeredEncoder):
    """Transformer over patches of all leads together."""

    config_type = MerlViTConfig
    roles = PRE_NORM_ROLES
    lead_weight = "stem.weight"
    own_objective = "masked"
    after_blocks = ("norm.",)

    def __init__(self, config: MerlViTConfig) -> None:
        super().__init__(config)
        self.config: MerlViTConfig = config
        self.stem = nn.Conv1d(len(config.leads), config.width, config.patch, stride=config.patch, bias=False)
        self.positions = nn.Parameter(0.02 * torch.randn(1, config.tokens, config.width))
        self.layers = nn.ModuleList(
            PreNormLayer(config.width, config.heads, config.feed_forward) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(
            leads=self.config.leads,
            sampling_rate=RATE,
            samples=self.config.patch * self.config.tokens,
            presets=PRESETS,
        )

    def embed(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        self.input_spec.check(signal)
        mask = None if padding_mask is None else self.valid_tokens(padding_mask, self.config.patch)
        return self.stem(signal).transpose(1, 2) + self.positions, mask

    def finish_pooled(self, pooled: Tensor) -> Tensor:
        return self.norm(pooled)
