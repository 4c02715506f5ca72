"""Rhythm and beat shape of crops by classical signal processing, as targets of pretraining.

RR intervals and their irregularity (Task Force 1996, doi:10.1161/01.CIR.93.5.1043), the median beat, the distance of
beats from it, and the spectrum.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ecgtune.io.recordings import Recordings
from ecgtune.pretraining.beats import find_beats
from ecgtune.pretraining.crops import (
    CropPositions,
    CropShape,
    Selection,
    count_crops,
    cut,
    fixed_positions,
    normalised,
)

CHUNK = 1024  # crops that are processed together

BEFORE, AFTER = 0.3, 0.45  # s around an R peak, from the P wave to the end of the T wave
BEAT_SAMPLES = 50  # samples of the median beat at every sampling rate
BANDS = (0.5, 1.5, 3, 4, 5, 6, 7, 8, 10, 13, 17, 22, 30, 40)  # Hz
MIN_INTERVALS = 3  # required for the statistics of irregularity
PEAK_WIDTH = 0.08  # s, standard deviation of the Gaussian at a beat
#: Numbers of targets of a crop: irregularity, median beat, deviation of beats, spectrum; then of its recording.
GROUPS = (12, BEAT_SAMPLES, BEAT_SAMPLES + 3, len(BANDS) - 1) * 2
TOKEN_TARGETS = 5
EPSILON = 0.005  # s, added before a logarithm
MAX_DEVIATION = 5.0  # standard deviations; larger values are failed detections


@dataclass(frozen=True)
class Targets:
    """crop (crops, values) and token (crops, tokens, values), float32; NaN where undefined."""

    crop: NDArray[np.float32]
    token: NDArray[np.float32]


def rhythm_targets(
    signal: NDArray[np.float32],
    beat: NDArray[np.float64],
    present: NDArray[np.bool_],
    *,
    sampling_rate: float,
    samples_per_token: float,
) -> Targets:
    """Compute the targets of crops.

    signal: (crops, samples), first lead, z-scored. beat, present: (crops, beats), the result of `Beats.within`.
    sampling_rate: in Hz.
    """
    interval, paired = _intervals(beat, present, sampling_rate)
    crop = np.concatenate(
        [
            _irregularity(interval, paired),
            _shape(signal, beat, present, sampling_rate),
            _spectrum(signal, sampling_rate),
        ],
        axis=1,
    )
    tokens = int(signal.shape[1] // samples_per_token)
    centre = (np.arange(tokens, dtype=np.float64) + 0.5) * samples_per_token / sampling_rate
    token = _timeline(centre, beat / sampling_rate, present, interval, paired)
    return Targets(crop.astype(np.float32), token.astype(np.float32))


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each target over many crops."""

    crop: tuple[NDArray[np.float32], NDArray[np.float32]]
    token: tuple[NDArray[np.float32], NDArray[np.float32]]

    @classmethod
    def of(cls, targets: Targets) -> Scale:
        return cls(_moments(targets.crop), _moments(targets.token.reshape(-1, targets.token.shape[-1])))

    def __call__(self, targets: Targets) -> Targets:
        """Standardise targets and clip them at `MAX_DEVIATION`."""
        return Targets(
            *(
                np.clip((values - mean) / std, -MAX_DEVIATION, MAX_DEVIATION)
                for values, (mean, std) in ((targets.crop, self.crop), (targets.token, self.token))
            )
        )


def _moments(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0).sum(axis=0) / count
    std = np.sqrt(np.where(known, (values - mean) ** 2, 0).sum(axis=0) / count)
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


