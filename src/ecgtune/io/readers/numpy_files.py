"""One recording as a NumPy array or archive.

`.npy`: (samples,) or (leads, samples); rate, unit and the names of several leads are the caller's to tell.
`.npz`: the same as `signal`, and what the file knows of `sampling_rate` or `fs` (Hz), `leads`, `unit`. Only the headers
are believed before their sizes were held against the file, and pickles are never touched.
"""

from __future__ import annotations

import zipfile
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.readers.arrays import Facts, array_recording, one_number, one_text, texts
from ecgtune.io.readers.base import Reader, ReadOptions, Recording

RATE_KEYS = ("sampling_rate", "fs")
FACT_BYTES = 1 << 16  # of an array beside the signal


def read_npy(path: Path, options: ReadOptions) -> Recording:
    """Read a bare array; see the module."""
    with path.open("rb") as file:
        shape, _, dtype = _array_header(path, file)
        if prod(shape) * dtype.itemsize > path.stat().st_size - file.tell():
            raise DataError(f"{path}: promises shape {shape}, but ends before; it was cut short, copy it again")
    load = lambda: np.load(path, mmap_mode="r", allow_pickle=False)  # noqa: E731
    return array_recording(path, shape, dtype, load, Facts(), options)


def read_npz(path: Path, options: ReadOptions) -> Recording:
    """Read an archive; see the module."""
    with zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
        if "signal" not in members:
            has = ", ".join(sorted(members)[:12])[:200] or "none"
            raise DataError(f"{path}: has no array 'signal' (leads, samples); its arrays: {has}")
        rates = {key: one_number(path, key, _fact(path, archive, key)) for key in RATE_KEYS if key in members}
        if len(set(rates.values())) > 1:
            raise DataError(f"{path}: says two sampling rates, {rates}; leave the wrong one out of the file")
        facts = Facts(
            next(iter(rates.values()), None),
            one_text(path, "unit", _fact(path, archive, "unit")) if "unit" in members else None,
            texts(path, "leads", _fact(path, archive, "leads")) if "leads" in members else None,
        )
        shape, dtype = _checked_member(path, archive, "signal")
        return array_recording(path, shape, dtype, lambda: _read(archive, "signal"), facts, options)


def _array_header(path: Path, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise DataError(f"{path}: array format {version[0]}.{version[1]} is only used for records of named fields")
    shape, fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
    if dtype.hasobject:
        raise DataError(f"{path}: holds pickled Python objects, which can run any code; save numbers or text")
    return shape, fortran, dtype


def _checked_member(path: Path, archive: zipfile.ZipFile, key: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of one array, held against the size of its member."""
    with archive.open(f"{key}.npy") as file:
        shape, _, dtype = _array_header(path, file)
        if file.tell() + prod(shape) * dtype.itemsize != archive.getinfo(f"{key}.npy").file_size:
            raise DataError(f"{path}: {key!r} should have shape {shape}, but has other data; write it again")
    return shape, dtype


def _fact(path: Path, archive: zipfile.ZipFile, key: str) -> NDArray:
    shape, dtype = _checked_member(path, archive, key)
    if prod(shape) * dtype.itemsize > FACT_BYTES:
        raise DataError(f"{path}: {key!r} has shape {shape}; a few short values are needed")
    return _read(archive, key)


def _read(archive: zipfile.ZipFile, key: str) -> NDArray:
    with archive.open(f"{key}.npy") as file:
        return npy.read_array(file, allow_pickle=False)


NPY = Reader("a NumPy array", (".npy",), read_npy)
NPZ = Reader("a NumPy archive", (".npz",), read_npz)
