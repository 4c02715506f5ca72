"""Where the heart beats in recordings without labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data import Recordings
from ecgtune.errors import SettingError

MOST = 40  # beats of a crop that are looked at


@dataclass(frozen=True)
class Beats:
    """R peaks, rising, in samples of the recordings' whole map."""

    position: NDArray[np.int64]

    def within(
        self, start: NDArray[np.float64], factor: NDArray[np.float64], samples: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The beats inside crops: their places (crops, beats) in samples of the crop, and which entries are beats.

        A crop of `samples` samples begins at `start` of the map and steps by `factor` (see `crops.Places`). A crop's
        beats fill its row from the left; beyond the first `MOST` they are left out.
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

    Makowski et al. 2021 (doi:10.3758/s13428-020-01516-y). A recording in which it finds nothing has no beats. Raises
    SettingError when neurokit2 is not installed.
    """
    try:
        import neurokit2
    except ImportError:
        raise SettingError(
            "rhythm targets need a beat detector that is not installed; type: pip install 'ecgtune[pretrain]', or set "
            "rhythm = 0"
        ) from None
    found: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    rate: Any = recordings.sampling_rate  # any number will do, though the detector's hints speak of whole ones
    for row in sorted(rows):
        first, last = recordings.offset[row], recordings.offset[row + 1]
        signal = np.asarray(recordings.samples[0, first:last], np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about means of nothing, where a recording holds no beats
            try:
                cleaned = neurokit2.ecg_clean(signal, sampling_rate=rate)
                peaks = neurokit2.ecg_peaks(cleaned, sampling_rate=rate)[1]["ECG_R_Peaks"]
            except (ValueError, IndexError, ZeroDivisionError):  # what it raises when there is nothing to find
                continue
        found.append(first + np.asarray(peaks, np.int64))
    return Beats(np.concatenate(found))
