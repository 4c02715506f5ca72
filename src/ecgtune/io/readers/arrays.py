"""What the formats share whose signal is one array with a few facts beside it: NumPy and HDF5 files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.errors import DataError
from ecgtune.io.readers.base import ReadOptions, Recording, check_size, millivolts, rate, recording, wanted_leads


@dataclass(frozen=True)
class Facts:
    """What such a file says about itself; None where it is silent."""

    sampling_rate: float | None = None
    unit: str | None = None
    leads: tuple[str, ...] | None = None


def array_recording(
    path: Path, shape: tuple[int, ...], dtype: np.dtype, load: Callable[[], NDArray], facts: Facts, options: ReadOptions
) -> Recording:
    """A recording of the array that `load` reads, after its shape and type and everything else was found in order."""
    if dtype.kind not in "iuf" or len(shape) not in (1, 2):
        raise DataError(f"{path}: the signal is {dtype} of shape {shape}; numbers (leads, samples) are needed")
    channels, samples = shape if len(shape) == 2 else (1, shape[0])
    check_size(path, channels, samples, options)
    if facts.leads is not None and len(facts.leads) != channels:
        turned = "; leads are rows, samples are columns: turn it" if len(facts.leads) == samples else ""
        raise DataError(f"{path}: names {len(facts.leads)} leads, but the signal has shape {shape}{turned}")
    leads = wanted_leads(path, facts.leads or [None] * channels, options)
    factor = millivolts(path, facts.unit, options)
    sampling_rate = rate(path, facts.sampling_rate, options)
    with np.errstate(over="ignore", invalid="ignore"):
        rows = load().reshape(channels, samples)[list(leads.values())]
        return recording(path, rows if factor == 1 else rows * np.float64(factor), list(leads), sampling_rate)


def one_number(path: Path, key: str, value: ArrayLike) -> float:
    """The single number of an array. Raises DataError."""
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "iuf":
        raise DataError(f"{path}: {key!r} is {array.dtype} of shape {array.shape}; one number is needed")
    return float(array.reshape(())[()])


def texts(path: Path, key: str, value: ArrayLike) -> tuple[str, ...]:
    """An array of text, or of UTF-8 bytes, as strings. Raises DataError."""
    array = np.asarray(value).ravel()
    if array.dtype.kind not in "SUO":
        raise DataError(f"{path}: {key!r} is {array.dtype}; text is needed")
    return tuple(item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in array.tolist())


def one_text(path: Path, key: str, value: ArrayLike) -> str:
    """The single text of an array. Raises DataError."""
    found = texts(path, key, value)
    if len(found) != 1:
        raise DataError(f"{path}: {key!r} has {len(found)} values; one is needed")
    return found[0]
