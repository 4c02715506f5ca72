"""NPZ archives: `signal` (windows, samples) or (windows, leads, samples), `label`, and what else the file knows.

`label` is one class per window, or (windows, labels) of 0, 1 and nan or -1 (missing) with the labels' names as
`classes`. Optional arrays: `patient` / `record` (one identifier per window), `split`, `sampling_rate` or `fs` (Hz),
`leads`, `unit`; others are left alone. The archive is read member by member instead of with `numpy.load`: the big
array goes through in blocks, a header that promises more than the member holds is refused before any memory is taken,
and pickled objects are never touched.
"""

import zipfile
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.window_files.base import MAX_TEXT, PATIENT_NAMES, RECORD_NAMES, Block, Columns, Header, group_name
from ecgtune.utils.text import shown

_BLOCK_BYTES = 8 << 20
_NEEDED = "arrays 'signal' (windows, samples) or (windows, leads, samples) and 'label' (windows,) are needed"


@dataclass(frozen=True)
class _Member:
    """One array of the archive, not yet read."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool


def open_npz(path: Path, columns: Columns) -> tuple[Header, Generator[Block]]:
    """Open an NPZ archive; header and blocks as in `window_files.base`. Raises DataError."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            return _open(path, archive, members, columns)
    except DataError:
        raise
    except Exception as error:  # a damaged archive fails in zipfile, zlib, struct or numpy: any type of error
        raise _unreadable(path, error) from error


def _open(path: Path, archive: zipfile.ZipFile, members: dict[str, str], columns: Columns):
    label_key = columns.label or "label"
    apart = columns.labels is not None and any(name in members for name in columns.labels)
    label_keys = columns.labels or () if apart else (label_key,) if columns.labelled else ()
    for key in ("signal", *label_keys, *([columns.group] if columns.group else [])):
        if key not in members:
            has = ", ".join(shown(name) for name in sorted(members)[:12]) or "no array"
            raise DataError(f"{path}: no array '{key}' (the file has: {has}); {_NEEDED}")
    group_key = columns.group or next((k for k in PATIENT_NAMES + RECORD_NAMES if k in members), None)

    signal = _member(path, archive, "signal")
    if signal.dtype.kind not in "iuf":
        raise DataError(f"{path}: 'signal' holds {signal.dtype.name}, numbers (int or float) are needed")
    if len(signal.shape) not in (2, 3) or 0 in signal.shape:
        raise DataError(
            f"{path}: 'signal' has shape {signal.shape}; (windows, samples) or (windows, leads, samples)"
            " with none of them 0 is needed"
        )
    count = signal.shape[0]

    def text(key: str) -> NDArray[np.str_]:
        member = _member(path, archive, key)
        if member.shape != (count,):
            raise DataError(
                f"{path}: '{key}' has shape {member.shape}; one value for each of the {count} windows of"
                f" 'signal', shape ({count},), is needed"
            )
        if member.dtype.itemsize > 4 * MAX_TEXT:
            raise DataError(f"{path}: '{key}' holds text of over {MAX_TEXT} characters; short identifiers are needed")
        return _as_text(path, key, _read(archive, member))

    names: tuple[str, ...] | None = None
    if not columns.labelled:
        label = np.zeros(count, dtype="U1")
    elif apart:
        names = label_keys
        label = np.stack([text(key) for key in label_keys], axis=1)
    elif len(_member(path, archive, label_key).shape) == 2:
        label, names = _several(path, archive, members, label_key, columns.labels, count)
    elif columns.labels is not None:
        has = ", ".join(shown(name) for name in sorted(members)[:12])
        raise DataError(f"{path}: no arrays {', '.join(columns.labels)} for the labels (the file has: {has})")
    else:
        label = text(label_key)
    group = text(group_key) if group_key else None
    split = text("split") if "split" in members and columns.labelled else None
    header = Header(
        leads=_leads(path, archive, members, signal.shape),
        sampling_rate=_rate(path, archive, members),
        unit=_scalar_text(path, archive, members, "unit"),
        group_name=group_name(group_key) if group_key else None,
        place="window",
        sample=lambda lead, sample: f"lead {lead}, sample {sample} (counted from 0)",
        labels=names,
    )
    return header, _blocks(path, signal, label, group, split)


