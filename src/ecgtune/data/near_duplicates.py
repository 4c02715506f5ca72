"""Recordings or windows with the same signal: stored twice, at another gain, offset or rate, under another name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import Dataset
from ecgtune.data.sampling import number_within
from ecgtune.data.signal.filters import band_pass, resample

SAME = 0.99  # correlation from which two signals are the same
CANDIDATE = 0.9  # from which they are compared again at small differences of their clocks
SHORTEST = 5.0
"""Seconds of a window from which it is compared: two beats of two hearts are similar soon, ten hardly ever."""
MOST_PAIRS = 500_000_000
"""Largest number of pairs of windows that are compared: about four seconds of one core."""
MOST_CANDIDATES = 20_000  # of windows
_RATE, _SECONDS = 50.0, 10.0
_LENGTH = int(_RATE * _SECONDS)
_BAND = (1.0, 12.0)  # Hz: without baseline and mains, and in any recording from 25 Hz on
_USUAL = 4.0  # times the median amplitude, where compression sets in
_TAPER = 1.5  # seconds at either end with decreasing weight
_BLOCK = 512  # fingerprints compared with all others at once: 20 MB of correlations for 10,000 recordings
_CHUNK = 2048
# Interpolation with aligned end points (ECG-FM's) stretches ten seconds at 100 Hz by 0.1 %; filters may delay.
_STRETCH = np.linspace(-0.0012, 0.0012, 13)
_SHIFT = np.linspace(-0.02, 0.02, 5)  # seconds

Rows = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True)
class DuplicatePair:
    """Two recordings with the same signal, and the absolute value of their correlation."""

    first: str
    second: str
    correlation: float


@dataclass(frozen=True)
class DuplicateGroups:
    """Pairs of groups that share a window's signal, sorted.

    windows: only the first `windows` of each group were compared; None for all.
    """

    pairs: tuple[tuple[str, str], ...]
    windows: int | None = None


def fingerprint(signal: NDArray[np.floating], leads: Sequence[str], sampling_rate: float) -> NDArray[np.float32]:
    """Return the first ten seconds of one lead (II, else I, else the first) at 50 Hz, 1 to 12 Hz, with norm 1: (500,).

    The same for another gain, offset or rate, up to rounding; shorter recordings end in zeros. A lead that is constant
    or invalid throughout gives zeros, which resemble nothing.
    """
    result = np.zeros(_LENGTH, dtype=np.float32)
    values = np.nan_to_num(signal[compared_lead(leads), : round(_SECONDS * sampling_rate)].astype(np.float64))
    if len(values) < 2 or values.min() == values.max():
        return result
    values = _normalised(values, sampling_rate)
    result[: values.shape[-1]] = values
    return result


def fingerprints(signal: NDArray[np.floating], sampling_rate: float) -> NDArray[np.float32]:
    """Return the fingerprints of finite windows of one lead, (windows, samples): (windows, length).

    Up to ten seconds of each; a constant window gives zeros.
    """
    values = signal[:, : round(_SECONDS * sampling_rate)].astype(np.float64)
    still = values.min(axis=1) == values.max(axis=1)
    return np.where(still[:, None], 0.0, _normalised(values, sampling_rate)).astype(np.float32)


def compared_lead(leads: Sequence[str]) -> int:
    return next((tuple(leads).index(name) for name in ("II", "I") if name in leads), 0)


def _normalised(values: NDArray[np.floating], sampling_rate: float) -> NDArray[np.floating]:
    """Make signals (..., samples) independent of gain, offset and rate."""
    from scipy.signal.windows import tukey

    values = band_pass(resample(values, sampling_rate, _RATE), _RATE, *_BAND)[..., :_LENGTH]
    tiny = np.finfo(np.float64).tiny
    # One electrode artefact would outweigh all beats: samples far above the usual amplitude are compressed.
    usual = np.median(np.abs(values), axis=-1, keepdims=True)
    values = np.tanh(values / np.maximum(_USUAL * usual, tiny))
    values *= tukey(values.shape[-1], 2 * _TAPER / _SECONDS)  # the ends depend on the filter's padding
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), tiny)


def find_near_duplicates(prints: NDArray[np.float32], names: Sequence[str]) -> tuple[DuplicatePair, ...]:
    """Return the pairs among `names` whose fingerprints (recordings, 500) have a correlation of 0.99 or more."""
    pairs: list[tuple[int, int, float]] = []
    for rows, columns, sizes in _same_pairs(prints):
        pairs += zip(rows.tolist(), columns.tolist(), sizes.tolist(), strict=True)
    return tuple(
        DuplicatePair(names[first], names[second], round(min(size, 1.0), 4)) for first, second, size in sorted(pairs)
    )


def near_duplicate_groups(dataset: Dataset, rows_of: Rows | None = None) -> DuplicateGroups | None:
    """Compare the windows of each two splits (rows by name), else of each two groups; None where that cannot be done.

    That is without groups; with windows below `SHORTEST` seconds; of recordings, which were compared whole; and with
    more groups than `MOST_PAIRS` allows. Near-duplicates are found where their windows begin at the same positions, as
    they do when all were cut in the same way.
    """
    if dataset.group is None or dataset.recording is not None or dataset.samples < SHORTEST * dataset.sampling_rate:
        return None
    chosen = _affordable(rows_of or {"": np.arange(len(dataset))}, number_within(dataset.group))
    if chosen is None:
        return None
    kept, most = chosen
    names, code = np.unique(dataset.group, return_inverse=True)
    prints = {name: _prints(dataset, rows) for name, rows in kept.items()}
    codes = {name: code[rows] for name, rows in kept.items()}
    pairs: set[tuple[str, str]] = set()
    for first, second in _compared(kept):
        groups = codes[first], codes[second]
        other = None if first == second else prints[second]
        for rows, columns, _ in _same_pairs(prints[first], other, MOST_CANDIDATES, groups):
            found = zip(names[groups[0][rows]].tolist(), names[groups[1][columns]].tolist(), strict=True)
            pairs |= {(min(pair), max(pair)) for pair in found}
    return DuplicateGroups(tuple(sorted(pairs)), most)


def _compared(rows_of: Rows) -> list[tuple[str, str]]:
    """Which splits are compared: each with each other; one alone with itself."""
    return list(combinations(rows_of, 2)) if len(rows_of) > 1 else [(name, name) for name in rows_of]


def _affordable(rows_of: Rows, number: NDArray[np.int64]) -> tuple[Rows, int | None] | None:
    """The rows of each split that are compared, and how many of each group these are; None for none."""
    rows_of = {name: rows for name, rows in rows_of.items() if len(rows)}
    most: int | None = None
    while True:
        kept = {name: rows if most is None else rows[number[rows] < most] for name, rows in rows_of.items()}
        if sum(len(kept[a]) * len(kept[b]) // (1 + (a == b)) for a, b in _compared(kept)) <= MOST_PAIRS:
            return kept, most
        if most == 1:
            return None
        most = max(1, (int(number.max()) + 1 if most is None else most) // 2)


def _prints(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    lead = compared_lead(dataset.leads)
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    return np.concatenate([fingerprints(np.asarray(dataset.signal[c])[:, lead], dataset.sampling_rate) for c in chunks])


def _same_pairs(
    first: NDArray[np.float32],
    second: NDArray[np.float32] | None = None,
    candidates: int | None = None,
    groups: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.floating]]]:
    """Yield rows, columns and correlations of pairs that are the same, if need be with their clocks moved a little.

    Without `second`, pairs within `first`, each once. At most `candidates` are compared with moved clocks. groups:
    codes of `first` and the others; pairs within a group are left out.
    """
    for start in range(0, len(first), _BLOCK):
        others, offset = (first[start:], start) if second is None else (second, 0)
        size = first[start : start + _BLOCK] @ others.T
        np.abs(size, out=size)
        rows, columns = np.nonzero(size > CANDIDATE)
        apart = np.ones(len(rows), dtype=bool) if second is not None else columns > rows
        if groups is not None:
            apart &= groups[0][rows + start] != groups[1][columns + offset]
        rows, columns = rows[apart], columns[apart]
        found = size[rows, columns]
        sure = found >= SAME
        yield rows[sure] + start, columns[sure] + offset, found[sure]
        rows, columns = rows[~sure][:candidates], columns[~sure][:candidates]
        candidates = None if candidates is None else candidates - len(rows)
        for part in (slice(place, place + _CHUNK) for place in range(0, len(rows), _CHUNK)):
            found = closest(first[start + rows[part]], others[columns[part]])
            moved = found >= SAME
            yield rows[part][moved] + start, columns[part][moved] + offset, found[moved]


def closest(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the largest correlation of each pair, (pairs, length) twice, over small changes of one clock."""
    best = np.zeros(len(first))
    for matrix in _clock_changes(first.shape[1]):  # interpolation is linear in its values: one product serves all
        moved = second @ matrix
        norm = np.maximum(np.linalg.norm(moved, axis=1), np.finfo(np.float32).tiny)
        best = np.maximum(best, np.abs(np.einsum("pn,pn->p", moved, first)) / norm)
    return best


@cache
def _clock_changes(length: int) -> NDArray[np.float32]:
    """One matrix per stretch and shift, (changes, length, length): signal @ matrix is the signal by the other clock."""
    from scipy.interpolate import CubicSpline

    time = np.arange(length) / _RATE
    points = time * (1 + _STRETCH[:, None, None]) + _SHIFT[None, :, None]
    moved = CubicSpline(time, np.eye(length))(points.reshape(-1, length))  # (changes, samples, length)
    return np.ascontiguousarray(moved.transpose(0, 2, 1).astype(np.float32))
