"""Computation of the original implementation, the reference of every ratio: float32, attention weights returned.

It shares no module with ecgtune, so that changes of ecgtune do not affect it. Tensors have the names of the encoder of
ecgtune, so that both can have the same weights.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from ecgtune.models.ecg_fm.network import EcgFmConfig


class Block(nn.Module):
    """Convolution of stride 2; the first one is normalised per channel."""

    def __init__(self, inputs: int, channels: int, first: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, channels, 2, stride=2, bias=False)
        self.norm = nn.GroupNorm(channels, channels) if first else None

    def forward(self, signal: Tensor) -> Tensor:
        features = self.conv(signal)
        return F.gelu(features if self.norm is None else self.norm(features))


class Position(nn.Module):
    """Grouped convolution over tokens, whose weight norm is computed in every call."""

    def __init__(self, width: int, taps: int, groups: int) -> None:
        super().__init__()
        self.conv = weight_norm(nn.Conv1d(width, width, taps, padding=taps // 2, groups=groups), dim=2)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.gelu(self.conv(tokens.transpose(1, 2))[..., : tokens.shape[1]]).transpose(1, 2)


class Attention(nn.Module):
    """Four projections with torch's multi-head attention, which also returns the attention weights."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, tokens: Tensor) -> Tensor:
        time_first = tokens.transpose(0, 1)
        attended, _ = F.multi_head_attention_forward(
            time_first,
            time_first,
            time_first,
            tokens.shape[-1],
            self.heads,
            None,
            torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias]),
            None,
            None,
            False,
            0.0,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            need_weights=True,
            use_separate_proj_weight=True,
            q_proj_weight=self.q_proj.weight,
            k_proj_weight=self.k_proj.weight,
            v_proj_weight=self.v_proj.weight,
        )
        return attended.transpose(0, 1)


class Layer(nn.Module):
    """Post-norm transformer layer."""

    def __init__(self, config: EcgFmConfig) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads)
        self.attention_norm, self.final_norm = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.feed_forward = nn.ModuleDict(
            {
                "fc1": nn.Linear(config.width, config.feed_forward),
                "fc2": nn.Linear(config.feed_forward, config.width),
            }
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.attention_norm(tokens + self.attention(tokens))
        hidden = F.gelu(self.feed_forward["fc1"](tokens))
        return self.final_norm(tokens + self.feed_forward["fc2"](hidden))


class Original(nn.Module):
    """Encoder, mean over tokens and a linear head: signal (batch, leads, samples) -> logits (batch, 2)."""

    def __init__(self, config: EcgFmConfig) -> None:
        super().__init__()
        inputs = [len(config.leads)] + [config.conv_channels] * (config.conv_layers - 1)
        self.stem = nn.Sequential(
            *(Block(count, config.conv_channels, not number) for number, count in enumerate(inputs))
        )
        self.stem_norm = nn.LayerNorm(config.conv_channels)
        self.projection = nn.Linear(config.conv_channels, config.width)
        self.positional = Position(config.width, config.pos_taps, config.pos_groups)
        self.input_norm = nn.LayerNorm(config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.head = nn.Linear(config.width, 2)

    def encode(self, signal: Tensor) -> Tensor:
        """Return pooled tokens (batch, width)."""
        tokens = self.projection(self.stem_norm(self.stem(signal).transpose(1, 2)))
        tokens = self.input_norm(tokens + self.positional(tokens))
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens.mean(1)

    def forward(self, signal: Tensor) -> Tensor:
        return self.head(self.encode(signal))


def make_original(config: EcgFmConfig, encoder: nn.Module, head: nn.Module) -> Original:
    """Return the original with the weights of ecgtune's encoder and head."""
    original = Original(config)
    weights = {name: tensor.detach().clone() for name, tensor in encoder.state_dict().items()}
    weights |= {f"head.{name}": tensor.detach().clone() for name, tensor in head.state_dict().items()}
    original.load_state_dict(weights, strict=True)
    return original
