"""Tokens of a window as one vector."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ecgtune.errors import SettingError

Pooling = Literal["mean", "class_token", "none", "statistics", "attention"]

#: Vectors of the tokens' width that each way of pooling gives.
POOLINGS: dict[str, int] = {"mean": 1, "class_token": 1, "none": 1, "statistics": 3, "attention": 1}


def pool(tokens: Tensor, mask: Tensor | None, how: Pooling = "mean", query: Tensor | None = None) -> Tensor:
    """(batch, tokens, width) -> (batch, POOLINGS[how] * width), over the tokens whose mask (batch, tokens) is True.

    mask None: all of them. "class_token" is the first token; "none" is the only token.
    "statistics" is mean, standard deviation and maximum per channel, one after the other: a
    mean alone hides what happens once or irregularly. "attention" is a mean weighted by the softmax over tokens of
    token . query / sqrt(width), `query` (width,) learned, as in attentive pooling of text (Yang et al. 2016, section
    2.2, without its hidden layer); a query of zeros gives the plain mean.
    """
    if mask is None:
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    if how in ("class_token", "none"):
        if how == "none" and tokens.shape[1] != 1:
            raise SettingError(f"pooling 'none' needs one token, but got {tokens.shape[1]}; choose mean or statistics")
        return tokens[:, 0]
    if how == "attention":
        if query is None:
            raise TypeError("attention pooling needs its query; call Classifier.pool")
        # A column: onnxruntime fuses the product with a vector and the scale into a wrong one.
        scores = (tokens.float() @ query.float()[:, None])[..., 0] * tokens.shape[-1] ** -0.5
        weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=1)
        return (weights[..., None] * tokens.masked_fill(~mask[..., None], 0.0)).sum(dim=1)
    kept = mask[..., None].to(tokens.dtype)
    count = kept.sum(dim=1)
    mean = (tokens * kept).sum(dim=1) / count
    if how == "mean":
        return mean
    tokens, count = tokens.float(), count.float()  # the variance of few bits would be noise
    centred = (tokens - mean.float()[:, None]) * kept
    deviation = (centred.square().sum(dim=1) / count + 1e-6).sqrt()
    largest = tokens.masked_fill(~mask[..., None], float("-inf")).amax(dim=1)
    return torch.cat([mean.float(), deviation, largest], dim=1)
