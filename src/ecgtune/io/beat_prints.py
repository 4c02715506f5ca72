"""Files of fingerprints, and fingerprints of files of windows and of recordings."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.beat_prints import RATE, BeatPrints, beat_prints
from ecgtune.data.leads import channel_of
from ecgtune.data.near_duplicates import compared_lead
from ecgtune.errors import DataError
from ecgtune.io.readers.base import ReadOptions, WindowColumns, stated_rate
from ecgtune.io.recordings import read_recordings
from ecgtune.io.window_files import read_cached
from ecgtune.utils.archives import open_zip
from ecgtune.utils.files import write_atomically
from ecgtune.utils.stored import read_packed

#: File of the fingerprints of an encoder's pretraining, in the folder of its weights.
PRETRAINING = "pretraining.beats.npz"
_KEY = "ecgtune_beat_prints.npy"


def is_prints(path: Path) -> bool:
    """Whether a file holds fingerprints."""
    try:
        with open_zip(path) as archive:
            return _KEY in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def write_prints(path: Path, prints: BeatPrints) -> None:
    """Write a file of fingerprints."""
    content = prints.packed()

    def write(partial: Path) -> None:
        partial.write_bytes(content)

    write_atomically(path, write)


def read_prints(path: Path) -> BeatPrints:
    """Read a file of fingerprints. Raises DataError for a damaged one."""
    return read_packed(path, BeatPrints.unpacked, "write it again: ecgtune data fingerprint", DataError)


def prints_of(path: Path, *, lead: str | None = None, options: ReadOptions | None = None) -> BeatPrints:
    """Return the fingerprints of a file of windows, of recordings as for `ecgtune pretrain`, or in a file of them.

    lead: that is compared; II, else I, else the first when not given. Raises DataError for files that cannot be used.
    """
    options = options or ReadOptions()
    if path.is_file() and is_prints(path):
        return read_prints(path)
    if path.is_dir() or _holds_recordings(path):
        pool = read_recordings(path, sampling_rate=RATE, options=options)
        row = _channel(path, pool.leads, lead)
        bounds = zip(pool.offset[:-1].tolist(), pool.offset[1:].tolist(), strict=True)
        return beat_prints([pool.samples[row, start:stop] for start, stop in bounds], RATE, pool.record.tolist())
    columns = WindowColumns(labelled=False, lead_names=options.lead_names, layout=options.layout)
    contents = read_cached(path, columns, options.unit)
    parsed = contents.parsed
    rate = stated_rate(path, parsed.sampling_rate, options.sampling_rate)
    if parsed.leads is None and lead is not None and contents.signal.shape[1] > 1:
        raise DataError(f"{path}: does not name its leads, so {lead} is not known; name them with --lead-names")
    row = 0 if parsed.leads is None else _channel(path, parsed.leads, lead)
    names = np.arange(len(contents.signal)).astype(str) if parsed.group is None else parsed.group
    return windows_prints(contents.signal, row, rate, names)


def windows_prints(
    signal: NDArray[np.float32], channel: int, sampling_rate: float, names: NDArray[np.str_]
) -> BeatPrints:
    """Return the fingerprint of each window of (windows, leads, samples)."""
    return beat_prints([window[channel] for window in signal], sampling_rate, names.tolist())


def _holds_recordings(path: Path) -> bool:
    """Whether an archive holds whole recordings one after the other."""
    try:
        with open_zip(path) as archive:
            return "offset.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _channel(path: Path, leads: Sequence[str], lead: str | None) -> int:
    return compared_lead(leads) if lead is None else channel_of(path, leads, lead)
