"""One recording as a NumPy array or archive.

.npy: (samples,) or (leads, samples); the rate, the unit and the names of several leads are the caller's to tell.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ecgtune.data.formats.base import (
    Reader,
    ReadOptions,
    Recording,
    check_size,
    millivolts,
    rate,
    recording,
    wanted_leads,
)
from ecgtune.errors import DataError


def read_npy(path: Path, options: ReadOptions) -> Recording:
    """A bare array; see the module."""
    signal = np.load(path, mmap_mode="r", allow_pickle=False)
    if signal.dtype.kind not in "iuf" or signal.ndim not in (1, 2):
        raise DataError(f"{path}: holds {signal.dtype} of shape {signal.shape}; numbers (leads, samples) are needed")
    signal = np.atleast_2d(signal)
    check_size(path, *signal.shape, options)
    leads = wanted_leads(path, [None] * len(signal), options)
    factor = millivolts(path, None, options)
    return recording(path, signal[list(leads.values())] * factor, list(leads), rate(path, None, options))


NPY = Reader("NPY", (".npy",), read_npy)
