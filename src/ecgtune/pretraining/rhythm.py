"""Rhythm and beat shape of crops by classical signal processing: targets that need no labels.

Intervals between beats and their irregularity (Task Force 1996, doi:10.1161/01.CIR.93.5.1043), the median beat, how far
beats stray from it, and the spectrum.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BEFORE, AFTER = 0.3, 0.45  # s around an R peak that make a beat: P wave to the end of the T wave
BEAT_SAMPLES = 50  # of the median beat, whatever the sampling rate
BANDS = (0.5, 1.5, 3, 4, 5, 6, 7, 8, 10, 13, 17, 22, 30, 40)  # Hz
LEAST_INTERVALS = 3  # below, irregularity means nothing
PEAK_WIDTH = 0.08  # s, standard deviation of the bump that marks a beat among tokens
#: Values of a crop: irregularity, median beat, spread of beats, spectrum; then the same of its recording.
GROUPS = (12, BEAT_SAMPLES, BEAT_SAMPLES + 3, len(BANDS) - 1) * 2
TOKEN_TARGETS = 5
SMALLEST_INTERVAL = 0.005  # s, added before a logarithm
LARGEST = 5.0  # standard deviations; what lies farther out is a failed detection


@dataclass(frozen=True)
class Targets:
    """crop (crops, values) and token (crops, tokens, values), float32; NaN where there is nothing to predict."""

    crop: NDArray[np.float32]
    token: NDArray[np.float32]


def rhythm_targets(
    signal: NDArray[np.float32],
    beat: NDArray[np.float64],
    present: NDArray[np.bool_],
    *,
    sampling_rate: float,
    samples_per_token: int,
) -> Targets:
    """Targets of crops.

    signal (crops, samples), z-scored, first lead; beat, present (crops, beats) as `Beats.within` gives them;
    sampling_rate in Hz.
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
    tokens = signal.shape[1] // samples_per_token
    centre = (np.arange(tokens) + 0.5) * samples_per_token / sampling_rate
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
        """Standardised and cut off at `LARGEST`."""
        return Targets(
            *(
                np.clip((values - mean) / std, -LARGEST, LARGEST)
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
    """RR intervals in s (crops, beats - 1), and which of them are."""
    paired = present[:, 1:] & present[:, :-1]
    return np.where(paired, np.diff(beat, axis=1) / sampling_rate, 0.0), paired


def _irregularity(interval: NDArray[np.float64], paired: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(crops, 12) statistics of RR intervals; NaN where there are fewer than `LEAST_INTERVALS`."""
    crops = len(interval)
    if interval.shape[1] < LEAST_INTERVALS:
        return np.full((crops, 12), np.nan)
    count = paired.sum(axis=1)
    enough = count >= LEAST_INTERVALS
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
            np.log(deviation + SMALLEST_INTERVAL),
            np.log(np.sqrt(np.nanmean(change**2, axis=1)) + SMALLEST_INTERVAL),  # RMSSD
            np.log(np.nanmedian(np.abs(known - middle[:, None]), axis=1) + SMALLEST_INTERVAL),
            np.log(np.nanmean(second, axis=1) + SMALLEST_INTERVAL),
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
    """(crops, 2 * BEAT_SAMPLES + 3): median beat, median distance from it, correlation of beats with it."""
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
    alike = (centred * template[:, None]).sum(axis=2) / np.maximum(norm, 1e-9)
    alike[np.isnan(cut[:, :, 0])] = np.nan
    summary = np.stack([np.nanmean(alike, axis=1), np.nanmin(alike, axis=1), np.nanstd(alike, axis=1)], axis=1)
    values = np.concatenate([median, distance, summary], axis=1)
    values[~enough] = np.nan
    return values


def _spectrum(signal: NDArray[np.float32], sampling_rate: float) -> NDArray[np.float64]:
    """(crops, bands) logarithm of the mean power per band; NaN above half the sampling rate."""
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
    """(crops, tokens, TOKEN_TARGETS) at the tokens' centres, s.

    A bump at each beat; sine and cosine of the phase between two beats; the interval around the token, and its ratio to
    the one before (logarithms). NaN outside the first and last beat, but for the bump.
    """
    away = np.where(present[:, None, :], centre[None, :, None] - beat[:, None, :], np.inf)
    bump = np.exp(-0.5 * (np.abs(away).min(axis=2) / PEAK_WIDTH) ** 2)
    if interval.shape[1] == 0:
        return np.concatenate([bump[..., None], np.full((*bump.shape, TOKEN_TARGETS - 1), np.nan)], axis=2)
    passed = ((away >= 0) & np.isfinite(away)).sum(axis=2)  # number of beats at or before the token
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
    return np.stack([bump, *(np.where(known, value, np.nan) for value, known in parts)], axis=2)
