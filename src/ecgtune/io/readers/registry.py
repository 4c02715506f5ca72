"""The table of file formats, and reading by it.

A format of this package is a module and a line in `BUILT_IN`; others register theirs with `register_reader`, from the
entry points `ecgtune.readers` or a file of the user (`ecgtune.utils.extensions`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from uuid import uuid4

import numpy as np

from ecgtune.data.signal.quality import doubted_amplitude
from ecgtune.errors import DataError, SettingError
from ecgtune.io.readers.base import FileReader, ReadOptions, Recording, collected_remarks, one_line_errors, time_span
from ecgtune.io.readers.clinical import SCP, XML
from ecgtune.io.readers.csv_dialect import WORKBOOKS, workbook_error
from ecgtune.io.readers.csv_files import CSV
from ecgtune.io.readers.csv_table import is_table
from ecgtune.io.readers.dicom_files import DICOM
from ecgtune.io.readers.edf_files import EDF
from ecgtune.io.readers.hdf5_files import HDF5, MATLAB
from ecgtune.io.readers.numpy_files import NPY, NPZ
from ecgtune.io.readers.wfdb_files import WFDB
from ecgtune.io.readers.wfdb_header import header_path
from ecgtune.utils.extensions import load_entry_points
from ecgtune.utils.files import is_special, open_file, refuse_pointer
from ecgtune.utils.formatting import listed
from ecgtune.utils.sources import remember_source, source_digest

BUILT_IN = (WFDB, EDF, DICOM, XML, SCP, HDF5, MATLAB, NPY, NPZ, CSV)
_ADDED: dict[str, FileReader] = {}
_START_BYTES = 256  # of a file, in which every signature lies
#: Content that many other files have as well: only with a suffix of its reader is such a file a recording.
_CONTAINERS = (b"PK", b"\x1f\x8b")
_NO_RECORDINGS = ("dicomdir",)

logger = logging.getLogger(__name__)


def register_reader(reader: FileReader) -> FileReader:
    """Make a format known; of several suffixes that a file has, the longest counts, ".my.csv" before ".csv".

    Raises SettingError for a name or a suffix that another reader has, a suffix that is not like ".ecg", or signatures
    without offsets.
    """
    if not all(isinstance(signature, tuple) for signature in reader.signatures):
        raise SettingError(
            f"reader {reader.name!r}: signatures are {reader.signatures!r}; write (offset, bytes) for each, such as"
            " signatures=((0, b'ECG1'),)"
        )
    for suffix in (*reader.suffixes, *reader.window_suffixes):
        if not suffix.startswith(".") or len(suffix) < 2 or suffix != suffix.lower():
            raise SettingError(
                f"reader {reader.name!r}: suffix {suffix!r} is not allowed; write it in lower case with a dot, such as"
                f" '.{suffix.strip('.').lower() or 'ecg'}'"
            )
    for other in (*BUILT_IN, *_ADDED.values()):
        if other.name == reader.name and reader.name in _ADDED:
            continue  # the same file is imported again
        taken = sorted(set(other.suffixes) & set(reader.suffixes))
        if other.name == reader.name or taken:
            what = f"suffix {taken[0]!r}" if taken else f"name {reader.name!r}"
            raise SettingError(f"reader {reader.name!r}: the {what} belongs to {other.name}; choose another")
    _ADDED[reader.name] = reader
    remember_source(_code(reader))
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
        if not reader.parts_of_time:
            part = time_span(path, recording.signal.shape[1], recording.sampling_rate, options)
            recording = replace(recording, signal=recording.signal[:, part])
        notes = (*recording.notes, *remarks.notes)
        signal = recording.signal
        if (options.start, options.stop) == (None, None) and not np.isfinite(signal).any():
            raise DataError(f"{path}: no sample of any lead is a number; the file is damaged")
        finding = doubted_amplitude(signal, recording.leads)
        if finding:  # a note of its own, because equal ones are counted together
            notes = (*notes, f"{finding}; check the unit {', '.join(remarks.units) or 'of the file'}")
        return replace(recording, notes=notes)


def files_of(path: Path, reader: FileReader | None = None) -> tuple[Path, ...]:
    """Return the files of the recording at `path`, such as .hea and .dat, for hashing. Raises DataError.

    reader: that of the recording, when it is known.
    """
    reader = reader or recording_reader(path)
    with one_line_errors(path, reader.name):
        return reader.files(path)


def code_of(readers_used: Iterable[FileReader]) -> str:
    """Return a digest of the code of readers that is not of this package, for keys of caches; "" without any.

    Code without a source file has another one at every call.
    """
    digest = source_digest(part for reader in dict.fromkeys(readers_used) for part in _code(reader))
    return uuid4().hex if digest is None else digest


def _code(reader: FileReader) -> list[object]:
    return [value for field in fields(reader) if callable(value := getattr(reader, field.name))]


def find_recordings(folder: Path, *, leave_out: Iterable[Path] = ()) -> dict[str, Path]:
    """Find the recordings in a folder and its subfolders: id (path in the folder without suffix) to path, sorted.

    A file without a known suffix is listed under its whole name when its content is known. Files with the same id that
    are several recordings are listed under their whole names, too. Links to files are followed; links to folders are
    not, which is logged. Pipes, devices and links to nothing are listed by their suffix, so that reading, which never
    opens them, reports them. leave_out: files that are no recordings, such as the table of labels. Files of samples
    that belong to a .hea file are not listed, nor are names that start with a dot.
    The recordings of a file of many, which may also take the place of the folder, have the id FILE/NAME. Raises
    DataError for none.
    """
    if folder.is_file():
        found = _with_members({folder.stem: folder})
        if folder in found.values():
            raise DataError(f"{folder}: is no file of many recordings; give the folder that it is in")
        return found
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that the recordings are in")
    without = {os.path.realpath(path) for path in leave_out}
    return dict(sorted(_identified(_within(folder, without), folder).items()))


def recordings_of(places: Sequence[Path], folder: Path) -> dict[str, Path]:
    """The recordings of files, names of WFDB records, and folders, less tables and segments of other recordings.

    They have ids as in `find_recordings` for `folder`, in which all places are. A recording that several places hold is
    there once. Raises DataError for a folder without any.
    """
    found: dict[str, Path] = {}
    for place in places:
        inside: Iterable[Path] = [place]
        if place.is_dir():
            inside = _within(place, set())
        elif (header := header_path(place)).is_file() and recording_reader(place) is WFDB:
            inside = [header]
        found |= {os.path.abspath(path): path for path in inside}
    recordings = whole_recordings(_identified(found.values(), folder))
    return {identifier: path for identifier, path in recordings.items() if not is_table(path)}


def common_folder(places: Sequence[Path]) -> Path:
    """The folder, absolute, that all files and folders lie in; of one folder itself."""
    return Path(os.path.commonpath([os.path.abspath(each if each.is_dir() else each.parent) for each in places]))


def _within(folder: Path, without: Collection[str]) -> Iterator[Path]:
    """Files of a folder and its subfolders that may be recordings. Raises DataError for none."""
    by_suffix, empty = {reader: reader.suffixes for reader in readers()}, True
    linked: list[str] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        linked += [path_in(folder, path) for name in folders if (path := Path(place, name)).is_symlink()]
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith(".") or os.path.realpath(path) in without:
                continue
            if _longest_suffix(path, by_suffix)[0] or _known_by_content(path):
                empty = False
                yield path
    if linked:
        logger.warning(
            "%s: %s not followed (%s); link the files, or give the folder that holds them",
            folder,
            "a link to a folder is" if len(linked) == 1 else f"{len(linked)} links to folders are",
            listed(linked, most=3),
        )
    if empty:
        suffixes = ", ".join(suffix for each in by_suffix.values() for suffix in each)
        read = f"files that are read: {suffixes} (a format of your own needs --import FILE)"
        raise DataError(f"{folder}: no recording in it; {read}")


def _identified(paths: Iterable[Path], folder: Path) -> dict[str, Path]:
    """Name files by their paths in `folder`, without the suffix unless several recordings have the same."""
    by_suffix = {reader: reader.suffixes for reader in readers()}
    by_id: dict[str, list[Path]] = {}
    for path in paths:
        whole_name, suffix = path_in(folder, path), _longest_suffix(path, by_suffix)[0]
        by_id.setdefault(whole_name[: len(whole_name) - len(suffix)], []).append(path)
    found: dict[str, Path] = {}
    for identifier, several in by_id.items():
        if len(several) > 1:
            several = _without_files_of_others(several)
        if len(several) == 1:
            found[identifier] = several[0]
        else:
            found |= {path_in(folder, path): path for path in several}
    return _with_members(found)


def path_in(folder: Path, path: Path) -> str:
    """`path` as seen from a folder that it is in."""
    return Path(os.path.relpath(path, folder)).as_posix()


def _with_members(found: Mapping[str, Path]) -> dict[str, Path]:
    """Replace files of many recordings by these."""
    recordings: dict[str, Path] = {}
    for identifier, path in found.items():
        reader = _by_suffix(path)
        names = None if reader is None else reader.members(path)
        if names is None:
            recordings[identifier] = path
        else:
            recordings |= {f"{identifier}/{name}": path / name for name in names}
    return recordings


def whole_recordings(found: Mapping[str, Path]) -> dict[str, Path]:
    """Leave out the recordings that are segments of another one in `found`."""
    known = ((path, _by_suffix(path)) for path in found.values())
    parts = {part for path, reader in known if reader is not None for part in reader.parts(path)}
    return {identifier: path for identifier, path in found.items() if path not in parts}


def _known_by_content(path: Path) -> bool:
    if path.name.lower() in _NO_RECORDINGS or path.with_suffix(".hea").is_file():
        return False
    with suppress(DataError):  # a file that is no recording may be unreadable
        start = _start(path)
        return not start.startswith(_CONTAINERS) and _by_content(start, readers()) is not None
    return False


def _without_files_of_others(paths: Sequence[Path]) -> list[Path]:
    """Leave out the files of samples of another file, such as the .mat of a .hea, and tables beside recordings."""
    named: set[Path] = set()
    for path in paths:
        reader = _by_suffix(path)
        with suppress(DataError, OSError):  # reading the recording reports it
            named |= set() if reader is None else set(files_of(path, reader)) - {path}
    recordings = [path for path in paths if path not in named]
    return [path for path in recordings if not is_table(path)] or recordings


def recording_reader(path: Path) -> FileReader:
    """Return the reader of a recording, by the content of the file and then by its suffix. Raises DataError.

    A file of samples that a header beside it names is that WFDB record.
    """
    if is_special(path):
        raise DataError(f"{path}: is a pipe or a device, not a regular file")
    if path.parent.is_file() and not path.exists():
        return recording_reader(path.parent)  # of a file of many
    header = header_path(path)
    if path != header and header.is_file():
        if not path.is_file():
            return WFDB
        with suppress(DataError, OSError):
            if path in files_of(header, WFDB):
                return WFDB
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
        kind = "folder" if path.is_dir() else "pipe or device"
        raise DataError(f"{path}: is a {kind}, not a file; give the path of one file of ECG windows ({allowed})")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty; rows of samples and a label are needed")
    if path.suffix.casefold() in WORKBOOKS:
        raise workbook_error(path)
    found = _reader(path, suffixes)
    if found is None:
        raise DataError(f"{path}: unknown file type '{path.suffix}'; allowed are {allowed}")
    return found


def _reader(path: Path, suffixes: Mapping[FileReader, tuple[str, ...]]) -> FileReader | None:
    """Return the reader whose signature or, without any, whose suffix the file has."""
    found = _by_content(_start(path), suffixes)
    if found is not None:
        return found
    refuse_pointer(path)
    return _longest_suffix(path, suffixes)[1]


def _by_suffix(path: Path) -> FileReader | None:
    return None if is_special(path) else _longest_suffix(path, {reader: reader.suffixes for reader in readers()})[1]


def _longest_suffix(path: Path, suffixes: Mapping[FileReader, tuple[str, ...]]) -> tuple[str, FileReader | None]:
    """Return the longest of the suffixes that the name has, and its reader; "" and None without any."""
    name = path.name.lower()
    found = [(suffix, reader) for reader in suffixes for suffix in suffixes[reader] if name.endswith(suffix)]
    return max(found, key=lambda pair: len(pair[0]), default=("", None))


def _start(path: Path) -> bytes:
    if not path.is_file():
        return b""
    try:
        with open_file(path) as file:
            return file.read(_START_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the permissions of the file") from error


def _by_content(start: bytes, known: Iterable[FileReader]) -> FileReader | None:
    for reader in known:
        marked = any(start[place : place + len(mark)] == mark for place, mark in reader.signatures)
        if marked or reader.recognises(start):
            return reader
    return None
