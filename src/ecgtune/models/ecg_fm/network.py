"""ECG-FM: a convolutional stem and a post-norm transformer for 12-lead ECGs (McKeen et al. 2024, arXiv:2408.05178).

`tests/models/ecg_fm/test_reference.py` compares every stage with the original. Details that are easy to miss: GroupNorm
before GELU in the first block only, the encoder's norm on its *input*, one weight-norm gain per tap of the positional
convolution, and removal of its last frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.errors import SettingError
from ecgtune.models.input_spec import InputSpec
from ecgtune.models.layered import LayeredEncoder
from ecgtune.models.layers import is_fixed
from ecgtune.models.post_norm import NORM_EPSILON, POST_NORM_ROLES, ConvBlock, PositionalConv, PostNormLayer

KERNEL = 2  # every block of the stem halves the sampling rate


@dataclass(frozen=True)
class EcgFmConfig:
    """Configuration of an ECG-FM encoder; the defaults are the published model's (90,373,248 parameters).

    `sampling_rate` is in Hz. `resampling` is the method for signals of other rates: "linear" as in the training of the
    original, or "polyphase". `feature_grad_mult` scales the gradient of the convolutional stem; 0 computes it without a
    gradient.
    """

    leads: tuple[str, ...] = STANDARD_LEADS
    sampling_rate: float = 500.0
    width: int = 768
    depth: int = 12
    heads: int = 12
    feed_forward: int = 3072
    conv_channels: int = 256
    conv_layers: int = 4
    pos_taps: int = 128
    pos_groups: int = 16
    resampling: Literal["linear", "polyphase"] = "linear"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    feature_grad_mult: float = 1.0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise SettingError(
                f"width {self.width} is not a multiple of {self.heads} heads; choose heads that divide it"
            )
        if self.width % self.pos_groups:
            raise SettingError(f"width {self.width} is not a multiple of pos_groups {self.pos_groups}")
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise SettingError(f"{name} must be at least 0 and below 1, but got {getattr(self, name)}")
        if self.feature_grad_mult < 0:
            raise SettingError(f"feature_grad_mult must be 0 or more, but got {self.feature_grad_mult}")

    @property
    def samples_per_token(self) -> int:
        """Samples of the signal per token."""
        return KERNEL**self.conv_layers


class EcgFM(LayeredEncoder):
    """ECG-FM encoder with one token per `config.samples_per_token` samples.

    Zero-padding slightly changes all tokens, even with a mask, because the first norm covers the whole record; prefer
    records of equal length. The gradient of the bias of the keys is zero, because it adds the same constant to all
    scores of a query and softmax is invariant to it.
    """

    config_type = EcgFmConfig
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {**POST_NORM_ROLES, "conv": ("stem.*.conv",)}
    lead_weight = "stem.0.conv.weight"
    zero_gradient_parameters = ("k_proj.bias",)
    own_objective = "contrastive"

    def __init__(self, config: EcgFmConfig) -> None:
        super().__init__(config)
        self.config: EcgFmConfig = config
        self.feature_grad_mult = config.feature_grad_mult
        inputs = (len(config.leads),) + (config.conv_channels,) * (config.conv_layers - 1)
        self.stem = nn.Sequential(
            *(
                ConvBlock(count, config.conv_channels, KERNEL, KERNEL, normalise=index == 0)
                for index, count in enumerate(inputs)
            )
        )
        self.stem_norm = nn.LayerNorm(config.conv_channels, eps=NORM_EPSILON)
        self.projection = nn.Linear(config.conv_channels, config.width)
        self.positional = PositionalConv(config.width, config.pos_taps, config.pos_groups)
        self.input_norm = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            PostNormLayer(
                config.width,
                config.heads,
                config.feed_forward,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                activation_dropout=config.activation_dropout,
            )
            for _ in range(config.depth)
        )
        self._initialise()

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(
            leads=self.config.leads,
            sampling_rate=self.config.sampling_rate,
            minimum_samples=self.config.samples_per_token,
            resampling=self.config.resampling,
            seconds=5.0,
        )

    def embed(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        tokens = self.projection(self.stem_norm(self.stem_features(signal)))
        mask = None
        if padding_mask is not None:
            mask = self.valid_tokens(padding_mask, self.config.samples_per_token)
        return self.place(tokens, mask), mask

    def run_block(self, index: int, block: nn.Module, features: Tensor, mask: Tensor | None) -> Tensor:
        return block(self.dropout(features) if index == 0 else features, mask)

    def frozen_depth(self) -> int | None:
        if self.dropout.p == 0:
            return super().frozen_depth()
        embedding = (self.stem, self.stem_norm, self.projection, self.positional, self.input_norm)
        return 0 if all(map(is_fixed, embedding)) else None  # the first block begins with dropout

    def stem_features(self, signal: Tensor) -> Tensor:
        """Return the features of the convolutional stem (batch, tokens, conv_channels), before their norm."""
        self.input_spec.check(signal)
        with nullcontext() if self.feature_grad_mult > 0 else torch.no_grad():
            features: Tensor = self.stem(signal)
        if features.requires_grad and self.feature_grad_mult != 1:
            features.register_hook(lambda gradient: gradient * self.feature_grad_mult)
        return features.transpose(1, 2)

    def contextualise(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Apply positional encoding and the transformer layers to projected tokens (batch, tokens, width)."""
        return self.forward_from(0, self.place(tokens, mask), mask)

    def place(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Add the positional encoding to projected tokens (batch, tokens, width) and normalise: input of layer 1."""
        tokens = tokens + self.positional(tokens)
        if mask is not None:
            tokens = tokens.masked_fill(~mask[..., None], 0.0)
        return self.input_norm(tokens)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)  # post-norm layers near the identity train faster
                nn.init.zeros_(module.bias)
            elif isinstance(module, ConvBlock):
                nn.init.kaiming_uniform_(module.conv.weight, nonlinearity="relu")
