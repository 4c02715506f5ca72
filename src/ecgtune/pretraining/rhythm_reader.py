"""Rhythm targets of crops of recordings: where beats, crops and classical signal processing meet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecgtune.io.recordings import Recordings
from ecgtune.pretraining.beats import find_beats
from ecgtune.pretraining.crops import (
    CropPositions,
    Selection,
    count_crops,
    crop_samples,
    cut,
    fixed_positions,
    normalised,
)
from ecgtune.pretraining.rhythm import Scale, Targets, rhythm_targets
from ecgtune.recipe.pretraining import Pretraining

PIECE = 1024  # crops looked at together


class RhythmReader:
    """Standardised targets of any crops of the selected recordings; their scale is that of the training recordings.

    Behind the values of a crop stand the means of the same values over its whole recording: what is told of a heart by
    other minutes of it, so that the encoder looks for what lasts, such as an absent P wave between two even beats.
    """

    def __init__(self, recordings: Recordings, selection: Selection, recipe: Pretraining) -> None:
        self._rate = recipe.encoder.sampling_rate
        self._token = 2**recipe.encoder.conv_layers
        used = np.concatenate([selection.train, selection.val])
        self._beats = find_beats(recordings, used.tolist())
        samples = crop_samples(recipe)
        positions = fixed_positions(recordings, count_crops(recordings, used, samples), samples)
        parts = []
        for rows in np.array_split(np.arange(len(positions.owner)), -(-len(positions.owner) // PIECE)):
            parts.append(self._of_crops(normalised(cut(recordings, positions, rows, samples), 1), positions, rows))
        crop = np.concatenate([part.crop for part in parts])
        self._mean = _means(crop, positions.owner, len(recordings))
        training = np.isin(positions.owner, selection.train)
        values = np.concatenate([crop, self._mean[positions.owner]], axis=1)[training]
        self._scale = Scale.of(Targets(values, np.concatenate([part.token for part in parts])[training]))

    def __call__(self, crops: NDArray[np.float32], positions: CropPositions, rows: NDArray[np.int64]) -> Targets:
        """Of the crops (items, leads, samples), z-scored, that stand at `positions` number `rows`."""
        own = self._of_crops(crops, positions, rows)
        return self._scale(Targets(np.concatenate([own.crop, self._mean[positions.owner[rows]]], axis=1), own.token))

    def _of_crops(self, crops: NDArray[np.float32], positions: CropPositions, rows: NDArray[np.int64]) -> Targets:
        beat, present = self._beats.within(positions.start[rows], positions.factor[rows], crops.shape[-1])
        return rhythm_targets(crops[:, 0], beat, present, sampling_rate=self._rate, samples_per_token=self._token)


def _means(values: NDArray[np.float32], owner: NDArray[np.int64], owners: int) -> NDArray[np.float32]:
    """(owners, values) mean of each owner's rows that are known; NaN where there is none."""
    known = ~np.isnan(values)
    total, count = np.zeros((owners, values.shape[1])), np.zeros((owners, values.shape[1]))
    np.add.at(total, owner, np.where(known, values, 0))
    np.add.at(count, owner, known)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
