"""NumPy files: `.npz` archives of windows or of one recording, and `.npy` arrays of one recording.

Windows: `signal` (windows, samples) or (windows, leads, samples) and `label`, one class per window or (windows, labels)
of 0, 1 and nan or -1 (missing) with the labels' names as `classes`. A recording: `signal` (samples,) or (leads,
samples). Optional: `patient` or `record` and `split` (one value per window), `sampling_rate` or `fs` (Hz), `leads`,
`unit`.

Arrays are read one by one. A header that promises more than its member holds is refused before any memory is taken, and
pickled objects are never loaded.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.readers.base import (
    MAX_TEXT,
    PATIENT_NAMES,
    RECORD_NAMES,
    FileReader,
    ReadOptions,
    Recording,
    WindowBlock,
    WindowColumns,
    WindowHeader,
    check_size,
    group_kind,
    make_recording,
    millivolt_factor,
    one_line_errors,
    stated_rate,
    wanted_leads,
)
from ecgtune.utils.text import shown

RATE_KEYS = ("sampling_rate", "fs")
ARCHIVE = "an NPZ archive"
_FACT_BYTES = 1 << 16  # of an array that holds facts
_BLOCK_BYTES = 8 << 20
_NEEDED = "arrays 'signal' (windows, samples) or (windows, leads, samples) and 'label' (windows,) are needed"


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
        with path.open("rb") as file:
            start = file.read(6)
        how = "write it again with numpy.savez(path, signal=..., label=...)"
        if start.startswith(b"\x93NUMPY"):
            raise DataError(f"{path}: is one bare array, not an NPZ archive; {_NEEDED}, {how}")
        if start.startswith(b"\x80"):
            raise DataError(f"{path}: is a Python pickle, which is refused because loading it can run any code; {how}")
        self.path = path
        self._zip = zipfile.ZipFile(path)
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
        return ", ".join(shown(name) for name in sorted(self.keys)[:12]) or "no array"

    @contextmanager
    def _open(self, key: str) -> Iterator[tuple[IO[bytes], ArrayHeader]]:
        name = f"{key}.npy"
        with self._zip.open(name) as file:
            yield file, read_header(self.path, key, file, self._zip.getinfo(name).file_size)
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

    def text(self, key: str) -> NDArray[np.str_]:
        """Return an array of text or numbers as text."""
        return _as_text(self.path, key, self.read(key))

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
        return tuple(_as_text(self.path, key, value.ravel()).tolist())

    def facts(self) -> ArrayFacts:
        """Return rate, unit and leads. Raises DataError for values of another kind."""
        unit = self.texts("unit")
        if unit is not None and len(unit) != 1:
            raise DataError(f"{self.path}: 'unit' has {len(unit)} values; one is needed")
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


def _as_text(path: Path, key: str, values: NDArray) -> NDArray[np.str_]:
    if values.dtype.kind == "S":
        try:
            return np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: '{key}' holds bytes that are not UTF-8 text; save it as text or numbers"
            ) from error
    if values.dtype.kind not in "biufU":
        raise DataError(f"{path}: '{key}' holds {values.dtype.name}; whole numbers or text are needed")
    return values.astype(np.str_)


def read_array(path: Path) -> NDArray:
    """Return the array of a `.npy` file as a read-only memory map. Raises DataError."""
    with path.open("rb") as file:
        read_header(path, "signal", file, path.stat().st_size)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def read_npy(path: Path, options: ReadOptions) -> Recording:
    """Read a bare array as a recording."""
    array = read_array(path)
    return array_recording(path, array.shape, array.dtype, lambda: array, ArrayFacts(), options)


def read_npz(path: Path, options: ReadOptions) -> Recording:
    """Read an archive as a recording."""
    with Archive(path) as archive:
        if "signal" not in archive:
            raise DataError(f"{path}: has no array 'signal' (leads, samples); the file has: {archive.listed()}")
        header = archive.header("signal")
        return array_recording(
            path, header.shape, header.dtype, lambda: archive.read("signal"), archive.facts(), options
        )


def array_recording(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype,
    load: Callable[[], NDArray],
    facts: ArrayFacts,
    options: ReadOptions,
) -> Recording:
    """Return the recording of an array (samples,) or (leads, samples); `load` is called after all checks.

    HDF5 files use it too.
    """
    if dtype.kind not in "iuf" or len(shape) not in (1, 2):
        raise DataError(f"{path}: the signal is {dtype} of shape {shape}; numbers (leads, samples) are needed")
    channels, samples = shape if len(shape) == 2 else (1, shape[0])
    check_size(path, channels, samples, options)
    if facts.leads is not None and len(facts.leads) != channels:
        turned = "; leads are rows, samples are columns: transpose it" if len(facts.leads) == samples else ""
        raise DataError(f"{path}: names {len(facts.leads)} leads, but the signal has shape {shape}{turned}")
    leads = wanted_leads(path, facts.leads or [None] * channels, options)
    factor = millivolt_factor(path, facts.unit, options.unit)
    rate = stated_rate(path, facts.sampling_rate, options.sampling_rate)
    with np.errstate(over="ignore", invalid="ignore"):
        rows = load().reshape(channels, samples)[list(leads.values())]
        return make_recording(path, rows if factor == 1 else rows * np.float64(factor), list(leads), rate)


def open_windows(path: Path, columns: WindowColumns) -> tuple[WindowHeader, Generator[WindowBlock]]:
    """Open an archive of windows. Raises DataError."""
    with one_line_errors(path, ARCHIVE), Archive(path) as archive:
        return _open(archive, columns)


def _open(archive: Archive, columns: WindowColumns) -> tuple[WindowHeader, Generator[WindowBlock]]:
    path, label_key = archive.path, columns.label or "label"
    apart = columns.labels is not None and any(name in archive for name in columns.labels)
    label_keys = columns.labels or () if apart else (label_key,) if columns.labelled else ()
    for key in ("signal", *label_keys, *([columns.group] if columns.group else [])):
        if key not in archive:
            raise DataError(f"{path}: no array '{key}' (the file has: {archive.listed()}); {_NEEDED}")
    signal = archive.header("signal")
    if signal.dtype.kind not in "iuf":
        raise DataError(f"{path}: 'signal' holds {signal.dtype.name}, numbers (int or float) are needed")
    if len(signal.shape) not in (2, 3) or 0 in signal.shape:
        raise DataError(
            f"{path}: 'signal' has shape {signal.shape}; (windows, samples) or (windows, leads, samples)"
            " with none of them 0 is needed"
        )
    count = signal.shape[0]

    def text(key: str) -> NDArray[np.str_]:
        header = archive.header(key)
        if header.shape != (count,):
            raise DataError(
                f"{path}: '{key}' has shape {header.shape}; one value for each of the {count} windows of"
                f" 'signal', shape ({count},), is needed"
            )
        if header.dtype.itemsize > 4 * MAX_TEXT:
            raise DataError(f"{path}: '{key}' holds text of over {MAX_TEXT} characters; short identifiers are needed")
        return archive.text(key)

    names: tuple[str, ...] | None = None
    if not columns.labelled:
        label = np.zeros(count, dtype="U1")
    elif apart:
        names = label_keys
        label = np.stack([text(key) for key in label_keys], axis=1)
    elif len(archive.header(label_key).shape) == 2:
        label, names = _several_labels(archive, label_key, columns.labels, count)
    elif columns.labels is not None:
        raise DataError(
            f"{path}: no arrays {', '.join(columns.labels)} for the labels (the file has: {archive.listed()})"
        )
    else:
        label = text(label_key)
    group_key = columns.group or archive.first_of(PATIENT_NAMES + RECORD_NAMES)
    group = text(group_key) if group_key else None
    split = text("split") if "split" in archive and columns.labelled else None
    facts, leads = archive.facts(), 1 if len(signal.shape) == 2 else signal.shape[1]
    if facts.leads is None and leads > 1:
        raise DataError(
            f"{path}: 'signal' has {leads} leads but no array 'leads' names them; add for example"
            " leads=np.array(['I', 'II', ...])"
        )
    if facts.leads is not None and len(facts.leads) != leads:
        raise DataError(f"{path}: 'leads' names {len(facts.leads)} leads, but 'signal' has {leads}")
    header = WindowHeader(
        leads=facts.leads,
        sampling_rate=facts.sampling_rate,
        unit=facts.unit,
        group_name=group_kind(group_key) if group_key else None,
        place="window",
        sample=lambda lead, sample: f"lead {lead}, sample {sample} (counted from 0)",
        labels=names,
    )
    return header, _blocks(path, signal, label, group, split)


def _several_labels(
    archive: Archive, key: str, wanted: tuple[str, ...] | None, count: int
) -> tuple[NDArray[np.str_], tuple[str, ...]]:
    """Labels (windows, labels) as text and their names: all, or those wanted. Raises DataError."""
    path, header = archive.path, archive.header(key)
    if header.shape[0] != count or header.shape[1] == 0:
        raise DataError(f"{path}: '{key}' has shape {header.shape}; ({count}, labels), one row per window, is needed")
    if "classes" not in archive:
        raise DataError(
            f"{path}: '{key}' has shape {header.shape} but no array 'classes' names its columns; add for example"
            " classes=np.array(['MI', 'HYP', ...]), or give one class per window"
        )
    if header.dtype.kind not in "biuf":
        raise DataError(f"{path}: '{key}' holds {header.dtype.name}; 0, 1 and nan or -1 (missing) are needed")
    names = tuple(archive.text("classes").ravel().tolist())
    if len(names) != header.shape[1] or len(set(names)) != len(names):
        raise DataError(
            f"{path}: 'classes' has {len(set(names))} different names, but '{key}' has {header.shape[1]} columns"
        )
    unknown = [name for name in wanted or () if name not in names]
    if unknown:
        raise DataError(f"{path}: no label {shown(unknown[0])}; its labels are {', '.join(map(shown, names[:20]))}")
    chosen = [names.index(name) for name in wanted or names]
    return _as_text(path, key, archive.read(key)[:, chosen]), tuple(names[place] for place in chosen)


def _blocks(path: Path, signal: ArrayHeader, label, group, split) -> Generator[WindowBlock]:
    """Yield the windows, a few megabytes at a time."""
    shape = (-1, 1 if len(signal.shape) == 2 else signal.shape[1], signal.shape[-1])
    step = max(1, _BLOCK_BYTES // (prod(signal.shape[1:]) * signal.dtype.itemsize))
    first = 0
    with one_line_errors(path, ARCHIVE), Archive(path) as archive:
        for values in archive.blocks("signal", step):
            rows = slice(first, first := first + len(values))
            with np.errstate(over="ignore"):  # too large for float32: infinite, and refused as such later
                signal_block = np.ascontiguousarray(values.reshape(shape), dtype=np.float32)
            yield WindowBlock(
                signal_block,
                np.arange(rows.start, rows.stop, dtype=np.int64),
                label[rows],
                None if group is None else group[rows],
                None if split is None else split[rows],
            )


NPY = FileReader("a NumPy array", (".npy",), read_npy, signatures=((0, b"\x93NUMPY"),))
NPZ = FileReader(
    ARCHIVE,
    (".npz",),
    read_npz,
    signatures=((0, b"PK"),),
    window_suffixes=(".npz",),
    open_windows=open_windows,
)
