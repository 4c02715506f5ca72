"""ECG-FM: a convolutional stem and a post-norm transformer over 12-lead ECG (McKeen et al. 2024, arXiv:2408.05178).

Written from measurements of the original; `tests/models/test_reference.py` holds every stage to it. The traps are in
the order of things: GroupNorm before GELU in the first block only, the encoder's norm on its *input*, one weight-norm
gain per tap of the positional convolution, and its last frame dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.errors import SettingError
from ecgtune.models.base import Encoder
from ecgtune.models.ecg_fm.spectrum import FrozenSpectrum
from ecgtune.models.kernels import attend

KERNEL = 2  # every block of the stem halves the sampling rate
NORM_EPSILON = 1e-5
#: Taps from which the spectrum of a frozen positional convolution is faster on a CPU (`benchmarks/positional.py`).
LONG_KERNEL = 32


@dataclass(frozen=True)
class EcgFmConfig:
    """Sizes of an ECG-FM encoder; the defaults are the published model's (90,373,248 parameters).

    `sampling_rate` in Hz. `resampling` names how signals of another rate reach it: "linear" as the original was
    trained, "polyphase" otherwise. `feature_grad_mult` scales the gradient that reaches the convolutional stem;
    0 computes the stem without a gradient. The dropouts act only in training mode.
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
        """How many samples of signal make one token."""
        return KERNEL**self.conv_layers


class ConvBlock(nn.Module):
    """Halve the time axis: convolution without bias, GroupNorm with one group per channel (first block only), GELU."""

    def __init__(self, inputs: int, channels: int, normalise: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, channels, KERNEL, stride=KERNEL, bias=False)
        self.norm = nn.GroupNorm(channels, channels, eps=NORM_EPSILON) if normalise else None

    def forward(self, signal: Tensor) -> Tensor:
        features = self.conv(signal)
        if self.norm is not None:
            features = self.norm(features)
        return F.gelu(features)


