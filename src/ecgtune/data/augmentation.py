"""Random changes of signals, for fine-tuning and pretraining.

All draws of an epoch are made at once, from a generator that depends on seed and epoch. They depend neither on batches
nor on the number of processes, and a resumed training repeats them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.augmentation import Augmentation
from ecgtune.data.sampling import generator
from ecgtune.data.signal.filters import zscore
from ecgtune.errors import SettingError

NOISE_SAMPLES = 1 << 18  # of one strip per epoch, which each item reads from another position
GAIN_HZ, WANDER_HZ = (0.1, 0.5), (0.05, 0.5)  # breathing; slower than a heart
POSITIONS, DISTURBANCE = 4, 5  # so that different draws never come from the same generator


class Disturbed(Protocol):
    """The settings that `Disturbance` reads, of `Augmentation` and of a pretraining's `Crops`."""

    @property
    def gain(self) -> float: ...

    @property
    def wander(self) -> float: ...

    @property
    def noise(self) -> float: ...


class Disturbance:
    """Respiratory amplitude modulation, baseline wander and noise for the `items` of one epoch."""

    def __init__(self, settings: Disturbed, items: int, rng: np.random.Generator) -> None:
        self._on = settings.gain > 0 or settings.wander > 0 or settings.noise > 0
        self._gain = _waves(rng, items, settings.gain, GAIN_HZ)
        self._wander = _waves(rng, items, settings.wander, WANDER_HZ)
        self._noise = settings.noise * rng.random(items)
        self._place = rng.random(items)
        self._strip = rng.standard_normal(NOISE_SAMPLES, dtype=np.float32) if settings.noise > 0 else None

    def __call__(
        self, signal: NDArray[np.float32], items: NDArray[np.int64], sampling_rate: float
    ) -> NDArray[np.float32]:
        """Return the changed signal (items, leads, samples), z-scored before; items: their numbers in the epoch."""
        if not self._on:
            return signal
        seconds = np.arange(signal.shape[-1]) / sampling_rate
        changed = signal * (1 + _wave(self._gain, items, seconds)) + _wave(self._wander, items, seconds)
        if self._strip is not None:
            first = (self._place[items] * len(self._strip)).astype(np.int64)
            index = (first[:, None] + np.arange(changed[0].size)) % len(self._strip)
            changed = changed + self._strip[index].reshape(changed.shape) * self._noise[items, None, None]
        return changed.astype(np.float32)


