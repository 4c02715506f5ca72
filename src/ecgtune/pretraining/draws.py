"""What pretraining draws at random, as functions of a generator that the moment decides.

The span masks and negatives are wav2vec 2.0's (Baevski et al. 2020, arXiv:2006.11477, section 3.1 and 3.2), as ECG-FM
uses them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def span_masks(rng: np.random.Generator, batch: int, tokens: int, share: float, span: int) -> NDArray[np.bool_]:
    """(batch, tokens), True where masked: `share` of the tokens of every record, in spans of `span` at random places.

    Spans may overlap; the last one is cut short where it would hide too many. (The original draws so many spans that
    about 49 % end up masked, then gives tokens back until all records of a batch have as few as the one with the most
    overlap; here the share does not depend on who else is in the batch.)
    """
    count = min(max(2, round(share * tokens)), tokens)
    return _in_spans(rng, batch, tokens, count, span, range(0, max(1, tokens - span + 1)))


def visible_tokens(
    rng: np.random.Generator, batch: int, masks: int, tokens: int, share: float, span: int
) -> NDArray[np.int64]:
    """(batch, masks, kept) rising token numbers that the student sees: `share` of all, in spans of `span` tokens.

    Spans may overlap or run over the edges, so that no place is seldom seen.
    """
    kept = min(max(1, round(tokens * share)), tokens - 1)
    seen = _in_spans(rng, batch * masks, tokens, kept, span, range(1 - span, tokens))
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
