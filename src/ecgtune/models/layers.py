"""Layers that several encoders and methods share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Scaled dot-product attention: (batch, heads, tokens, channels) each -> the same shape.

    mask: bool, True = may be attended to, broadcast over (batch, heads, tokens, tokens); None = all. dropout: of the
    attention weights.

    torch's fused kernel, except in bfloat16 on a CPU, where explicit products are faster for short windows
    (`benchmarks/micro.py`).
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        return explicit_attention(query, key, value, mask, dropout)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)


def explicit_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """The same as two matrix products with a softmax between them."""
    return F.dropout(attention_weights(query, key, mask), dropout) @ value


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """Weights (batch, heads, tokens, tokens) of `attend`; rows sum to 1."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1)


class Attention(nn.Module):
    """Multi-head self-attention with four separate linear projections, each called as a module."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """tokens (batch, tokens, width); mask (batch, tokens), True = may be attended to, None = all."""
        query, key, value = (self._split(project(tokens)) for project in (self.q_proj, self.k_proj, self.v_proj))
        allowed = None if mask is None else mask[:, None, None, :]
        attended = attend(query, key, value, allowed, self.dropout if self.training else 0.0)
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def weights(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Attention weights (batch, heads, tokens, tokens); arguments as of `forward`."""
        query, key = (self._split(project(tokens)) for project in (self.q_proj, self.k_proj))
        return attention_weights(query, key, None if mask is None else mask[:, None, None, :])

    def _split(self, tokens: Tensor) -> Tensor:
        batch, length, width = tokens.shape
        return tokens.view(batch, length, self.heads, width // self.heads).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with an erf-GELU between them."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(self.dropout(F.gelu(self.fc1(tokens))))


def drop_path(added: Tensor, rate: float, training: bool) -> Tensor:
    """Output of a residual branch with stochastic depth: zero for some of the records in training mode."""
    if not training or rate == 0:
        return added
    # A product and no short cut: several processes wait for a gradient of every weight, zero or not.
    kept = torch.rand(len(added), *[1] * (added.dim() - 1), device=added.device) >= rate
    return added * (kept / (1 - rate)).to(added.dtype)


class JointAttention(nn.Module):
    """Multi-head self-attention with one linear projection to queries, keys and values, called as a module.

    inner: channels of all heads together; the width by default. bias: of the joint projection.
    """

    def __init__(self, width: int, heads: int, *, inner: int | None = None, bias: bool = True) -> None:
        super().__init__()
        inner = width if inner is None else inner
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * inner, bias=bias)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """tokens (batch, tokens, width); mask: bool, True = may be attended to, None = all, (batch, tokens) or as of
        `attend`."""
        query, key, value = self._projected(tokens)
        attended = attend(query, key, value, self._allowed(mask), dropout=0.0)
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def weights(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention weights (batch, heads, tokens, tokens); arguments as of `forward`."""
        query, key, _ = self._projected(tokens)
        return attention_weights(query, key, self._allowed(mask))

    def _projected(self, tokens: Tensor) -> Tensor:
        return self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)

    @staticmethod
    def _allowed(mask: Tensor | None) -> Tensor | None:
        return mask[:, None, None, :] if mask is not None and mask.dim() == 2 else mask


class PreNormLayer(nn.Module):
    """Transformer layer: x = x + attention(norm(x)), then x = x + feed_forward(norm(x)), with an erf-GELU.

    inner, bias: as of `JointAttention`.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, *, inner: int | None = None, bias: bool = True, epsilon: float = 1e-5
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=epsilon)
        self.attention = JointAttention(width, heads, inner=inner, bias=bias)
        self.feed_forward_norm = nn.LayerNorm(width, eps=epsilon)
        self.feed_forward = FeedForward(width, hidden, dropout=0.0)
        self.drop_path = 0.0

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Arguments as of `JointAttention`."""
        tokens = tokens + self._kept(self.attention(self.attention_norm(tokens), mask))
        return tokens + self._kept(self.feed_forward(self.feed_forward_norm(tokens)))

    def _kept(self, added: Tensor) -> Tensor:
        return drop_path(added, self.drop_path, self.training)


#: Roles of the modules of `PreNormLayer`s that an encoder has as `layers`.
PRE_NORM_ROLES: Mapping[str, tuple[str, ...]] = {
    "qkv": ("layers.*.attention.qkv",),
    "attention_output": ("layers.*.attention.out_proj",),
    "mlp_input": ("layers.*.feed_forward.fc1",),
    "mlp_output": ("layers.*.feed_forward.fc2",),
    "attention_branch": ("layers.*.attention",),
    "mlp_branch": ("layers.*.feed_forward",),
}


@contextmanager
def running_statistics_kept(block: nn.Module) -> Iterator[None]:
    """For a second forward pass on the same batch: batch norms count it once."""
    counting = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    momenta = [module.momentum for module in counting]
    for module in counting:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum in zip(counting, momenta, strict=True):
            module.momentum = momentum
            if module.num_batches_tracked is not None:
                module.num_batches_tracked -= 1


def is_fixed(module: nn.Module) -> bool:
    """Whether a module computes the same in every epoch: nothing trains and nothing is drawn at random."""
    return not any(p.requires_grad for p in module.parameters()) and not any(map(draws, module.modules()))


def draws(module: nn.Module) -> bool:
    """Whether the module itself draws at random in training mode."""
    if isinstance(module, _DropoutNd):
        return module.p > 0
    rates = (getattr(module, "dropout", 0.0), getattr(module, "drop_path", 0.0))
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


class _ShapesOnly(TorchFunctionMode):
    """Skips random initialisation and weight norm; for them torch would import its compiler, which takes seconds."""

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if getattr(func, "__module__", "") == "torch.nn.init" or name in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        if name == "_weight_norm":
            return args[0]
        if name == "norm_except_dim":
            weight, _, dim = args
            return weight.new_empty(() if dim == -1 else [n if i == dim else 1 for i, n in enumerate(weight.shape)])
        return func(*args, **kwargs)


@contextmanager
def without_values() -> Iterator[None]:
    """Within it, modules are built on the meta device: names and shapes, no memory, and no random numbers."""
    with torch.device("meta"), _ShapesOnly():
        yield