class PositionalConv(nn.Module):
    """Position from context: grouped convolution over tokens whose kernel has one trainable gain per tap."""

    def __init__(self, width: int, taps: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(width, width, taps, padding=taps // 2, groups=groups)
        self.conv = weight_norm(conv, dim=2)
        self._taps = taps
        self._spectrum: FrozenSpectrum | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, width) -> the same shape; an even kernel gives one frame too many, the last one."""
        channels = tokens.transpose(1, 2)
        trains = torch.is_grad_enabled() and _trains(self.conv)
        if trains or tokens.device.type != "cpu" or self._taps < LONG_KERNEL:
            position = self.conv(channels)[..., : tokens.shape[1]]
        else:
            position = self._frozen(tokens.shape[1])(channels).to(tokens.dtype)
        return F.gelu(position).transpose(1, 2)

    def _frozen(self, tokens: int) -> FrozenSpectrum:
        conv = cast(nn.Conv1d, self.conv)
        if self._spectrum is None or not self._spectrum.holds(conv, tokens):
            self._spectrum = FrozenSpectrum(conv, tokens)
        return self._spectrum


class Attention(nn.Module):
    """Multi-head self-attention whose four projections are plain called `nn.Linear`, so that LoRA can act on them."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def _split(self, tokens: Tensor) -> Tensor:
        batch, length, width = tokens.shape
        return tokens.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """tokens (batch, tokens, width); mask (batch, tokens), True = may be attended to, None = all."""
        query, key, value = (self._split(project(tokens)) for project in (self.q_proj, self.k_proj, self.v_proj))
        allowed = None if mask is None else mask[:, None, None, :]
        attended = attend(query, key, value, allowed, self.dropout if self.training else 0.0)
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def weights(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of every token to every token, averaged over heads: (batch, tokens, tokens), rows sum to 1."""
        query, key = self._split(self.q_proj(tokens)), self._split(self.k_proj(tokens))
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
        return scores.softmax(dim=-1).mean(dim=1)


class FeedForward(nn.Module):
    """Two linear layers with an erf-GELU between them."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(self.dropout(F.gelu(self.fc1(tokens))))


class EncoderLayer(nn.Module):
    """Post-norm transformer layer: x = norm(x + attention(x)), then x = norm(x + feed_forward(x))."""

    def __init__(self, config: EcgFmConfig) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads, config.attention_dropout)
        self.attention_norm = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.feed_forward = FeedForward(config.width, config.feed_forward, config.activation_dropout)
        self.final_norm = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(config.dropout)
        self.drop_path = 0.0

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        tokens = self.attention_norm(tokens + self._branch(self.attention(tokens, mask)))
        return self.final_norm(tokens + self._branch(self.feed_forward(tokens)))

    @property
    def settled(self) -> bool:
        """Whether this layer does the same in every epoch of a training: nothing trains and nothing is drawn."""
        drawn = (self.drop_path, self.dropout.p, self.attention.dropout, self.feed_forward.dropout.p)
        return not any(drawn) and not _trains(self)

    def _branch(self, added: Tensor) -> Tensor:
        """What a block adds; in training, with stochastic depth, nothing for some of the records."""
        added = self.dropout(added)
        if not self.training or self.drop_path == 0:
            return added
        # A product and no short cut: several processes wait for a gradient of every weight, zero or not.
        kept = torch.rand(len(added), 1, 1, device=added.device) >= self.drop_path
        return added * (kept / (1 - self.drop_path)).to(added.dtype)


class EcgFM(Encoder):
    """The encoder; one token per `config.samples_per_token` samples.

    The gradient of the keys' bias is zero: it adds one constant to all scores of a query, and softmax does not change
    by a constant.
    """

    architecture = "ecg-fm"
    first_kernel = "stem.0.conv.weight"
    attention_projections = ("q_proj", "k_proj", "v_proj", "out_proj")
    feed_forward_projections = ("fc1", "fc2")
    zero_gradient_parameters = ("k_proj.bias",)

    def __init__(self, config: EcgFmConfig) -> None:
        super().__init__(config)
        self.config: EcgFmConfig = config
        self.feature_grad_mult = config.feature_grad_mult
        self._checkpointing = False
        inputs = (len(config.leads),) + (config.conv_channels,) * (config.conv_layers - 1)
        self.stem = nn.Sequential(
            *(ConvBlock(count, config.conv_channels, normalise=index == 0) for index, count in enumerate(inputs))
        )
        self.stem_norm = nn.LayerNorm(config.conv_channels, eps=NORM_EPSILON)
        self.projection = nn.Linear(config.conv_channels, config.width)
        self.positional = PositionalConv(config.width, config.pos_taps, config.pos_groups)
        self.input_norm = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.depth))
        self._initialise()

    def forward(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode normalised windows; see `Encoder.forward`.

        Zero-padding moves the answer a little, mask or not, because the first norm runs over the whole record; equal
        lengths are better where they can be had.
        """
        tokens, mask = self._embed(signal, padding_mask)
        return self.contextualise(tokens, mask), _full_mask(tokens, mask)

    @property
    def transformer_layers(self) -> tuple[nn.Module, ...]:
        return tuple(self.layers)

    def layer_tokens(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[tuple[Tensor, ...], Tensor]:
        tokens, mask = self._embed(signal, padding_mask)
        return tuple(self._states(tokens, mask)), _full_mask(tokens, mask)

    @property
    def settled_layers(self) -> int | None:
        before = (self.stem, self.stem_norm, self.projection, self.positional, self.input_norm)
        if any(_trains(part) for part in before):
            return None
        if self.dropout.p > 0:
            return 0  # `tokens_before(0)` is before the dropout
        return sum(1 for _ in takewhile(lambda layer: cast(EncoderLayer, layer).settled, self.layers))

    def tokens_before(self, layer: int, signal: Tensor) -> Tensor:
        tokens = self._placed(*self._embed(signal, None))
        for below in self.layers[:layer]:
            tokens = self._through(below, tokens, None)
        return tokens

    def tokens_after(self, layer: int, tokens: Tensor) -> Tensor:
        if layer == 0:
            tokens = self.dropout(tokens)
        for above in self.layers[layer:]:
            tokens = self._through(above, tokens, None)
        return tokens

    def set_checkpointing(self, on: bool) -> None:
        self._checkpointing = on

    def set_drop_path(self, rate: float) -> None:
        for number, layer in enumerate(self.layers, 1):
            cast(EncoderLayer, layer).drop_path = rate * number / len(self.layers)

    def attention_maps(self, signal: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Head-averaged attention of each layer: (batch, depth, tokens, tokens); parameters as in `forward`."""
        tokens, mask = self._embed(signal, padding_mask)
        tokens = self._positioned(tokens, mask)
        maps = []
        for layer in self.layers:
            maps.append(cast(EncoderLayer, layer).attention.weights(tokens, mask))
            tokens = layer(tokens, mask)
        return torch.stack(maps, dim=1)

    def stem_features(self, signal: Tensor) -> Tensor:
        """Features of the convolutional stem (batch, tokens, conv_channels), before their norm."""
        self._check_signal(signal)
        with nullcontext() if self.feature_grad_mult > 0 else torch.no_grad():
            features: Tensor = self.stem(signal)
        if features.requires_grad and self.feature_grad_mult != 1:
            features.register_hook(lambda gradient: gradient * self.feature_grad_mult)
        return features.transpose(1, 2)

    def contextualise(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Projected tokens (batch, tokens, width) through position and the transformer layers."""
        for state in self._states(tokens, mask):
            tokens = state
        return tokens

    def token_mask(self, padding_mask: Tensor) -> Tensor:
        """Padding per sample (as in `forward`) to validity per token: (batch, tokens) bool, True where valid."""
        stride = self.config.samples_per_token
        valid = self._valid_samples(padding_mask) // stride
        return torch.arange(padding_mask.shape[-1] // stride, device=valid.device) < valid[:, None]

    def _embed(self, signal: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        tokens = self.projection(self.stem_norm(self.stem_features(signal)))
        return tokens, None if padding_mask is None else self.token_mask(padding_mask)

    def _states(self, tokens: Tensor, mask: Tensor | None) -> Iterator[Tensor]:
        tokens = self._positioned(tokens, mask)
        yield tokens
        for layer in self.layers:
            tokens = self._through(layer, tokens, mask)
            yield tokens

    def _through(self, layer: nn.Module, tokens: Tensor, mask: Tensor | None) -> Tensor:
        if self._checkpointing and self.training and torch.is_grad_enabled():
            # Dropout is drawn again from the same state of the generator.
            return cast(Tensor, checkpoint(layer, tokens, mask, use_reentrant=False))
        return layer(tokens, mask)

    def _positioned(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        return self.dropout(self._placed(tokens, mask))

    def _placed(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        tokens = tokens + self.positional(tokens)
        if mask is not None:
            tokens = tokens.masked_fill(~mask[..., None], 0.0)
        return self.input_norm(tokens)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)  # post-norm layers that start near the identity learn sooner
                nn.init.zeros_(module.bias)
            elif isinstance(module, ConvBlock):
                nn.init.kaiming_uniform_(module.conv.weight, nonlinearity="relu")


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _full_mask(tokens: Tensor, mask: Tensor | None) -> Tensor:
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if mask is None else mask