def _several(
    path: Path,
    archive: zipfile.ZipFile,
    members: dict[str, str],
    key: str,
    wanted: tuple[str, ...] | None,
    count: int,
) -> tuple[NDArray[np.str_], tuple[str, ...]]:
    """Labels (windows, labels) as text and their names: all, or those wanted. Raises DataError."""
    member = _member(path, archive, key)
    if member.shape[0] != count or member.shape[1] == 0:
        raise DataError(f"{path}: '{key}' has shape {member.shape}; ({count}, labels), one row per window, is needed")
    if "classes" not in members:
        raise DataError(
            f"{path}: '{key}' has shape {member.shape} but no array 'classes' names its columns; add for example"
            " classes=np.array(['MI', 'HYP', ...]), or give one class per window"
        )
    if member.dtype.kind not in "biuf":
        raise DataError(f"{path}: '{key}' holds {member.dtype.name}; 0, 1 and nan or -1 (missing) are needed")
    named = _member(path, archive, "classes")
    names = tuple(_as_text(path, "classes", _read(archive, named).ravel()).tolist())
    if len(names) != member.shape[1] or len(set(names)) != len(names):
        raise DataError(
            f"{path}: 'classes' has {len(set(names))} different names, but '{key}' has {member.shape[1]} columns"
        )
    unknown = [name for name in wanted or () if name not in names]
    if unknown:
        raise DataError(f"{path}: no label {shown(unknown[0])}; its labels are {', '.join(map(shown, names[:20]))}")
    chosen = [names.index(name) for name in wanted or names]
    return _as_text(path, key, _read(archive, member)[:, chosen]), tuple(names[place] for place in chosen)


def _blocks(path: Path, signal: _Member, label, group, split) -> Generator[Block]:
    """The windows, a few megabytes at a time."""
    count, samples = signal.shape[0], signal.shape[-1]
    shape = (-1, 1 if len(signal.shape) == 2 else signal.shape[1], samples)
    step = max(1, _BLOCK_BYTES // (prod(signal.shape[1:]) * signal.dtype.itemsize))
    try:
        with zipfile.ZipFile(path) as archive:
            whole = _read(archive, signal) if signal.fortran else None  # windows are not contiguous in such a file
            with archive.open("signal.npy") as file:
                _array_header(file)
                for first in range(0, count, step):
                    rows = slice(first, min(first + step, count))
                    part = whole[rows] if whole is not None else _take(file, signal, rows)
                    with np.errstate(over="ignore"):  # too large for float32: infinite, and refused as such later
                        values = np.ascontiguousarray(part.reshape(shape), dtype=np.float32)
                    yield Block(
                        values,
                        np.arange(rows.start, rows.stop, dtype=np.int64),
                        label[rows],
                        None if group is None else group[rows],
                        None if split is None else split[rows],
                    )
                if whole is None and file.read(1):
                    raise DataError(f"{path}: 'signal' is longer than its header says; write the file again")
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise _unreadable(path, error) from error


def _take(file: IO[bytes], member: _Member, rows: slice) -> NDArray:
    """Read the windows `rows` of a C-ordered array from where the file stands."""
    shape = (rows.stop - rows.start, *member.shape[1:])
    return np.frombuffer(_exactly(file, prod(shape) * member.dtype.itemsize), member.dtype).reshape(shape)


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError("it ends early")
    return data


def _array_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file)
    if version == (2, 0):
        return npy.read_array_header_2_0(file)
    raise ValueError(f"array format {version[0]}.{version[1]} is only used for records of named fields")


