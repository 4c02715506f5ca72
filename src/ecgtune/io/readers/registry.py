"""Recordings out of files: one reader per format; a new format is a module here and a line in `READERS`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ecgtune.errors import DataError
from ecgtune.io.readers.base import Reader, ReadOptions, Recording
from ecgtune.io.readers.clinical import SCP, XML
from ecgtune.io.readers.csv_files import CSV
from ecgtune.io.readers.dicom_files import DICOM
from ecgtune.io.readers.edf_files import EDF
from ecgtune.io.readers.hdf5_files import HDF5
from ecgtune.io.readers.numpy_files import NPY, NPZ
from ecgtune.io.readers.wfdb_files import WFDB

__all__ = ["READERS", "ReadOptions", "Reader", "Recording", "files_of", "find_recordings", "read_recording"]

READERS = (WFDB, EDF, DICOM, XML, SCP, HDF5, NPY, NPZ, CSV)


def read_recording(path: Path, options: ReadOptions = ReadOptions()) -> Recording:  # noqa: B008 (frozen)
    """Read one recording; the format is told by the suffix, and a path without one is the name of a WFDB record.

    Raises DataError, in one line that names the file, for whatever cannot be used; nothing else, whatever is in it.
    """
    reader = reader_for(path)
    try:
        return reader.read(path, options)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check that it is there") from error
    except Exception as error:  # a damaged file fails anywhere in its library, with any type of error
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{path}: cannot be read as {reader.name} ({reason}); it is damaged, copy it again") from error


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that the recording at `path` consists of, such as .hea and .dat, for hashing. Raises DataError."""
    return reader_for(path).files(path)


def find_recordings(folder: Path, *, leave_out: Iterable[Path] = ()) -> dict[str, Path]:
    """Recordings in a folder and the folders in it: id, which is the path in the folder without suffix, to path.

    Sorted by id. leave_out: files that are none, such as the table of labels. Samples that belong to a .hea file are no
    recordings of their own, nor is anything whose name starts with a dot. Raises DataError when there is none, or when
    two files have the same id.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that the recordings are in")
    without = {path.resolve() for path in leave_out}
    found: dict[str, Path] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            suffix = _suffix(name)
            if suffix is None or name.startswith(".") or path.resolve() in without:
                continue
            identifier = path.relative_to(folder).as_posix()[: -len(suffix)]
            if identifier in found:
                raise DataError(
                    f"{path}: {found[identifier].name} beside it has the same id; keep one of the two there"
                )
            found[identifier] = path
    if not found:
        allowed = ", ".join(suffix for reader in READERS for suffix in reader.suffixes)
        raise DataError(f"{folder}: no recording in it; files that are read: {allowed}")
    return dict(sorted(found.items()))


def reader_for(path: Path) -> Reader:
    """The reader for a recording by its suffix. Raises DataError."""
    suffix = _suffix(path.name)
    for reader in READERS:
        if suffix in reader.suffixes:
            return reader
    if not path.suffix or not path.exists():
        return WFDB  # the name of a record; names of records may have dots
    allowed = ", ".join(suffix for reader in READERS for suffix in reader.suffixes)
    raise DataError(f"{path}: unknown file type {path.suffix!r}; files that are read: {allowed}")


def _suffix(name: str) -> str | None:
    """The suffix, in lower case, of a file that a reader is there for; None for any other."""
    lower = name.lower()
    return next((suffix for reader in READERS for suffix in reader.suffixes if lower.endswith(suffix)), None)
