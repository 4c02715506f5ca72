"""R peaks of recordings without labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import RunError, SettingError
from ecgtune.io.recordings import Recordings
from ecgtune.training.inference import read_rows, write_rows
from ecgtune.utils.cache import cache_folder, cache_key, unwritable
from ecgtune.utils.files import system_error

DETECTOR = "neurokit2"
FORMAT = 1  # increase it when the stored values or the call of the detector change
MAX_BEATS = 40  # beats per crop; later ones are ignored


@dataclass(frozen=True)
class Beats:
    """Positions of R peaks in ascending order, in samples of the concatenated recordings."""

    position: NDArray[np.int64]

    def within(
        self, start: NDArray[np.float64], factor: NDArray[np.float64], samples: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the positions (crops, beats) of the beats in samples of their crop, and a mask of valid entries.

        A crop of `samples` samples begins at `start` of the concatenated recordings with step `factor` (see
        `crops.CropPositions`). Its beats are left-aligned in its row, at most `MAX_BEATS`.
        """
        first = np.searchsorted(self.position, start)
        last = np.searchsorted(self.position, start + factor * (samples - 1), side="right")
        count = np.minimum(last - first, MAX_BEATS)
        number = np.arange(max(1, int(count.max(initial=0))))
        present = number < count[:, None]
        index = np.minimum(first[:, None] + number, max(0, len(self.position) - 1))
        if not len(self.position):
            return np.zeros(present.shape), present
        position = (self.position[index] - start[:, None]) / factor[:, None]
        return np.where(present, position, 0.0), present


def find_beats(recordings: Recordings, rows: Iterable[int]) -> Beats:
    """Detect R peaks in the first lead of recordings `rows` with the default detector of neurokit2.

    Makowski et al. 2021 (doi:10.3758/s13428-020-01516-y). The result is cached by samples, sampling rate, detector and
    its version. Raises SettingError when neurokit2 is not installed, DataError when the cache folder cannot be written.
    """
    if find_spec(DETECTOR) is None:
        raise SettingError(
            "rhythm targets need a beat detector that is not installed; type: pip install 'ecgtune[pretrain]', or set "
            "rhythm = 0"
        )
    rows = sorted(rows)
    facts = [FORMAT, DETECTOR, version(DETECTOR), recordings.sampling_rate]
    file = cache_folder() / f"beats-{cache_key(facts, _inputs(recordings, rows), digits=24)}.npy"
    position = _cached(file)
    if position is None:
        position = _detect(recordings, rows)
        try:
            write_rows(file, iter([position]), len(position))
        except RunError as error:
            raise unwritable(file.parent, system_error(error) or OSError(str(error))) from None
    return Beats(position)


def _inputs(recordings: Recordings, rows: Sequence[int]) -> Iterator[Any]:
    """Yield the inputs of the detection as buffers."""
    for row in rows:
        first, last = recordings.offset[row], recordings.offset[row + 1]
        yield np.array([first, last], np.int64).data
        yield np.ascontiguousarray(recordings.samples[0, first:last]).data


def _cached(file: Path) -> NDArray[np.int64] | None:
    """Return the cached result, None if it is missing or damaged."""
    position = read_rows(file)
    return position if position is not None and position.dtype == np.int64 and position.ndim == 1 else None


def _detect(recordings: Recordings, rows: Sequence[int]) -> NDArray[np.int64]:
    import neurokit2

    found: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    rate: Any = recordings.sampling_rate  # annotated as int, but any number is accepted
    for row in rows:
        first, last = recordings.offset[row], recordings.offset[row + 1]
        signal = np.asarray(recordings.samples[0, first:last], np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # means of empty arrays, in recordings without beats
            try:
                cleaned = neurokit2.ecg_clean(signal, sampling_rate=rate)
                peaks = neurokit2.ecg_peaks(cleaned, sampling_rate=rate)[1]["ECG_R_Peaks"]
            except (ValueError, IndexError, ZeroDivisionError):  # raised in recordings without beats
                continue
        found.append(first + np.asarray(peaks, np.int64))
    return np.concatenate(found)
