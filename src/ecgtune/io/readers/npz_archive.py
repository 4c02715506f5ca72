"""NPZ archives, array by array.

A header that promises more than its member holds is refused before any memory is taken, and pickled objects are never
loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.readers.bounded import as_text, check_unpacked
from ecgtune.io.readers.csv_dialect import workbook_error
from ecgtune.text import shown
from ecgtune.utils.archives import open_zip
from ecgtune.utils.files import open_file
from ecgtune.utils.formatting import counted, listed

RATE_KEYS = ("sampling_rate", "fs")
ARCHIVE = "an NPZ archive"
_WORKBOOK = {"[Content_Types].xml", "content.xml"}  # files inside .xlsx and .ods
_MOST_STREAMS = 64  # leads of an archive of recordings
_FACT_BYTES = 1 << 16  # of an array that holds facts
NEEDED = "arrays 'signal' (windows, samples) or (windows, leads, samples) and 'label' (windows,) are needed"


@dataclass(frozen=True)
class ArrayHeader:
    """Header of one array, checked against the size of its data."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool

    @property
    def bytes(self) -> int:
        """Size of the data."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class ArrayFacts:
    """Facts that a file states beside its signal; None where it states none."""

    sampling_rate: float | None = None
    unit: str | None = None
    leads: tuple[str, ...] | None = None


def read_header(path: Path, key: str, file: IO[bytes], size: int) -> ArrayHeader:
    """Read the header of the array `key` in `size` bytes. Raises DataError for objects, records and wrong sizes."""
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise DataError(f"{path}: '{key}' has array format {version[0]}.{version[1]}; plain numbers or text are needed")
    shape, fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
    if dtype.hasobject:
        raise DataError(
            f"{path}: '{key}' holds pickled Python objects, which are refused because loading them can run any code;"
            f" save it as numbers or text, e.g. {key}.astype(str)"
        )
    if dtype.names is not None or dtype.kind in "VmM" or dtype.itemsize == 0:
        raise DataError(f"{path}: '{key}' holds {dtype}; plain numbers or text are needed")
    header = ArrayHeader(shape, dtype, fortran)
    if min(shape, default=0) < 0 or file.tell() + header.bytes != size:
        raise DataError(
            f"{path}: '{key}' should have shape {shape} but its data has another length; the file is damaged or was"
            " cut short, write it again"
        )
    return header


class Archive:
    """The arrays of an NPZ archive, read one by one. Raises DataError for a file that is none."""

    def __init__(self, path: Path) -> None:
        with open_file(path) as file:
            start = file.read(6)
        how = "write it again with numpy.savez(path, signal=..., label=...)"
        if start.startswith(b"\x93NUMPY"):
            raise DataError(f"{path}: is one bare array, not an NPZ archive; {NEEDED}, {how}")
        if start.startswith(b"\x80"):
            raise DataError(f"{path}: is a Python pickle, which is refused because loading it can run any code; {how}")
        self.path, self.size = path, path.stat().st_size
        self._zip = open_zip(path)
        if _WORKBOOK & set(self._zip.namelist()):
            raise workbook_error(path)
        self.keys = {name.removesuffix(".npy") for name in self._zip.namelist() if name.endswith(".npy")}

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def __contains__(self, key: str) -> bool:
        return key in self.keys

    def first_of(self, keys: tuple[str, ...]) -> str | None:
        """Return the first of `keys` that the archive has."""
        return next((key for key in keys if key in self.keys), None)

    def listed(self) -> str:
        """Return the names of the arrays for a message."""
        return listed([shown(name) for name in sorted(self.keys)] or ["no array"])

    @contextmanager
    def _open(self, key: str) -> Iterator[tuple[IO[bytes], ArrayHeader]]:
        name = f"{key}.npy"
        info = self._zip.getinfo(name)
        check_unpacked(self.path, info.file_size, info.compress_size)
        with self._zip.open(name) as file:
            yield file, read_header(self.path, key, file, info.file_size)
            file.read(1)  # at the end of a member its checksum is compared

    def header(self, key: str) -> ArrayHeader:
        """Return the header of an array."""
        with self._open(key) as (_, header):
            return header

    def read(self, key: str, most: int | None = None) -> NDArray:
        """Return a whole array of at most `most` bytes."""
        with self._open(key) as (file, header):
            if most is not None and header.bytes > most:
                raise DataError(f"{self.path}: '{key}' has shape {header.shape}; a few short values are needed")
            return _take(file, header, header.shape)

    def blocks(self, key: str, rows: int) -> Iterator[NDArray]:
        """Yield an array in blocks of `rows` along its first axis."""
        with self._open(key) as (file, header):
            whole = _take(file, header, header.shape) if header.fortran else None  # its rows are not contiguous
            for first in range(0, header.shape[0], rows):
                count = min(rows, header.shape[0] - first)
                yield _take(file, header, (count, *header.shape[1:])) if whole is None else whole[first : first + count]

    def parts(self, key: str, offset: NDArray[np.int64]) -> Iterator[NDArray]:
        """Yield the parts `offset[i]` to `offset[i + 1]` of an array (samples,) or (leads, samples): (leads, part).

        A part at a time is in memory: each lead is read by a stream of its own. Raises DataError for another array.
        """
        with ExitStack() as stack:
            file, header = stack.enter_context(self._open(key))
            leads, samples = prod(header.shape[:-1]), header.shape[-1]
            if leads > _MOST_STREAMS:
                raise DataError(f"{self.path}: has {leads} leads; at most {_MOST_STREAMS} are read")
            if offset[-1] != samples:
                raise DataError(f"{self.path}: holds {samples} samples, but offset ends at {offset[-1]}")
            streams = [file]
            if not header.fortran:
                streams += [stack.enter_context(self._open(key))[0] for _ in range(1, leads)]
                for lead, stream in enumerate(streams):
                    stream.seek(lead * samples * header.dtype.itemsize, 1)
            for count in np.diff(offset).tolist():
                if header.fortran:
                    yield _take(file, header, (leads, count))
                else:
                    yield np.concatenate([_take(stream, header, (1, count)) for stream in streams])

    def text(self, key: str) -> NDArray[np.str_]:
        """Return an array of text or numbers as text."""
        return self.as_text(key, self.read(key))

    def as_text(self, key: str, values: NDArray) -> NDArray[np.str_]:
        """Return values of an array as text. Raises DataError for more than a file of this size may hold."""
        return as_text(self.path, key, values, self.size)

    def sampling_rate(self) -> float | None:
        """Return the sampling rate in Hz. Raises DataError for two different ones."""
        rates = {key: self._number(key) for key in RATE_KEYS if key in self}
        if len(set(rates.values())) > 1:
            stated = " but ".join(f"'{key}' {rate:g} Hz" for key, rate in rates.items())
            raise DataError(f"{self.path}: says {stated}; leave the wrong one out of the file")
        return next(iter(rates.values()), None)

    def texts(self, key: str) -> tuple[str, ...] | None:
        """Return the texts of a short array, or None when there is none. Raises DataError for other values."""
        if key not in self:
            return None
        value = self.read(key, _FACT_BYTES)
        if value.dtype.kind not in "SU":
            raise DataError(f"{self.path}: '{key}' holds {value.dtype.name}; text is needed")
        return tuple(self.as_text(key, value.ravel()).tolist())

    def facts(self) -> ArrayFacts:
        """Return rate, unit and leads. Raises DataError for values of another kind."""
        unit = self.texts("unit")
        if unit is not None and len(unit) != 1:
            raise DataError(f"{self.path}: 'unit' has {counted(len(unit), 'value')}; one is needed")
        return ArrayFacts(self.sampling_rate(), None if unit is None else unit[0], self.texts("leads"))

    def _number(self, key: str) -> float:
        value = self.read(key, _FACT_BYTES)
        if value.size != 1 or value.dtype.kind not in "iuf":
            raise DataError(
                f"{self.path}: '{key}' holds {value.dtype.name} of shape {value.shape}; one number in Hz is needed"
            )
        return float(value.reshape(())[()])


def _take(file: IO[bytes], header: ArrayHeader, shape: tuple[int, ...]) -> NDArray:
    """Read values of `shape` from the current position."""
    count = prod(shape)
    data = file.read(count * header.dtype.itemsize)
    if len(data) != count * header.dtype.itemsize:
        raise EOFError("it ends early")
    return np.frombuffer(data, header.dtype, count).reshape(shape, order="F" if header.fortran else "C")