def _intervals(
    beat: NDArray[np.float64], present: NDArray[np.bool_], sampling_rate: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return RR intervals in s (crops, beats - 1) and a mask of valid entries."""
    paired = present[:, 1:] & present[:, :-1]
    return np.where(paired, np.diff(beat, axis=1) / sampling_rate, 0.0), paired


def _irregularity(interval: NDArray[np.float64], paired: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return statistics of RR intervals (crops, 12); NaN for fewer than `MIN_INTERVALS`."""
    crops = len(interval)
    if interval.shape[1] < MIN_INTERVALS:
        return np.full((crops, 12), np.nan)
    count = paired.sum(axis=1)
    enough = count >= MIN_INTERVALS
    known = np.where(paired, interval, np.nan)
    known[~enough] = 1.0  # replaced by NaN at the end
    change = np.abs(np.diff(known, axis=1))
    second = np.abs(known[:, 2:] - known[:, :-2])  # near 0 in bigeminy, where the change is large
    mean, middle = np.nanmean(known, axis=1), np.nanmedian(known, axis=1)
    deviation = np.nanstd(known, axis=1)
    shortest, longest = np.nanmin(known, axis=1), np.nanmax(known, axis=1)
    values = np.stack(
        [
            np.log(mean),
            np.log(shortest),
            np.log(longest),
            np.log(deviation + EPSILON),
            np.log(np.sqrt(np.nanmean(change**2, axis=1)) + EPSILON),  # RMSSD
            np.log(np.nanmedian(np.abs(known - middle[:, None]), axis=1) + EPSILON),
            np.log(np.nanmean(second, axis=1) + EPSILON),
            np.nanmean(np.where(np.isnan(change), np.nan, change > 0.05), axis=1),  # pNN50
            np.nanmean(np.where(np.isnan(change), np.nan, change > 0.1), axis=1),
            deviation / mean,
            np.nanmax(change, axis=1) / mean,
            np.log(longest / shortest),
        ],
        axis=1,
    )
    values[~enough] = np.nan
    return values


def _shape(
    signal: NDArray[np.float32], beat: NDArray[np.float64], present: NDArray[np.bool_], sampling_rate: float
) -> NDArray[np.float64]:
    """Return (crops, 2 * BEAT_SAMPLES + 3): median beat, median distance from it, correlation of beats with it."""
    samples = signal.shape[1]
    offset = np.linspace(-BEFORE, AFTER, BEAT_SAMPLES) * sampling_rate
    whole = present & (beat + offset[0] >= 0) & (beat + offset[-1] <= samples - 1)
    place = np.clip(np.rint(beat[:, :, None] + offset), 0, samples - 1).astype(np.int64)
    cut = np.take_along_axis(signal[:, None, :], place, axis=2).astype(np.float64)
    cut -= np.median(cut, axis=2, keepdims=True)
    cut[~whole] = np.nan
    enough = whole.sum(axis=1) >= 2
    cut[~enough] = 0.0
    cut[~enough, 0, 0] = 1.0  # replaced by NaN at the end
    median = np.nanmedian(cut, axis=1)
    distance = np.nanmedian(np.abs(cut - median[:, None]), axis=1)
    centred = cut - cut.mean(axis=2, keepdims=True)
    template = median - median.mean(axis=1, keepdims=True)
    norm = np.sqrt((centred**2).sum(axis=2) * (template**2).sum(axis=1)[:, None])
    correlation = (centred * template[:, None]).sum(axis=2) / np.maximum(norm, 1e-9)
    correlation[np.isnan(cut[:, :, 0])] = np.nan
    summary = np.stack([statistic(correlation, axis=1) for statistic in (np.nanmean, np.nanmin, np.nanstd)], axis=1)
    values = np.concatenate([median, distance, summary], axis=1)
    values[~enough] = np.nan
    return values


def _spectrum(signal: NDArray[np.float32], sampling_rate: float) -> NDArray[np.float64]:
    """Return the logarithm of the mean power per band (crops, bands); NaN above half the sampling rate."""
    samples = signal.shape[1]
    power = np.abs(np.fft.rfft(signal * np.hanning(samples), axis=1)) ** 2 / samples
    hertz = np.fft.rfftfreq(samples, 1 / sampling_rate)
    bands = [power[:, (hertz >= low) & (hertz < high)] for low, high in pairwise(BANDS)]
    return np.stack(
        [np.log(band.mean(axis=1) + 1e-6) if band.size else np.full(len(signal), np.nan) for band in bands], axis=1
    )


def _timeline(
    centre: NDArray[np.float64],
    beat: NDArray[np.float64],
    present: NDArray[np.bool_],
    interval: NDArray[np.float64],
    paired: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return targets (crops, tokens, TOKEN_TARGETS) at the centres of the tokens, in s.

    A Gaussian at each beat; sine and cosine of the phase between two beats; logarithms of the RR interval around the
    token and of its ratio to the previous one. All but the Gaussian are NaN before the first and after the last beat.
    """
    distance = np.where(present[:, None, :], centre[None, :, None] - beat[:, None, :], np.inf)
    gaussian = np.exp(-0.5 * (np.abs(distance).min(axis=2) / PEAK_WIDTH) ** 2)
    if interval.shape[1] == 0:
        return np.concatenate([gaussian[..., None], np.full((*gaussian.shape, TOKEN_TARGETS - 1), np.nan)], axis=2)
    passed = ((distance >= 0) & np.isfinite(distance)).sum(axis=2)  # number of beats at or before the token
    current = np.clip(passed - 1, 0, interval.shape[1] - 1)
    inside = (passed > 0) & (passed <= interval.shape[1]) & np.take_along_axis(paired, current, axis=1)
    length = np.where(inside, np.take_along_axis(interval, current, axis=1), 1.0)
    before = np.clip(current - 1, 0, None)
    has_before = inside & (current > 0)
    earlier = np.where(has_before, np.take_along_axis(interval, before, axis=1), 1.0)
    phase = 2 * np.pi * (centre - np.take_along_axis(beat, current, axis=1)) / length
    parts = [
        (np.sin(phase), inside),
        (np.cos(phase), inside),
        (np.log(length), inside),
        (np.log(length / earlier), has_before),
    ]
    return np.stack([gaussian, *(np.where(known, value, np.nan) for value, known in parts)], axis=2)


class RhythmTargets:
    """Targets of crops of the selected recordings, standardised by the training recordings.

    The values of a crop are followed by their means over its recording, so that the encoder also learns persistent
    properties, such as an absent P wave.
    """

    def __init__(self, recordings: Recordings, selection: Selection, shape: CropShape) -> None:
        self._rate = shape.sampling_rate
        self._token = shape.samples / shape.places
        used = np.concatenate([selection.train, selection.val])
        self._beats = find_beats(recordings, used.tolist())
        samples = shape.samples
        positions = fixed_positions(recordings, count_crops(recordings, used, samples), samples)
        chunks = []
        for rows in np.array_split(np.arange(len(positions.owner)), -(-len(positions.owner) // CHUNK)):
            chunks.append(self._of_crops(normalised(cut(recordings, positions, rows, samples), 1), positions, rows))
        crop = np.concatenate([chunk.crop for chunk in chunks])
        self._mean = _means(crop, positions.owner, len(recordings))
        training = np.isin(positions.owner, selection.train)
        values = np.concatenate([crop, self._mean[positions.owner]], axis=1)[training]
        self._scale = Scale.of(Targets(values, np.concatenate([chunk.token for chunk in chunks])[training]))

    def __call__(self, crops: NDArray[np.float32], positions: CropPositions, rows: NDArray[np.int64]) -> Targets:
        """Return the targets of the z-scored crops (items, leads, samples) at `positions[rows]`."""
        own = self._of_crops(crops, positions, rows)
        return self._scale(Targets(np.concatenate([own.crop, self._mean[positions.owner[rows]]], axis=1), own.token))

    def _of_crops(self, crops: NDArray[np.float32], positions: CropPositions, rows: NDArray[np.int64]) -> Targets:
        beat, present = self._beats.within(positions.start[rows], positions.factor[rows], crops.shape[-1])
        return rhythm_targets(crops[:, 0], beat, present, sampling_rate=self._rate, samples_per_token=self._token)


def _means(values: NDArray[np.float32], owner: NDArray[np.int64], owners: int) -> NDArray[np.float32]:
    """Return the mean (owners, values) over the rows of each owner, without NaN; NaN if all rows are."""
    known = ~np.isnan(values)
    total, count = np.zeros((owners, values.shape[1])), np.zeros((owners, values.shape[1]))
    np.add.at(total, owner, np.where(known, values, 0))
    np.add.at(count, owner, known)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