def _member(path: Path, archive: zipfile.ZipFile, key: str) -> _Member:
    """What the header of one array says, checked against the size of the member. Raises DataError."""
    name = f"{key}.npy"
    with archive.open(name) as file:
        shape, fortran, dtype = _array_header(file)
        if dtype.hasobject:
            raise DataError(
                f"{path}: '{key}' holds pickled Python objects, which are refused because loading them can"
                f" run any code; save it as numbers or text, e.g. {key}.astype(str)"
            )
        if dtype.names is not None or dtype.kind in "VmM" or dtype.itemsize == 0:
            raise DataError(f"{path}: '{key}' holds {dtype}; plain numbers or text are needed")
        if file.tell() + prod(shape) * dtype.itemsize != archive.getinfo(name).file_size:
            raise DataError(
                f"{path}: '{key}' should have shape {shape} but its data has another length; the file is"
                " damaged, write it again with numpy.savez"
            )
    return _Member(key, shape, dtype, fortran)


def _read(archive: zipfile.ZipFile, member: _Member) -> NDArray:
    """One whole array."""
    with archive.open(f"{member.key}.npy") as file:
        _array_header(file)
        data = _exactly(file, prod(member.shape) * member.dtype.itemsize)
    return np.frombuffer(data, member.dtype).reshape(member.shape, order="F" if member.fortran else "C")


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


def _one(path: Path, archive: zipfile.ZipFile, members: dict[str, str], key: str) -> NDArray | None:
    """The single value of an array, or None when the archive has no such array."""
    if key not in members:
        return None
    member = _member(path, archive, key)
    if prod(member.shape) != 1:
        raise DataError(f"{path}: '{key}' has shape {member.shape}; one value for the whole file is needed")
    return _read(archive, member).reshape(())


def _rate(path: Path, archive: zipfile.ZipFile, members: dict[str, str]) -> float | None:
    rates: dict[str, float] = {}
    for key in ("sampling_rate", "fs"):
        value = _one(path, archive, members, key)
        if value is not None:
            if value.dtype.kind not in "iuf":
                raise DataError(f"{path}: '{key}' holds {value.dtype.name}; one number in Hz is needed")
            rates[key] = float(value)
    if len(set(rates.values())) > 1:
        told = " but ".join(f"'{key}' {rate:g} Hz" for key, rate in rates.items())
        raise DataError(f"{path}: says {told}; leave the wrong one out of the file")
    return next(iter(rates.values()), None)


def _scalar_text(path: Path, archive: zipfile.ZipFile, members: dict[str, str], key: str) -> str | None:
    value = _one(path, archive, members, key)
    return None if value is None else str(_as_text(path, key, value))


def _leads(path: Path, archive: zipfile.ZipFile, members: dict[str, str], shape: tuple[int, ...]):
    count = 1 if len(shape) == 2 else shape[1]
    if "leads" not in members:
        if count > 1:
            raise DataError(
                f"{path}: 'signal' has {count} leads but no array 'leads' names them; add for example"
                " leads=np.array(['I', 'II', ...])"
            )
        return None
    member = _member(path, archive, "leads")
    if prod(member.shape) != count:
        raise DataError(f"{path}: 'leads' names {prod(member.shape)} leads, but 'signal' has {count}")
    return tuple(str(name) for name in _as_text(path, "leads", _read(archive, member).ravel()))


def _unreadable(path: Path, error: BaseException) -> DataError:
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"\x93NUMPY"):
        return DataError(
            f"{path}: is one bare array, not an NPZ archive; {_NEEDED}: numpy.savez(path, signal=..., label=...)"
        )
    if start.startswith(b"\x80"):
        return DataError(
            f"{path}: is a Python pickle, which is refused because loading it can run any code;"
            " write it with numpy.savez(path, signal=..., label=...)"
        )
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    return DataError(f"{path}: cannot be read as an NPZ archive ({reason}); write it again with numpy.savez")
