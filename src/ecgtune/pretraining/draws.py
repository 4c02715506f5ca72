"""Random draws of pretraining: masks, negatives, kept leads and Gumbel noise.

Span masks and negatives follow wav2vec 2.0 (Baevski et al. 2020, arXiv:2006.11477, sections 3.1 and 3.2), as in ECG-FM.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def span_masks(rng: np.random.Generator, batch: int, tokens: int, fraction: float, span: int) -> NDArray[np.bool_]:
    """Return a mask (batch, tokens), True for `fraction` of the tokens of every record, in random spans of `span`.

    Spans may overlap; the last one is shortened to the exact number of tokens. (The original draws a number of spans
    and then unmasks tokens until all records of a batch have equally many; here the fraction does not depend on the
    other records of the batch.)
    """
    count = min(max(2, round(fraction * tokens)), tokens)
    return _in_spans(rng, batch, tokens, count, span, range(0, max(1, tokens - span + 1)))


def visible_tokens(
    rng: np.random.Generator, batch: int, masks: int, tokens: int, fraction: float, span: int
) -> NDArray[np.int64]:
    """Return ascending indices (batch, masks, kept) of the student's tokens: `fraction` of all, in spans of `span`.

    Spans may overlap or extend beyond the edges, so that all positions are about equally frequent.
    """
    kept = min(max(1, round(tokens * fraction)), tokens - 1)
    seen = _in_spans(rng, batch * masks, tokens, kept, span, range(1 - span, tokens))
    return np.nonzero(seen)[1].reshape(batch, masks, kept).astype(np.int64)


def negatives(rng: np.random.Generator, batch: int, masked: int, count: int) -> NDArray[np.int64]:
    """Return distractors (batch, masked * count) for `models.contrastive.Draws`: other masked tokens of the record.

    Each masked token has `count` consecutive distractors, drawn with replacement. `masked` is 2 or more.
    """
    other = rng.integers(0, masked - 1, (batch, masked, count))
    other += other >= np.arange(masked)[:, None]
    return (other + masked * np.arange(batch)[:, None, None]).reshape(batch, masked * count)


def kept_leads(rng: np.random.Generator, batch: int, leads: int, dropout: float) -> NDArray[np.bool_] | None:
    """Return (batch, leads), False for leads set to zero, each with probability `dropout`; None for one lead."""
    return None if leads == 1 else rng.random((batch, leads)) >= dropout


def gumbel_noise(seed: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return standard Gumbel noise, -log(-log u) of uniform u, drawn on the device, whose type affects the values."""
    random = torch.Generator(device).manual_seed(seed)
    return -torch.empty(shape, device=device).exponential_(generator=random).log()


def _in_spans(
    rng: np.random.Generator, rows: int, tokens: int, count: int, span: int, starts: range
) -> NDArray[np.bool_]:
    """Return a mask (rows, tokens) of `count` tokens per row, covered by spans that begin at `starts` in random order.

    The rank of a token is that of the first span that covers it; the `count` lowest ranks are selected, from left to
    right within a span.
    """
    # rank[:, k] belongs to the span that begins at token k - span + 1
    rank = np.full((rows, tokens + span - 1), float(tokens + span))
    rank[:, starts.start + span - 1 : starts.stop + span - 1] = rng.random((rows, len(starts))).argsort(axis=1)
    first = np.lib.stride_tricks.sliding_window_view(rank, span, axis=1).min(axis=-1)
    chosen = np.zeros((rows, tokens), bool)
    np.put_along_axis(chosen, first.argsort(axis=1, kind="stable")[:, :count], True, axis=1)
    return chosen
