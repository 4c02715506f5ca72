"""What pretraining draws at random, as functions of a generator that the moment decides.

The span masks and negatives are wav2vec 2.0's (Baevski et al. 2020, arXiv:2006.11477, section 3.1 and 3.2), as ECG-FM
uses them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def span_masks(rng: np.random.Generator, batch: int, tokens: int, fraction: float, span: int) -> NDArray[np.bool_]:
    """(batch, tokens), True where masked: `fraction` of the tokens of every record, in random spans of `span`.

    Spans may overlap; the last one is shortened to the exact number of tokens. (The original masks about 49 %, then
    unmasks tokens until all records of a batch have as few as the record with the most overlap; here the fraction does
    not depend on the other records of the batch.)
    """
    count = min(max(2, round(fraction * tokens)), tokens)
    return _in_spans(rng, batch, tokens, count, span, range(0, max(1, tokens - span + 1)))


def visible_tokens(
    rng: np.random.Generator, batch: int, masks: int, tokens: int, fraction: float, span: int
) -> NDArray[np.int64]:
    """(batch, masks, kept) rising indices of the tokens of the student: `fraction` of all, in spans of `span` tokens.

    Spans may overlap or extend over the edges, so that all positions are about equally frequent.
    """
    kept = min(max(1, round(tokens * fraction)), tokens - 1)
    seen = _in_spans(rng, batch * masks, tokens, kept, span, range(1 - span, tokens))
    return np.nonzero(seen)[1].reshape(batch, masks, kept).astype(np.int64)


def negatives(rng: np.random.Generator, batch: int, masked: int, count: int) -> NDArray[np.int64]:
    """(batch, masked * count) distractors for `models.contrastive.Draws`: other masked tokens of the same record.

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


def _in_spans(
    rng: np.random.Generator, rows: int, tokens: int, count: int, span: int, starts: range
) -> NDArray[np.bool_]:
    """(rows, tokens), True at `count` tokens of each row, as spans that begin at `starts` in random order lay them.

    A token's turn is that of the first span that covers it; the first `count` turns are taken, from left to right
    within a span.
    """
    turn = np.full(
        (rows, tokens + span - 1), float(tokens + span)
    )  # of the span that begins at 1 - span ... tokens - 1
    turn[:, starts.start + span - 1 : starts.stop + span - 1] = rng.random((rows, len(starts))).argsort(axis=1)
    first = np.lib.stride_tricks.sliding_window_view(turn, span, axis=1).min(axis=-1)
    chosen = np.zeros((rows, tokens), bool)
    np.put_along_axis(chosen, first.argsort(axis=1, kind="stable")[:, :count], True, axis=1)
    return chosen
