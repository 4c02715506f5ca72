"""The table of file formats, and reading by it.

A format of this package is a module and a line in `BUILT_IN`; others register theirs with `register_reader`, from the
entry points `ecgtune.readers` or a file of the user (`ecgtune.utils.extensions`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ecgtune.data.signal.quality import implausible_amplitude
from ecgtune.errors import DataError, SettingError
from ecgtune.io.readers.base import FileReader, ReadOptions, Recording, collected_remarks, one_line_errors
from ecgtune.io.readers.clinical import SCP, XML
from ecgtune.io.readers.csv_files import CSV
from ecgtune.io.readers.dicom_files import DICOM
from ecgtune.io.readers.edf_files import EDF
from ecgtune.io.readers.hdf5_files import HDF5
from ecgtune.io.readers.numpy_files import NPY, NPZ
from ecgtune.io.readers.wfdb_files import WFDB
from ecgtune.utils.extensions import load_entry_points
from ecgtune.utils.files import refuse_pointer

BUILT_IN = (WFDB, EDF, DICOM, XML, SCP, HDF5, NPY, NPZ, CSV)
_ADDED: dict[str, FileReader] = {}
_START_BYTES = 132  # of a file, in which every signature lies


def register_reader(reader: FileReader) -> FileReader:
    """Make a format known. Raises SettingError for a name or a suffix that another reader has."""
    for other in (*BUILT_IN, *_ADDED.values()):
        if other.name == reader.name and reader.name in _ADDED:
            continue  # the same file is imported again
        taken = sorted(set(other.suffixes) & set(reader.suffixes))
        if other.name == reader.name or taken:
            what = f"suffix {taken[0]!r}" if taken else f"name {reader.name!r}"
            raise SettingError(f"reader {reader.name!r}: the {what} belongs to {other.name}; choose another")
    _ADDED[reader.name] = reader
    return reader


def readers() -> tuple[FileReader, ...]:
    """Return all readers, those of this package first."""
    load_entry_points("ecgtune.readers")
    return (*BUILT_IN, *_ADDED.values())


def read_recording(path: Path, options: ReadOptions = ReadOptions()) -> Recording:  # noqa: B008 (frozen)
    """Read one recording; a path without a known suffix or content is the name of a WFDB record.

    Its notes say which channels were left out, and whether the amplitude is plausible for an ECG. Raises DataError, one
    line that names the file, for any file that cannot be used.
    """
    reader = recording_reader(path)
    with one_line_errors(path, reader.name), collected_remarks() as remarks:
        recording = reader.read_recording(path, options)
        notes = (*recording.notes, *remarks.notes)
        finding = implausible_amplitude(recording.signal)
        if finding:
            notes = (*notes, f"{finding}; check the unit {', '.join(remarks.units) or 'of the file'}")
        return replace(recording, notes=notes)


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files of the recording at `path`, such as .hea and .dat, for hashing. Raises DataError."""
    return recording_reader(path).files(path)


def find_recordings(folder: Path, *, leave_out: Iterable[Path] = ()) -> dict[str, Path]:
    """Find the recordings in a folder and its subfolders: id (path in the folder without suffix) to path, sorted.

    leave_out: files that are no recordings, such as the table of labels. Files of samples that belong to a .hea file
    are not listed, nor are names that start with a dot. Raises DataError for none, or for two files with one id.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that the recordings are in")
    without = {path.resolve() for path in leave_out}
    suffixes = tuple(suffix for reader in readers() for suffix in reader.suffixes)
    found: dict[str, Path] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            suffix = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), None)
            if suffix is None or name.startswith(".") or path.resolve() in without:
                continue
            identifier = path.relative_to(folder).as_posix()[: -len(suffix)]
            if identifier in found:
                raise DataError(
                    f"{path}: {found[identifier].name} beside it has the same id; keep one of the two there"
                )
            found[identifier] = path
    if not found:
        raise DataError(f"{folder}: no recording in it; files that are read: {', '.join(suffixes)}")
    return dict(sorted(found.items()))


def recording_reader(path: Path) -> FileReader:
    """Return the reader of a recording, by the content of the file and then by its suffix. Raises DataError."""
    found = _reader(path, {reader: reader.suffixes for reader in readers()})
    if found is None and path.suffix and path.exists():
        allowed = ", ".join(suffix for reader in readers() for suffix in reader.suffixes)
        raise DataError(f"{path}: unknown file type {path.suffix!r}; files that are read: {allowed}")
    return found or WFDB  # the name of a record; names of records may have dots


def is_recording(path: Path) -> bool:
    """Return whether `path` is a file that can only be a recording, or the name of a WFDB record.

    CSV and NPZ files may be either; a file of windows is expected there. Raises DataError for an unknown type.
    """
    there = path.is_file() or path.with_name(f"{path.name}.hea").is_file()
    return there and recording_reader(path).open_windows is None


def window_reader(path: Path) -> FileReader:
    """Return the reader of a file of windows, by its content and then by its suffix.

    Raises DataError when the path is missing, a folder, empty or of no known type.
    """
    suffixes = {reader: reader.window_suffixes for reader in readers() if reader.open_windows}
    allowed = ", ".join(suffix for each in suffixes.values() for suffix in each)
    if not path.exists():
        raise DataError(f"{path}: no such file; give the path of a file of ECG windows ({allowed})")
    if not path.is_file():
        raise DataError(f"{path}: is a folder, not a file; give the path of one file of ECG windows ({allowed})")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty; rows of samples and a label are needed")
    found = _reader(path, suffixes)
    if found is None:
        raise DataError(f"{path}: unknown file type '{path.suffix}'; allowed are {allowed}")
    return found


def _reader(path: Path, suffixes: Mapping[FileReader, tuple[str, ...]]) -> FileReader | None:
    """Return the reader whose signature or, without any, whose suffix the file has."""
    start = b""
    if path.is_file():
        try:
            with path.open("rb") as file:
                start = file.read(_START_BYTES)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); check the permissions of the file") from error
    for reader in suffixes:
        if any(start[place : place + len(mark)] == mark for place, mark in reader.signatures):
            return reader
    refuse_pointer(path)
    return next((reader for reader in suffixes if path.name.lower().endswith(suffixes[reader])), None)
