"""Fingerprints of recordings by their beats, which can be shared without the signals, and the overlap of two sets.

A fingerprint holds the interval in front of each beat, its height in proportion to the others, and eight projections of
the mean beat. Recordings match where a series of intervals and heights is the same. That survives another gain, offset
or rate and parts that are cut off, as of windows cut from a recording. Rhythm and relative heights can be read from a
fingerprint; the signal cannot be rebuilt, since no waveform is in it but the mean beat in 8 numbers of low precision.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.signal.filters import band_pass, resample
from ecgtune.errors import DataError

if TYPE_CHECKING:
    from scipy.spatial import KDTree

#: Hz at which beats are found, and the band of their search, which every recorder keeps.
RATE, BAND = 100.0, (1.0, 12.0)
#: Seconds at either end without beats, since the filter's padding changes them; around a beat, without a larger one.
MARGIN, APART = 0.4, 0.3
#: Height of a beat, as a fraction of the median of all.
LEAST = 0.35
#: Seconds of a recording that are looked at.
LONGEST = 300.0
#: Intervals of a series that is compared, and by how much each may differ: milliseconds, thousandths of a height.
SERIES, MILLISECONDS, THOUSANDTHS = 4, 6.0, 30.0
#: Milliseconds by which neighbouring intervals of an irregular series differ, and the fraction of a step in height by
#: which it may differ there besides: such intervals are no chance, and the filter moves low beats at cut ends most.
IRREGULAR, OF_STEP = 200.0, 0.25
#: Fraction of the intervals of the shorter of two recordings that they share.
SHARED = 0.4
#: Largest distance of the projections of two mean beats, as a fraction of their length.
SHAPE = 0.6
LONGEST_INTERVAL = 3000  # milliseconds; a longer one is no interval of beats
_PROJECTIONS, _LEVELS = 8, 127
#: Resolution in milliseconds and in thousandths.
_STEP, _RISE = 2, 8
_BEAT = (-0.2, 0.3)  # seconds of the mean beat
_CHUNK = 1 << 23  # samples in work at once
_FORMAT = 1
#: Beats of a file beside four for each of its bytes, and pairs of series beside ten for each one: more are not of
#: recorded hearts, and would fill the memory.
_MOST_BEATS, _MOST_MATCHES = 100_000, 1_000_000
_COUNTED = 4096  # series whose matches are counted at once


@dataclass(frozen=True, eq=False)
class BeatPrints:
    """Fingerprints of recordings.

    count: beats of each, (recordings,). interval: of 2 ms in front of each beat, 0 for the first of a recording;
    height: its logarithm, against the median of the recording, in steps of 0.008; both (beats,). shape: int8
    (recordings, 8). name: of the recordings, or numbers.
    """

    count: NDArray[np.int32]
    interval: NDArray[np.uint16]
    height: NDArray[np.int8]
    shape: NDArray[np.int8]
    name: NDArray[np.str_]

    def __len__(self) -> int:
        """Number of recordings."""
        return len(self.count)

    @property
    def comparable(self) -> NDArray[np.bool_]:
        """Which recordings have beats enough for a series: (recordings,)."""
        return self.count > SERIES

    def without_names(self) -> BeatPrints:
        """Return the fingerprints with numbers for names."""
        return BeatPrints(self.count, self.interval, self.height, self.shape, np.arange(len(self)).astype(str))

    def packed(self) -> bytes:
        """The content of a file of fingerprints (NPZ)."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, ecgtune_beat_prints=np.array(_FORMAT), count=self.count, interval=self.interval,
            height=self.height, shape=self.shape, name=self.name,
        )  # fmt: skip
        return buffer.getvalue()

    @classmethod
    def unpacked(cls, content: bytes) -> BeatPrints:
        """The inverse of `packed`. Raises KeyError or ValueError for another content."""
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            if int(stored["ecgtune_beat_prints"]) != _FORMAT:
                raise ValueError(f"fingerprints of format {int(stored['ecgtune_beat_prints'])}, not {_FORMAT}")
            names = ("count", "interval", "height", "shape", "name")
            found = cls(*(stored[name] for name in names))
        beats = int(found.count.sum())
        if beats > _MOST_BEATS + 4 * len(content):
            raise ValueError(f"{beats} beats in {len(content)} bytes, which no rhythm is so regular for")
        of_recordings, of_beats = (len(found.count),), (beats,)
        for name, kind, shape in (
            *(("count", "i", of_recordings), ("interval", "u", of_beats), ("height", "i", of_beats)),
            *(("shape", "i", (*of_recordings, _PROJECTIONS)), ("name", "U", of_recordings)),
        ):
            array = getattr(found, name)
            if array.dtype.kind != kind or array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape} and type {array.dtype}")
        if (found.count < 0).any():
            raise ValueError("a recording has fewer than 0 beats")
        return found

    @cached_property
    def series(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """All series: tolerances as units (series, 2 * SERIES), recording, and number of its first beat there."""
        recording = np.repeat(np.arange(len(self)), self.count)
        number = np.arange(len(recording)) - np.repeat(np.cumsum(self.count) - self.count, self.count)
        start = np.flatnonzero(number + SERIES < self.count[recording])
        follow = start[:, None] + np.arange(1, SERIES + 1)
        interval = _STEP * self.interval[follow].astype(np.float32)
        rise = _RISE * np.diff(self.height[start[:, None] + np.arange(SERIES + 1)].astype(np.float32), axis=1)
        kept = (interval < LONGEST_INTERVAL).all(axis=1)
        irregular = np.abs(np.diff(interval, axis=1)).max(axis=1) >= IRREGULAR
        # A logarithm whose slope is one through the tolerance at each size of a step.
        step = np.sign(rise) * np.log1p(OF_STEP * np.abs(rise) / THOUSANDTHS) / OF_STEP
        height = np.where(irregular[:, None], step, rise / THOUSANDTHS)
        values = np.concatenate([interval / MILLISECONDS, height], axis=1)
        return values[kept], recording[start[kept]], number[start[kept]]

    @cached_property
    def tree(self) -> KDTree:
        """A search tree of the series."""
        from scipy.spatial import KDTree

        return KDTree(self.series[0])


def beat_prints(
    signals: Sequence[NDArray[Any]], sampling_rate: Sequence[float] | float, names: Sequence[str] | None = None
) -> BeatPrints:
    """Return the fingerprints of recordings of one lead, each (samples,), at their rates (Hz).

    Samples that are not finite count as 0; a recording without beats has an empty fingerprint, which matches nothing.
    Recordings of one length and rate are computed together.
    """
    rates = np.broadcast_to(np.asarray(sampling_rate, np.float64), (len(signals),))
    kinds: dict[tuple[int, float], list[int]] = {}
    for index, (signal, rate) in enumerate(zip(signals, rates.tolist(), strict=True)):
        kinds.setdefault((min(len(signal), round(LONGEST * rate)), rate), []).append(index)
    found: list[_Beats] = [_NONE] * len(signals)
    for (samples, rate), indices in kinds.items():
        step = max(1, _CHUNK // max(1, samples))
        for rows in (indices[start : start + step] for start in range(0, len(indices), step)):
            values = np.nan_to_num(np.stack([np.asarray(signals[row][:samples], np.float32) for row in rows]))
            for row, beats in zip(rows, _beats(values, rate), strict=True):
                found[row] = beats
    texts = np.arange(len(signals)).astype(str) if names is None else np.asarray(names, np.str_)
    return BeatPrints(
        np.array([len(each.interval) for each in found], np.int32),
        np.concatenate([each.interval for each in found]) if found else np.zeros(0, np.uint16),
        np.concatenate([each.height for each in found]) if found else np.zeros(0, np.int8),
        np.stack([each.shape for each in found]) if found else np.zeros((0, _PROJECTIONS), np.int8),
        texts,
    )


@dataclass(frozen=True, eq=False)
class _Beats:
    interval: NDArray[np.uint16]
    height: NDArray[np.int8]
    shape: NDArray[np.int8]


_NONE = _Beats(np.zeros(0, np.uint16), np.zeros(0, np.int8), np.zeros(_PROJECTIONS, np.int8))


def _beats(signal: NDArray[np.float32], sampling_rate: float) -> list[_Beats]:
    """The beats of recordings of equal length, (recordings, samples)."""
    from scipy.ndimage import maximum_filter1d

    if signal.shape[1] / sampling_rate < 2 * MARGIN + APART:
        return [_NONE] * len(signal)
    values = band_pass(resample(signal.astype(np.float64), sampling_rate, RATE), RATE, *BAND)
    still = signal.max(axis=1) == signal.min(axis=1)
    size, reach = np.abs(values), round(APART * RATE)
    peak = (size == maximum_filter1d(size, 2 * reach + 1, axis=1)) & (size > 0) & ~still[:, None]
    edge = round(MARGIN * RATE)
    peak[:, :edge], peak[:, -edge:] = False, False
    rows, places = np.nonzero(peak)
    # The top of a parabola through three samples.
    left, top, right = (size[rows, places + shift] for shift in (-1, 0, 1))
    bend = np.minimum(left - 2 * top + right, -1e-30)
    shift = np.clip(0.5 * (left - right) / bend, -0.5, 0.5)
    height = top - 0.25 * (left - right) * shift
    time = (places + shift) * 1000 / RATE
    bounds = np.searchsorted(rows, np.arange(len(signal) + 1))
    return [
        _of_recording(values[row], places[a:b], time[a:b], height[a:b])
        for row, (a, b) in enumerate(pairwise(bounds.tolist()))
    ]


def _of_recording(
    values: NDArray[np.float64], places: NDArray[np.int64], time: NDArray[np.float64], height: NDArray[np.float64]
) -> _Beats:
    if len(places) < 2:
        return _NONE
    high = height >= LEAST * np.median(height)
    places, time, height = places[high], time[high], height[high]
    interval = np.rint(np.diff(time, prepend=time[0]) / _STEP).clip(0, np.iinfo(np.uint16).max).astype(np.uint16)
    log = 1000 * np.log(height / np.median(height)) / _RISE
    first, last = (round(end * RATE) for end in _BEAT)
    inside = (places + first >= 0) & (places + last < len(values))
    segments = values[places[inside][:, None] + np.arange(first, last + 1)] * np.sign(values[places[inside]])[:, None]
    mean = (segments / height[inside, None]).mean(axis=0) if inside.any() else np.zeros(last - first + 1)
    norm = np.linalg.norm(mean)
    shape = _projections(len(mean)) @ mean / max(norm, 1e-12)
    return _Beats(
        interval,
        np.rint(log).clip(-127, 127).astype(np.int8),
        np.rint(_LEVELS * np.clip(2 * shape, -1, 1)).astype(np.int8),
    )


def _projections(samples: int) -> NDArray[np.float64]:
    """Fixed random directions of length 1, (8, samples)."""
    drawn = np.random.default_rng(20).standard_normal((_PROJECTIONS, samples))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@dataclass(frozen=True)
class Overlap:
    """Recordings of two sets with the same beats: their names, and how many intervals they share."""

    first: str
    second: str
    intervals: int


def overlap(first: BeatPrints, second: BeatPrints) -> list[Overlap]:
    """Return the pairs of recordings with the same beats, in the order of `first`."""
    pairs, intervals = matching_pairs(first, second)
    return [
        Overlap(str(first.name[a]), str(second.name[b]), int(number))
        for (a, b), number in zip(pairs, intervals, strict=True)
    ]


def matching_pairs(first: BeatPrints, second: BeatPrints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of recordings with the same beats (pairs, 2), and the intervals that they share (pairs,).

    Two recordings match where at least four intervals and heights in a row agree, these are 40 % of the intervals of
    the shorter one, and their mean beats are alike.
    """
    empty = np.zeros((0, 2), np.int64), np.zeros(0, np.int64)
    values, recording, number = first.series
    others, other_recording, other_number = second.series
    if not len(values) or not len(others):
        return empty
    number_of, most = np.zeros(len(values), np.int64), _MOST_MATCHES + 10 * (len(values) + len(others))
    for start in range(0, len(values), _COUNTED):
        part = slice(start, start + _COUNTED)
        number_of[part] = second.tree.query_ball_point(values[part], 1.0, p=np.inf, workers=-1, return_length=True)
        if number_of.sum() > most:
            raise DataError(
                f"over {most} series of beats are the same; leave out signals that are copies of each other, or that a "
                "machine made"
            )
    matched = np.flatnonzero(number_of)
    if not len(matched):
        return empty
    found = second.tree.query_ball_point(values[matched], 1.0, p=np.inf, workers=-1)
    a = np.repeat(matched, number_of[matched])
    b = np.concatenate([np.asarray(each, np.int64) for each in found if each])
    place = number[a] - other_number[b]
    key = np.stack([recording[a], other_recording[b], place], axis=1)
    unique, hits = np.unique(key, axis=0, return_counts=True)
    here, there = unique[:, 0], unique[:, 1]
    shorter = np.minimum(first.count[here], second.count[there])
    shared = hits + SERIES - 1
    alike = _alike(first.shape[here], second.shape[there])
    kept = (shared >= SHARED * (shorter - 1)) & alike
    pairs, shared = unique[kept, :2], shared[kept]
    order = np.lexsort((-shared, pairs[:, 1], pairs[:, 0]))
    pairs, shared = pairs[order], shared[order]
    new = np.r_[True, (pairs[1:] != pairs[:-1]).any(axis=1)] if len(pairs) else np.zeros(0, bool)
    return pairs[new], shared[new]


def _alike(first: NDArray[np.int8], second: NDArray[np.int8]) -> NDArray[np.bool_]:
    one, other = first.astype(np.float32), second.astype(np.float32)
    size = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    return np.sqrt(((one - other) ** 2).sum(axis=1)) <= SHAPE * np.sqrt(np.maximum(size, 1))
