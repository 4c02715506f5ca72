"""R peaks of recordings without labels."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import RunError, SettingError
from ecgtune.io.recordings import Recordings
from ecgtune.utils.cache import cache_folder, unwritable
from ecgtune.utils.files import write_atomically

DETECTOR = "neurokit2"
FORMAT = 1  # increase it when the stored values or the call of the detector change
MOST = 40  # beats of a crop that are used


@dataclass(frozen=True)
class Beats:
    """R peaks, rising, in samples of the whole map of the recordings."""

    position: NDArray[np.int64]

    def within(
        self, start: NDArray[np.float64], factor: NDArray[np.float64], samples: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Positions (crops, beats) of the beats in samples of their crop, and a mask of the entries that are beats.

        A crop of `samples` samples begins at `start` of the map and steps by `factor` (see `crops.CropPositions`). The
        beats of a crop fill its row from the left, up to `MOST`.
        """
        first = np.searchsorted(self.position, start)
        last = np.searchsorted(self.position, start + factor * (samples - 1), side="right")
        count = np.minimum(last - first, MOST)
        number = np.arange(max(1, int(count.max(initial=0))))
        present = number < count[:, None]
        index = np.minimum(first[:, None] + number, max(0, len(self.position) - 1))
        if not len(self.position):
            return np.zeros(present.shape), present
        place = (self.position[index] - start[:, None]) / factor[:, None]
        return np.where(present, place, 0.0), present


def find_beats(recordings: Recordings, rows: Iterable[int]) -> Beats:
    """R peaks in the first lead of recordings `rows`, found by neurokit2's default detector.

    Makowski et al. 2021 (doi:10.3758/s13428-020-01516-y). A recording in which it finds none has no beats. The result
    is cached by these samples, their rate, the detector and its version. Raises SettingError when neurokit2 is
    not installed, DataError when the cache folder cannot be written.
    """
    if find_spec(DETECTOR) is None:
        raise SettingError(
            "rhythm targets need a beat detector that is not installed; type: pip install 'ecgtune[pretrain]', or set "
            "rhythm = 0"
        )
    rows = sorted(rows)
    file = cache_folder() / f"beats-{_key(recordings, rows)}.npy"
    position = _kept(file)
    if position is None:
        position = _detect(recordings, rows)
        try:
            write_atomically(file, lambda partial: _store(partial, position))
        except RunError as error:
            raise unwritable(file.parent, OSError(str(error))) from None
    return Beats(position)


def _key(recordings: Recordings, rows: Sequence[int]) -> str:
    """Hash of the inputs of the detection, 24 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps([FORMAT, DETECTOR, version(DETECTOR), recordings.sampling_rate]).encode())
    for row in rows:
        first, last = recordings.offset[row], recordings.offset[row + 1]
        digest.update(np.array([first, last], np.int64).data)
        digest.update(np.ascontiguousarray(recordings.samples[0, first:last]).data)
    return digest.hexdigest()[:24]


def _kept(file: Path) -> NDArray[np.int64] | None:
    """The cached result; None if missing or damaged."""
    try:
        position = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return position if position.dtype == np.int64 and position.ndim == 1 else None


def _store(partial: Path, position: NDArray[np.int64]) -> None:
    with partial.open("wb") as file:  # numpy would add a suffix to a path
        np.save(file, position, allow_pickle=False)


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
