"""Attention by the way that is fastest where it runs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Scaled dot-product attention: (batch, heads, tokens, channels) each -> the same shape.

    mask: bool, True = may be attended to, broadcast over (batch, heads, tokens, tokens); None = all. dropout: of the
    attention weights.

    torch's fused kernel, except in bfloat16 on a CPU, where explicit products are faster for short
    windows (`benchmarks/attention.py` measures how much).
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        return explicit_attention(query, key, value, mask, dropout)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)


def explicit_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """The same as two matrix products with a softmax between them."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return F.dropout(scores.softmax(dim=-1), dropout) @ value
