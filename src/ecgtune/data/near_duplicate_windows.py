"""The same signal in two splits of a file of windows: stored twice, at another gain or offset, under two names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import Dataset
from ecgtune.data.near_duplicates import ALIKE, CANDIDATE, closest, fingerprints, lead_of_fingerprint
from ecgtune.data.subset import number_within

SHORTEST = 5.0
"""Seconds of a window from which it is compared: two beats of two hearts are alike soon enough, ten hardly ever."""
MOST_PAIRS = 400_000_000
"""Pairs of windows that are compared, about three seconds of one core."""
MOST_CANDIDATES = 20_000
_BLOCK = 512
_CHUNK = 2048

Parts = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True)
class TwinWindows:
    """Pairs of groups in different splits of which a window of each is the same signal, sorted; and how far the search
    went: only the first `windows` of each group, all where None.
    """

    pairs: tuple[tuple[str, str], ...]
    windows: int | None = None


def twin_windows(dataset: Dataset, split: Parts) -> TwinWindows | None:
    """Compare the windows of each two parts of a split, rows by name; None where that cannot be done.

    That is without groups, where the split is by row and told to be too good anyway; with windows below `SHORTEST`
    seconds; of recordings, which were compared whole; and with more groups than `MOST_PAIRS` allows. Twins are found
    where their windows begin at the same places, as they do when all were cut in the same way.
    """
    if dataset.group is None or dataset.recording is not None or dataset.samples < SHORTEST * dataset.sampling_rate:
        return None
    number = number_within(dataset.group)
    chosen = _affordable(split, number)
    if chosen is None:
        return None
    parts, most = chosen
    prints = {name: _prints(dataset, rows) for name, rows in parts.items()}
    pairs: set[tuple[str, str]] = set()
    for first, second in combinations(parts, 2):
        groups = dataset.group[parts[first]], dataset.group[parts[second]]
        for rows, columns in _alike(prints[first], prints[second]):
            found = zip(groups[0][rows].tolist(), groups[1][columns].tolist(), strict=True)
            pairs |= {(min(pair), max(pair)) for pair in found}
    return TwinWindows(tuple(sorted(pairs)), most)


def _affordable(split: Parts, number: NDArray[np.int64]) -> tuple[Parts, int | None] | None:
    """The rows of each part that are compared, and to how many of each group that comes; None for none."""
    parts = {name: rows for name, rows in split.items() if len(rows)}
    most: int | None = None
    while True:
        kept = {name: rows if most is None else rows[number[rows] < most] for name, rows in parts.items()}
        if sum(len(kept[a]) * len(kept[b]) for a, b in combinations(kept, 2)) <= MOST_PAIRS:
            return kept, most
        if most == 1:
            return None
        most = max(1, (int(number.max()) + 1 if most is None else most) // 2)


def _prints(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    lead = lead_of_fingerprint(dataset.leads)
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    return np.concatenate([fingerprints(np.asarray(dataset.signal[c])[:, lead], dataset.sampling_rate) for c in chunks])


def _alike(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places, in blocks, of pairs that correlate by `ALIKE` or more, if need be with their clocks moved a little."""
    left = MOST_CANDIDATES
    for start in range(0, len(first), _BLOCK):
        size = np.abs(first[start : start + _BLOCK] @ second.T)
        rows, columns = np.nonzero(size > CANDIDATE)
        sure = size[rows, columns] >= ALIKE
        yield rows[sure] + start, columns[sure]
        rows, columns = rows[~sure][:left] + start, columns[~sure][:left]
        left -= len(rows)
        if len(rows):
            moved = closest(first[rows], second[columns]) >= ALIKE
            yield rows[moved], columns[moved]
