"""Encoders from outside the package: a convolutional network, and a transformer of patches with a class token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.methods import registry as methods
from ecgtune.models import architectures, names, registry
from ecgtune.models.base import Encoder, InputSpec
from ecgtune.models.classifier import Classifier, Head, LoadedFrom
from ecgtune.models.layers import Attention, FeedForward, drop_path
from ecgtune.models.weights import Weights


@dataclass(frozen=True)
class ConvConfig:
    """One block for each entry of `kernels`, `groups`, `dilations` and `strides`."""

    leads: tuple[str, ...] = ("II",)
    width: int = 16
    kernels: tuple[int, ...] = (1, 3, 3, 5)
    groups: tuple[int, ...] = (1, 4, 1, 1)
    dilations: tuple[int, ...] = (1, 1, 2, 1)
    strides: tuple[int, ...] = (1, 1, 1, 2)


class ConvBlock(nn.Module):
    """relu(x + norm(conv(x))), without the residual connection where the convolution has a stride."""

    def __init__(self, width: int, kernel: int, groups: int, dilation: int, stride: int) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv1d(width, width, kernel, stride, padding, dilation, groups)
        self.norm = nn.BatchNorm1d(width)
        self.residual = stride == 1
        self.drop_path = 0.0

    def forward(self, features: Tensor) -> Tensor:
        added = drop_path(self.norm(self.conv(features)), self.drop_path, self.training)
        return F.relu(features + added if self.residual else added)


class ConvNet(Encoder):
    """Convolutions of every kind: of one sample, grouped, dilated, with a stride."""

    config_type = ConvConfig
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {"conv": ("blocks_.*.conv",), "conv_branch": ("blocks_.*.conv",)}
    lead_weight = "stem.weight"
    channel_axis = 1
    zero_gradient_parameters = ("conv.bias",)  # a batch norm follows

    def __init__(self, config: ConvConfig) -> None:
        super().__init__(config)
        self.config: ConvConfig = config
        self.stem = nn.Conv1d(len(config.leads), config.width, 5, stride=2, padding=2)
        settings = zip(config.kernels, config.groups, config.dilations, config.strides, strict=True)
        self.blocks_ = nn.ModuleList(ConvBlock(config.width, *setting) for setting in settings)

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(leads=self.config.leads, sampling_rate=100.0, minimum_samples=8)

    @property
    def head_width(self) -> int:
        return self.config.width

    @property
    def blocks(self) -> Mapping[str, nn.Module]:
        return {f"blocks_.{index}": block for index, block in enumerate(self.blocks_)}

    def embed(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        self.input_spec.check(signal)
        mask = None
        if padding_mask is not None:
            step = 2 * int(torch.tensor(self.config.strides).prod())
            mask = self.valid_tokens(padding_mask, step, partial=True)
        return self.stem(signal), mask


@dataclass(frozen=True)
class PatchConfig:
    leads: tuple[str, ...] = ("I", "II", "V1")
    samples: int = 160
    patch: int = 20
    width: int = 16
    depth: int = 2


class PatchBlock(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = Attention(width, 2, dropout=0.0), FeedForward(width, 2 * width, dropout=0.0)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        tokens = tokens + self.attention(self.norm1(tokens), mask)
        return tokens + self.mlp(self.norm2(tokens))


class PatchNet(Encoder):
    """A ViT: patches of fixed length projected linearly, a class token that the head reads, a last norm."""

    config_type = PatchConfig
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "query": ("layers.*.attention.q_proj",),
        "key": ("layers.*.attention.k_proj",),
        "value": ("layers.*.attention.v_proj",),
        "attention_output": ("layers.*.attention.out_proj",),
        "mlp_input": ("layers.*.mlp.fc1",),
        "mlp_output": ("layers.*.mlp.fc2",),
        "attention_branch": ("layers.*.attention",),
        "mlp_branch": ("layers.*.mlp",),
    }
    lead_weight = "patches.weight"
    after_blocks = ("norm.",)
    zero_gradient_parameters = ("k_proj.bias",)
    pooling = "class_token"

    def __init__(self, config: PatchConfig) -> None:
        super().__init__(config)
        self.config: PatchConfig = config
        self.patches = nn.Linear(len(config.leads) * config.patch, config.width)
        self.class_token = nn.Parameter(torch.randn(config.width))
        self.position = nn.Parameter(torch.randn(config.samples // config.patch, config.width) / 10)
        self.layers = nn.ModuleList(PatchBlock(config.width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(leads=self.config.leads, sampling_rate=100.0, samples=self.config.samples)

    @property
    def head_width(self) -> int:
        return self.config.width

    def embed(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        self.input_spec.check(signal)
        patches = signal.unflatten(2, (-1, self.config.patch)).transpose(1, 2).flatten(2)  # ordered by lead
        tokens = self.patches(patches) + self.position
        tokens = torch.cat([self.class_token.expand(len(signal), 1, -1), tokens], dim=1)
        if padding_mask is None:
            return tokens, None
        return tokens, F.pad(self.valid_tokens(padding_mask, self.config.patch), (1, 0), value=True)

    def run_block(self, index: int, block: nn.Module, features: Tensor, mask: Tensor | None) -> Tensor:
        return block(features, mask)

    def finish(self, features: Tensor, mask: Tensor | None) -> Tensor:
        return self.norm(features)


def conv_classifier(seed: int = 0, config: ConvConfig = ConvConfig(), head: Head | None = None) -> Classifier:
    """A classifier on `ConvNet` whose weights depend on the seed alone."""
    return classifier(ConvNet, config, seed, head)


def classifier(architecture: type[Encoder], config, seed: int = 0, head: Head | None = None) -> Classifier:
    """A classifier whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = architecture(config)
    weights = Weights("random", "tests", seed=seed)
    return Classifier(encoder, head or Head(), ("0", "1"), weights, LoadedFrom("tests"), seed=seed)


@contextmanager
def registered(*encoders: tuple[str, type[Encoder]]) -> Iterator[None]:
    """Register encoders; afterwards forget them and all that is registered inside."""
    tables = (architectures.ARCHITECTURES.all(), names.MODELS, methods.METHODS.all())
    before = [dict(table) for table in tables]
    try:
        for name, encoder in encoders:
            registry.register_encoder(name, description="of the tests")(encoder)
        yield
    finally:
        for table, kept in zip(tables, before, strict=True):
            table.clear()
            table.update(kept)
        registry._info.cache_clear()
