"""Selection of recordings, and crops of an epoch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.augmentation import read_at
from ecgtune.data.sampling import generator
from ecgtune.data.signal.filters import zscore
from ecgtune.data.signal.steps import Step, run_steps
from ecgtune.errors import DataError
from ecgtune.io.matching import match_recordings
from ecgtune.io.recordings import Recordings
from ecgtune.recipes.pretraining import Crops, Pretraining
from ecgtune.utils.formatting import counted

NOT_USED = ("left_out", "short", "flat", "clipped")
AUGMENTATION, SELECTION = 1, 2  # keys of separate random generators


@dataclass(frozen=True)
class Selection:
    """Use of each recording: "train", "val", or the reason of `NOT_USED` why it is not used."""

    use: NDArray[np.str_]

    @property
    def train(self) -> NDArray[np.int64]:
        """Indices of the training recordings."""
        return np.flatnonzero(self.use == "train")

    @property
    def val(self) -> NDArray[np.int64]:
        """Indices of the recordings of the validation loss."""
        return np.flatnonzero(self.use == "val")

    @property
    def counts(self) -> dict[str, int]:
        """Number of recordings of each use."""
        return {use: int((self.use == use).sum()) for use in ("train", "val", *NOT_USED)}

    def sentence(self) -> str:
        count = {use: f"{number:,}" for use, number in self.counts.items()}
        return (
            f"{counted(len(self.use), 'recording')}: {count['left_out']} left out, {count['short']} shorter than a "
            "crop, "
            f"{count['flat']} flat, {count['clipped']} clipped; {count['train']} for training and "
            f"{count['val']} for validation"
        )


def select(recordings: Recordings, leave_out: Collection[str], samples: int, settings: Crops) -> Selection:
    """Split the recordings of at least `samples` samples, without those named in `leave_out`.

    A recording is excluded for the first reason that applies. Raises DataError if fewer than two remain, or if
    `leave_out` is not empty and names none of the recordings.
    """
    known = dict.fromkeys(recordings.record.tolist())
    named = match_recordings(sorted(leave_out), known, recordings.source.path, several=True).identifier
    out = np.isin(recordings.record, np.array([name for name in named if name is not None], dtype=np.str_))
    if leave_out and not out.any():
        raise DataError(
            f"{recordings.source.path}: none of its recordings ({recordings.record[0]}, ...) is among the "
            f"{len(leave_out)} to leave out ({min(leave_out)}, ...); give a file of windows of the same recordings"
        )
    reasons = (out, recordings.length < samples, recordings.flat, recordings.clipped)
    use = np.select(reasons, NOT_USED, default="train")
    usable = np.flatnonzero(use == "train")
    if len(usable) < 2:
        counts = Selection(use).counts
        raise DataError(
            f"{recordings.source.path}: {counted(len(usable), 'recording')} usable, but 2 or more are needed; "
            f"of {len(use)}, "
            + ", ".join(f"{counts[reason]} {reason.replace('_', ' ')}" for reason in NOT_USED)
            + f" (a crop has {samples} samples, {samples / recordings.sampling_rate:g} s)"
        )
    held = min(max(1, round(settings.val_fraction * len(usable))), len(usable) - 1)
    use[generator(SELECTION, settings.val_seed).permutation(usable)[:held]] = "val"
    return Selection(use)


@dataclass(frozen=True)
class CropPositions:
    """Positions of crops: `owner`, the recording; `start`, first sample in the concatenated recordings; `factor`, step.

    A step of 1 is the sampling rate of the recordings; other steps stretch the crop in time.
    """

    owner: NDArray[np.int64]
    start: NDArray[np.float64]
    factor: NDArray[np.float64]


@dataclass(frozen=True)
class CropShape:
    """Windows of recordings that an encoder takes.

    sampling_rate: of the recordings in Hz. samples: of a window, at that rate. places: masked as a whole, one for
    each token of a row. steps: of the encoder's preset, run on each window; without any, windows
    are z-scored per lead.
    """

    sampling_rate: float
    samples: int
    places: int
    steps: tuple[Step, ...] = ()

    @property
    def amplitude_matters(self) -> bool:
        """Whether the inputs are in millivolts."""
        return bool(self.steps) and not any(step.scale_free for step in self.steps)

    def inputs(self, crops: NDArray[np.float32], segments: int) -> NDArray[np.float32]:
        """Crops (items, leads, segments * samples) -> inputs of the encoder (items * segments, leads, samples)."""
        if not self.steps:
            return normalised(crops, segments)
        windows = _windows(crops, segments).astype(np.float64)
        return np.asarray(run_steps(self.steps, windows, self.sampling_rate), np.float32)

    def example(self, leads: int) -> NDArray[np.float32]:
        """One input of the encoder, of a constant signal."""
        return self.inputs(np.zeros((1, leads, self.samples), np.float32), 1)


def crop_shape(recipe: Pretraining) -> CropShape:
    """Return the windows of an encoder of the recipe's sizes; whole tokens."""
    token, rate = recipe.encoder.samples_per_token, recipe.encoder.sampling_rate
    places = round(recipe.crops.window_seconds * rate) // token
    return CropShape(rate, places * token, places)


def count_crops(recordings: Recordings, rows: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
    """Return the recording of each crop of an epoch; a recording has as many crops as fit into it without overlap."""
    return np.repeat(rows, recordings.length[rows] // samples)


def random_positions(
    recordings: Recordings, owner: NDArray[np.int64], samples: int, stretch: float, seed: int, epoch: int
) -> CropPositions:
    """Return random positions of all crops of an epoch, a function of seed and epoch."""
    rng = generator(seed, epoch)
    longest = (recordings.length[owner] - 1) / max(1, samples - 1)
    factor = np.minimum(1 + stretch * rng.uniform(-1, 1, len(owner)), longest)
    last = recordings.length[owner] - 1 - factor * (samples - 1)
    start = rng.random(len(owner)) * np.maximum(last, 0)
    if stretch == 0:
        start = np.rint(start)
    return CropPositions(owner, (recordings.offset[owner] + start).astype(np.float64), factor)


def fixed_positions(recordings: Recordings, owner: NDArray[np.int64], samples: int) -> CropPositions:
    """Return adjacent crops from the start of each recording, for validation. `owner` is a result of `count_crops`."""
    first = np.concatenate([[True], owner[1:] != owner[:-1]])
    number = np.arange(len(owner)) - np.maximum.accumulate(np.where(first, np.arange(len(owner)), 0))
    start = (recordings.offset[owner] + number * samples).astype(np.float64)
    return CropPositions(owner, start, np.ones(len(owner)))


def cut(
    recordings: Recordings, positions: CropPositions, items: NDArray[np.int64], samples: int
) -> NDArray[np.float32]:
    """Return the crops (items, leads, samples) in the unit of the recordings; stretched crops are interpolated."""
    position = positions.start[items, None] + positions.factor[items, None] * np.arange(samples)
    return read_at(np.asarray(recordings.samples), position)


def normalised(crops: NDArray[np.float32], segments: int) -> NDArray[np.float32]:
    """Split crops (items, leads, segments * samples) into (items * segments, leads, samples), z-scored per lead."""
    return np.asarray(zscore(_windows(crops, segments)), np.float32)


def _windows(crops: NDArray[np.float32], segments: int) -> NDArray[np.float32]:
    items, leads, samples = crops.shape
    windows = crops.reshape(items, leads, segments, samples // segments).transpose(0, 2, 1, 3)
    return windows.reshape(items * segments, leads, samples // segments)
