"""Recordings or windows with the same signal, at another gain, offset or rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.signal.windows import tukey

from ecgtune.data.dataset import Dataset
from ecgtune.data.sampling import number_within
from ecgtune.data.signal.filters import band_pass, resample

ALIKE = 0.99  # correlation from which two recordings are the same signal
CANDIDATE = 0.9  # from which the clocks of two recordings are looked at more closely
_RATE, _SECONDS = 50.0, 10.0
_LENGTH = int(_RATE * _SECONDS)
_BAND = (1.0, 12.0)  # Hz: without baseline and mains, and in any recording from 25 Hz on
_USUAL = 4.0  # times the median size, where compression sets in
_TAPER = 1.5  # seconds at either end that count less and less
_BLOCK = 512  # fingerprints against all others at once: 20 MB of correlations for 10,000 recordings
# Interpolation with aligned end points (ECG-FM's) stretches ten seconds at 100 Hz by 0.1 %; filters may delay.
_STRETCH = np.linspace(-0.0012, 0.0012, 13)
_SHIFT = np.linspace(-0.02, 0.02, 5)  # seconds


@dataclass(frozen=True)
class DuplicatePair:
    """Two recordings with the same signal, and the size of their correlation."""

    first: str
    second: str
    correlation: float


def fingerprint(signal: NDArray[np.floating], leads: Sequence[str], sampling_rate: float) -> NDArray[np.float32]:
    """The first ten seconds of one lead (II, else I, else the first) at 50 Hz, 1 to 12 Hz, with norm 1: (500,).

    The same for another gain, offset or rate, up to rounding; shorter recordings end in zeros. Of a lead that never
    changes or holds invalid samples all over it is zero, which resembles nothing.
    """
    result = np.zeros(_LENGTH, dtype=np.float32)
    lead = lead_of_fingerprint(leads)
    values = np.nan_to_num(signal[lead, : round(_SECONDS * sampling_rate)].astype(np.float64))
    if len(values) < 2 or values.min() == values.max():
        return result
    values = _shape(values, sampling_rate)
    result[: values.shape[-1]] = values
    return result


def lead_of_fingerprint(leads: Sequence[str]) -> int:
    """The place of the lead that is compared: II, else I, else the first."""
    return next((tuple(leads).index(name) for name in ("II", "I") if name in leads), 0)


def fingerprints(signal: NDArray[np.floating], sampling_rate: float) -> NDArray[np.float32]:
    """Those of windows of one lead, (windows, samples), all finite: (windows, length), up to ten seconds.

    A window that never changes gives zeros, as in `fingerprint`.
    """
    values = signal[:, : round(_SECONDS * sampling_rate)].astype(np.float64)
    still = values.min(axis=1) == values.max(axis=1)
    return np.where(still[:, None], 0.0, _shape(values, sampling_rate)).astype(np.float32)


def _shape(values: NDArray[np.floating], sampling_rate: float) -> NDArray[np.floating]:
    """Signals (..., samples) as what does not change with gain, offset or rate."""
    values = band_pass(resample(values, sampling_rate, _RATE), _RATE, *_BAND)[..., :_LENGTH]
    tiny = np.finfo(np.float64).tiny
    # One electrode artefact would outweigh all beats: what is far above the usual size is compressed.
    usual = np.median(np.abs(values), axis=-1, keepdims=True)
    values = np.tanh(values / np.maximum(_USUAL * usual, tiny))
    values *= tukey(
        values.shape[-1], 2 * _TAPER / _SECONDS
    )  # at the edges a filter sees what it was told, not the heart
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), tiny)


def find_near_duplicates(fingerprints: NDArray[np.float32], names: Sequence[str]) -> tuple[DuplicatePair, ...]:
    """Pairs among `names` whose fingerprints (recordings, 500) correlate by 0.99 or more, upright or upside down."""
    pairs = []
    for start in range(0, len(names), _BLOCK):
        block = fingerprints[start : start + _BLOCK]
        size = np.abs(block @ fingerprints[start:].T)
        rows, columns = np.nonzero(size > CANDIDATE)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if column <= row:
                continue
            found = float(size[row, column])
            if found < ALIKE:
                found = max(found, _closest(block[row], fingerprints[start + column]))
            if found >= ALIKE:
                pairs.append(DuplicatePair(names[start + row], names[start + column], round(min(found, 1.0), 4)))
    return tuple(pairs)


def _closest(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The largest correlation when the clock of `second` may run a little faster, slower, sooner or later."""
    time = np.arange(len(first)) / _RATE
    curve = CubicSpline(time, second)
    moved = curve(time * (1 + _STRETCH[:, None, None]) + _SHIFT[None, :, None])  # (stretch, shift, samples)
    norm = np.linalg.norm(moved, axis=-1)
    return float((np.abs(moved @ first.astype(np.float64)) / norm).max())


def closest(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """The same of many pairs, (pairs, length) twice: (pairs,)."""
    best = np.zeros(len(first))
    for matrix in _moves(first.shape[1]):  # interpolation is linear in what is interpolated, so one product serves all
        moved = second @ matrix
        norm = np.maximum(np.linalg.norm(moved, axis=1), np.finfo(np.float32).tiny)
        best = np.maximum(best, np.abs(np.einsum("pn,pn->p", moved, first)) / norm)
    return best


@cache
def _moves(length: int) -> NDArray[np.float32]:
    """One matrix for each way in which the clock is moved: (ways, length, length), signal @ matrix is the moved one."""
    time = np.arange(length) / _RATE
    points = time * (1 + _STRETCH[:, None, None]) + _SHIFT[None, :, None]
    moved = CubicSpline(time, np.eye(length))(points.reshape(-1, length))  # (ways, samples, length)
    return np.ascontiguousarray(moved.transpose(0, 2, 1).astype(np.float32))


SHORTEST = 5.0
"""Seconds of a window from which it is compared: two beats of two hearts are alike soon enough, ten hardly ever."""
MOST_PAIRS = 400_000_000
"""Pairs of windows that are compared, about three seconds of one core."""
MOST_CANDIDATES = 20_000
_BLOCK = 512
_CHUNK = 2048

Parts = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True)
class DuplicateGroups:
    """Pairs of groups in different splits of which a window of each is the same signal, sorted; and how far the search
    went: only the first `windows` of each group, all where None.
    """

    pairs: tuple[tuple[str, str], ...]
    windows: int | None = None


def near_duplicate_groups(dataset: Dataset, split: Parts) -> DuplicateGroups | None:
    """Compare the windows of each two parts of a split, rows by name; None where that cannot be done.

    That is without groups, where the split is by row and told to be too good anyway; with windows below `SHORTEST`
    seconds; of recordings, which were compared whole; and with more groups than `MOST_PAIRS` allows. Near-duplicates
    are found where their windows begin at the same places, as they do when all were cut in the same way.
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
    return DuplicateGroups(tuple(sorted(pairs)), most)


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