def read_at(whole: NDArray[np.number], position: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return `whole` (leads, samples) at `position` (items, n), 0 to samples - 1: (items, leads, n).

    Linear interpolation when one of the positions is not whole.
    """
    left = position.astype(np.int64)
    if (position == left).all():
        return np.ascontiguousarray(whole[:, left].transpose(1, 0, 2), dtype=np.float32)
    weight = (position - left).astype(np.float32)
    right = np.minimum(left + 1, whole.shape[1] - 1)  # read with weight 0 at the last sample
    values = whole[:, left] * (1 - weight) + whole[:, right] * weight
    return np.ascontiguousarray(values.transpose(1, 0, 2), dtype=np.float32)


class WindowAugmentation:
    """Augmentation of the `windows` training windows of a fine-tuning, of `leads` leads at `sampling_rate` Hz.

    normalise: the windows are z-scored, and are so again afterwards. Otherwise each lead keeps its mean and standard
    deviation, and wander and noise are in units of the latter. scale: what follows, from windows in millivolts to
    inputs of the encoder (`Preprocessing.at_scaling`); None where nothing does. Raises SettingError for a
    lead mask of one lead.
    """

    def __init__(
        self,
        settings: Augmentation,
        *,
        windows: int,
        leads: int,
        sampling_rate: float,
        normalise: bool,
        scale: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None,
    ) -> None:
        if settings.lead_mask > 0 and leads == 1:
            raise SettingError(f"lead_mask is {settings.lead_mask}, but the only lead of a window stays; leave it out")
        self._settings, self._windows, self._leads = settings, windows, leads
        self._sampling_rate, self._normalise, self.scale = sampling_rate, normalise, scale
        self._draws: tuple[int, int, _Draws] | None = None

    def __call__(
        self, signal: NDArray[np.float32], rows: NDArray[np.int64], seed: int, epoch: int
    ) -> NDArray[np.float32]:
        """Return the training windows `rows`, signal (rows, leads, samples), as augmented in this epoch.

        A function of windows, rows, seed and epoch. The result has `cropped_samples` samples, before `scale`.
        """
        draws, scaled = self._of_epoch(seed, epoch), set(self._settings.acting) - {"polarity_flip", "lead_mask"}
        if scaled:
            mean, deviation = (0.0, 1.0) if self._normalise else _moments(signal)
            level = signal if self._normalise else zscore(signal)
            level = draws.disturb(self._moved(level, rows, draws), rows, self._sampling_rate)
            signal = zscore(level) if self._normalise else level * deviation + mean
        signal = np.asarray(signal * draws.factor[rows, :, None], np.float32)
        return signal if self.scale is None else self.scale(signal)

    def _of_epoch(self, seed: int, epoch: int) -> _Draws:
        if self._draws is None or self._draws[:2] != (seed, epoch):
            self._draws = (seed, epoch, _Draws(self._settings, self._windows, self._leads, seed, epoch))
        return self._draws[2]

    def _moved(self, signal: NDArray[np.float32], rows: NDArray[np.int64], draws: _Draws) -> NDArray[np.float32]:
        """Shift, crop and stretch. The windows are z-scored, so samples outside of them are 0, their mean."""
        settings, (count, leads, samples) = self._settings, signal.shape
        if not (settings.shift or settings.time_stretch or settings.crop < 1):
            return signal
        length = cropped_samples(settings, samples)
        speed = draws.speed[rows]
        # A window that is sped up beyond its length leaves a gap at a random end.
        start = draws.place[rows] * (samples - 1 - speed * (length - 1)) + draws.shift[rows] * samples
        if settings.time_stretch == 0:
            start = np.rint(start)
        position = start[:, None] + speed[:, None] * np.arange(length)
        inside = (position >= 0) & (position <= samples - 1)
        whole = signal.transpose(1, 0, 2).reshape(leads, count * samples)
        first = samples * np.arange(count)[:, None]
        return read_at(whole, np.clip(position, 0, samples - 1) + first) * inside[:, None]


def cropped_samples(settings: Augmentation, samples: int) -> int:
    """Return how many of its `samples` a training window keeps, 1 or more."""
    return max(1, round(settings.crop * samples))


class _Draws:
    """The draws of one epoch, arrays over the windows.

    shift: fraction of the window. speed: samples per step. place: of a crop, 0 to 1. factor: (windows, leads), -1 where
    the window is inverted, 0 where the lead is masked, else 1.
    """

    def __init__(self, settings: Augmentation, windows: int, leads: int, seed: int, epoch: int) -> None:
        rng = generator(seed, epoch, POSITIONS)
        self.shift = settings.shift * rng.uniform(-1, 1, windows)
        self.speed = 1 + settings.time_stretch * rng.uniform(-1, 1, windows)
        self.place = rng.random(windows)
        inverted = rng.random((windows, 1)) < settings.polarity_flip
        luck = rng.random((windows, leads))
        kept = (luck >= settings.lead_mask) | (luck == luck.max(axis=1, keepdims=True))
        self.factor = (np.where(inverted, -1, 1) * kept).astype(np.float32)
        self.disturb = Disturbance(settings, windows, generator(seed, epoch, DISTURBANCE))


def _moments(signal: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of each lead of each window."""
    return signal.mean(axis=-1, keepdims=True), signal.std(axis=-1, keepdims=True)


def _waves(rng: np.random.Generator, items: int, largest: float, hertz: tuple[float, float]) -> NDArray[np.float64]:
    """Draw (3, items): amplitude in [0, largest], frequency in `hertz`, phase."""
    return np.stack([largest * rng.random(items), rng.uniform(*hertz, items), rng.uniform(0, 2 * np.pi, items)])


def _wave(waves: NDArray[np.float64], items: NDArray[np.int64], seconds: NDArray[np.float64]) -> NDArray[np.float32]:
    amplitude, hertz, phase = waves[:, items, None, None]
    return (amplitude * np.sin(2 * np.pi * hertz * seconds + phase)).astype(np.float32)
