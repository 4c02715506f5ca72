"""One recording in an HDF5 file, through h5py.

The convention: a dataset `signal`, (leads, samples) or (samples,), and as attributes of it, or of the file,
`sampling_rate` or `fs` (Hz), `leads` (names in the order of the rows) and `unit`. HDF5 has no field's standard for ECG.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ecgtune.data.formats.arrays import Facts, array_recording, one_number, one_text, texts
from ecgtune.data.formats.base import Reader, ReadOptions, Recording, missing
from ecgtune.errors import DataError

RATE_KEYS = ("sampling_rate", "fs")
FACT_VALUES = 1000  # of an attribute
T = TypeVar("T")


def read_hdf5(path: Path, options: ReadOptions) -> Recording:
    """Read a file; see the module. Data that lie in another file are refused: a recording is one file."""
    try:
        import h5py
    except ImportError:
        raise missing("h5py", "hdf5", path) from None

    with path.open("rb"):  # a file that is not there is told from one that is damaged
        pass
    with h5py.File(path, "r", locking=False) as file:
        link = file.get("signal", getlink=True)
        if not isinstance(link, h5py.HardLink):
            has = ", ".join(sorted(map(str, file))[:12])[:200] or "nothing"
            raise DataError(f"{path}: has no dataset 'signal' (leads, samples) of its own; it has: {has}")
        signal = file["signal"]
        if not isinstance(signal, h5py.Dataset) or signal.shape is None:
            raise DataError(f"{path}: 'signal' is no dataset of numbers; one of shape (leads, samples) is needed")
        if signal.is_virtual or signal.external:
            raise DataError(f"{path}: the samples of 'signal' lie in other files; write them into this one")
        owners = (signal, file)
        facts = Facts(
            _attribute(path, owners, RATE_KEYS, one_number),
            _attribute(path, owners, ("unit",), one_text),
            _attribute(path, owners, ("leads",), texts),
        )
        return array_recording(path, signal.shape, signal.dtype, lambda: signal[()], facts, options)


def _attribute(
    path: Path, owners: tuple[Any, ...], keys: tuple[str, ...], convert: Callable[[Path, str, Any], T]
) -> T | None:
    """The first of the attributes that there is, of the dataset before the file."""
    for owner in owners:
        for key in keys:
            if key in owner.attrs:
                if owner.attrs.get_id(key).get_space().get_simple_extent_npoints() > FACT_VALUES:
                    raise DataError(f"{path}: its attribute {key!r} has over {FACT_VALUES} values; it is damaged")
                return convert(path, key, owner.attrs[key])
    return None


HDF5 = Reader("HDF5", (".h5", ".hdf5"), read_hdf5)
