"""Layers of post-norm transformers with a convolutional positional encoding, as in wav2vec 2.0 and HuBERT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from ecgtune.models.layers import Attention, FeedForward, drop_path
from ecgtune.models.spectrum import FrozenSpectrum

NORM_EPSILON = 1e-5
#: Smallest kernel for which `FrozenSpectrum` is faster than the convolution on a CPU (`benchmarks/micro.py`).
LONG_KERNEL = 32


class ConvBlock(nn.Module):
    """Convolution without bias and padding, GroupNorm with one group per channel (where `normalise`), GELU."""

    def __init__(self, inputs: int, channels: int, kernel: int, stride: int, *, normalise: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, channels, kernel, stride=stride, bias=False)
        self.norm = nn.GroupNorm(channels, channels, eps=NORM_EPSILON) if normalise else None

    def forward(self, signal: Tensor) -> Tensor:
        features = self.conv(signal)
        if self.norm is not None:
            features = self.norm(features)
        return F.gelu(features)


class PositionalConv(nn.Module):
    """Convolutional positional encoding: grouped convolution over tokens with one trainable gain per tap."""

    def __init__(self, width: int, taps: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(width, width, taps, padding=taps // 2, groups=groups)
        self.conv = weight_norm(conv, dim=2)
        self._taps = taps
        self._spectrum: FrozenSpectrum | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the encoding (batch, tokens, width); the additional last frame of an even kernel is removed."""
        channels = tokens.transpose(1, 2)
        plain = torch.compiler.is_exporting() or (torch.is_grad_enabled() and _trains(self.conv))
        if plain or tokens.device.type != "cpu" or self._taps < LONG_KERNEL:
            position = self.conv(channels)[..., : tokens.shape[1]]
        else:
            position = self._frozen(tokens.shape[1])(channels).to(tokens.dtype)
        return F.gelu(position).transpose(1, 2)

    def _frozen(self, tokens: int) -> FrozenSpectrum:
        conv = cast(nn.Conv1d, self.conv)
        if self._spectrum is None or not self._spectrum.is_current(conv, tokens):
            self._spectrum = FrozenSpectrum(conv, tokens)
        return self._spectrum


class PostNormLayer(nn.Module):
    """Transformer layer: x = norm(x + attention(x)), then x = norm(x + feed_forward(x))."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, attention_dropout)
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.feed_forward = FeedForward(width, hidden, activation_dropout)
        self.final_norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = 0.0

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        tokens = self.attention_norm(tokens + self._branch(self.attention(tokens, mask)))
        return self.final_norm(tokens + self._branch(self.feed_forward(tokens)))

    def _branch(self, added: Tensor) -> Tensor:
        return drop_path(self.dropout(added), self.drop_path, self.training)


#: Roles of the modules of `PostNormLayer`s that an encoder has as `layers`.
POST_NORM_ROLES: Mapping[str, tuple[str, ...]] = {
    "query": ("layers.*.attention.q_proj",),
    "key": ("layers.*.attention.k_proj",),
    "value": ("layers.*.attention.v_proj",),
    "attention_output": ("layers.*.attention.out_proj",),
    "mlp_input": ("layers.*.feed_forward.fc1",),
    "mlp_output": ("layers.*.feed_forward.fc2",),
    "attention_branch": ("layers.*.attention",),
    "mlp_branch": ("layers.*.feed_forward",),
}


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
