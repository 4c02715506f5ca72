"""What pretraining draws at random, as functions of a generator that the moment decides.

The span masks and negatives are wav2vec 2.0's (Baevski et al. 2020, arXiv:2006.11477, section 3.1 and 3.2), as ECG-FM
uses them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def generator(*key: int) -> np.random.Generator:
    """A generator that depends on the numbers of `key` (0 or more each) alone."""
    return np.random.Generator(np.random.PCG64(list(key)))


def span_masks(rng: np.random.Generator, batch: int, tokens: int, share: float, span: int) -> NDArray[np.bool_]:
    """(batch, tokens), True where masked: spans of `span` tokens that may overlap, as many hidden in every record.

    tokens * share / span spans, rounded up or down at random for the batch, at random places; a record in which fewer
    of them overlap gives some masked tokens back. With a share of 0.65 about 49 % stay masked.
    """
    spans = max(1, int(tokens * share / span + rng.random()))
    places = max(1, tokens - span + 1)
    spans = min(spans, places)
    start = rng.random((batch, places)).argpartition(spans - 1, axis=1)[:, :spans]
    index = np.minimum(start[..., None] + np.arange(span), tokens - 1).reshape(batch, -1)
    masked = np.zeros((batch, tokens), bool)
    np.put_along_axis(masked, index, True, axis=1)
    return _keep_count(rng, masked, int(masked.sum(axis=1).min()))


def visible_tokens(
    rng: np.random.Generator, batch: int, masks: int, tokens: int, share: float, span: int
) -> NDArray[np.int64]:
    """(batch, masks, kept) rising token numbers that the student sees: `share` of all, in spans of `span` tokens.

    Spans may overlap or run over the edge; single tokens are added or taken away until the count is exact.
    """
    kept = min(max(1, round(tokens * share)), tokens - 1)
    rows = batch * masks
    spans = max(1, round(kept / span))
    start = rng.integers(1 - span, tokens, (rows, spans))
    index = (start[..., None] + np.arange(span)).reshape(rows, -1)
    seen = np.zeros((rows, tokens), bool)
    row, place = np.nonzero((index >= 0) & (index < tokens))
    seen[row, index[row, place]] = True
    seen = _keep_count(rng, seen, kept)
    return np.nonzero(seen)[1].reshape(batch, masks, kept).astype(np.int64)


def negatives(rng: np.random.Generator, batch: int, masked: int, count: int) -> NDArray[np.int64]:
    """(batch, masked * count) distractors as `models.Draws` wants them: other masked tokens of the same record.

    Drawn with replacement; for each masked token in order its `count` distractors. `masked` is 2 or more.
    """
    other = rng.integers(0, masked - 1, (batch, masked, count))
    other += other >= np.arange(masked)[:, None]
    return (other + masked * np.arange(batch)[:, None, None]).reshape(batch, masked * count)


def kept_leads(rng: np.random.Generator, batch: int, leads: int, dropout: float) -> NDArray[np.bool_] | None:
    """(batch, leads), False where a lead is set to zero, each with probability `dropout`; None for one lead."""
    return None if leads == 1 else rng.random((batch, leads)) >= dropout


def gumbel_noise(seed: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Standard Gumbel noise, -log(-log u) of uniform u, drawn on the device; the numbers depend on its kind."""
    random = torch.Generator(device).manual_seed(seed)
    return -torch.empty(shape, device=device).exponential_(generator=random).log()


def _keep_count(rng: np.random.Generator, chosen: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """`chosen` with random places added or dropped until each row has `count`."""
    rank = chosen + rng.random(chosen.shape)  # what is chosen comes before what is not, at random among equals
    kept = np.zeros_like(chosen)
    np.put_along_axis(kept, np.argpartition(-rank, count - 1, axis=1)[:, :count], True, axis=1)
    return kept
