"""Heart beats of a signal as the tokens of HeartLang: found by their QRS complexes, cut between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgtune.data.leads import STANDARD_LEADS

RATE = 100  # Hz
SECOND = 100  # samples
SHORTEST = 50  # samples that the detector needs


@dataclass(frozen=True)
class Beats:
    """Beats of all leads, one lead after the other, in `places` places; those that are left hold zeros.

    samples: (batch, places, samples of a beat). lead, second: int64 (batch, places), from 1; 0 where there is no beat.
    """

    samples: Tensor
    lead: Tensor
    second: Tensor


def beats_of(
    signal: Tensor,
    leads: Sequence[str],
    places: int,
    length: int,
    valid: Tensor | None = None,
    *,
    move_long: bool = False,
) -> Beats:
    """Beats of windows (batch, leads, samples) at 100 Hz, found in the first lead that is not constant.

    places: number of beats of all leads together; further ones are left out. length: samples of a beat. valid: samples
    of each window (batch,) before its padding, None for all. move_long: as of `cut_beats`. Gradients go through the
    samples. A window without a beat has empty places alone.
    """
    batch, _, samples = signal.shape
    nothing = signal.shape[1] * samples  # number of the zero behind the last sample
    index = np.full((batch, places, length), nothing)
    lead, second = (np.zeros((batch, places), dtype=np.int64) for _ in range(2))
    stops = [samples] * batch if valid is None else valid.tolist()
    for row, window in enumerate(signal.detach().cpu().float().numpy()):
        peaks = qrs_complexes(window[:, : stops[row]])
        cut = cut_beats(peaks, stops[row], length, move_long=move_long)
        cut = np.where(cut < stops[row], cut, samples)
        for number, name in enumerate(leads):
            first = number * len(peaks)
            here = slice(first, min(first + len(peaks), places))
            count = max(0, here.stop - here.start)
            if count:
                index[row, here] = np.where(cut < samples, cut + number * samples, nothing)[:count]
                lead[row, here] = STANDARD_LEADS.index(name) + 1
                second[row, here] = peaks[:count] // SECOND + 1
    padded = torch.nn.functional.pad(signal.flatten(1), (0, 1))
    chosen = torch.from_numpy(index).to(signal.device)
    values = padded.gather(1, chosen.flatten(1)).view(batch, places, length)
    return Beats(values, torch.from_numpy(lead).to(signal.device), torch.from_numpy(second).to(signal.device))


def qrs_complexes(window: NDArray[np.float32]) -> NDArray[np.int64]:
    """Samples of the QRS complexes in the first lead of (leads, samples) that is not constant, by wfdb's XQRS.

    None in less than half a second.
    """
    long = window.shape[1] >= SHORTEST
    varying = next((lead for lead in window if long and lead.max() > lead.min()), None)
    return np.array([] if varying is None else _detected(varying.tobytes()), dtype=np.int64)


@lru_cache(maxsize=1 << 13)  # 32 MB of windows of 10 s, which a training shows again and again
def _detected(lead: bytes) -> tuple[int, ...]:
    from wfdb.processing import xqrs_detect

    found = xqrs_detect(np.frombuffer(lead, np.float32).astype(np.float64), fs=RATE, verbose=False)
    return tuple(int(sample) for sample in found)


def cut_beats(peaks: NDArray[np.int64], samples: int, length: int, *, move_long: bool = False) -> NDArray[np.int64]:
    """Sample numbers (beats, length) of each beat with its peak in the middle; `samples` where it has none.

    A beat reaches half way to its neighbours, the first and the last half a length beyond their peak, none further than
    half a length. move_long: as in the authors' code, a beat that begins earlier than that and is no longer than
    `length` is moved to the start of its place, and one that is alone has the whole length.
    """
    if not len(peaks):
        return np.zeros((0, length), dtype=np.int64)
    half = length // 2
    middle = (peaks[1:] + peaks[:-1]) // 2
    start = np.maximum(np.concatenate([peaks[:1] - half, middle]), 0)
    stop = np.minimum(np.concatenate([middle, peaks[-1:] + half]), samples)
    long = stop - start > length
    start = np.where(long, np.maximum(peaks - half, 0), start)
    stop = np.where(long, np.minimum(start + length, samples), stop)
    first = peaks - half
    if move_long:
        first = np.minimum(first, start)
        stop = stop if len(peaks) > 1 else np.minimum(start + length, samples)
    number = first[:, None] + np.arange(length)
    inside = (number >= start[:, None]) & (number < stop[:, None])
    return np.where(inside, number, samples)
