"""Layouts of pools of whole recordings.

- An NPZ archive with `signal` (samples) or (leads, samples), all recordings one after the other, `offset` (recordings
  + 1), so that recording i is `signal[..., offset[i]:offset[i + 1]]`, the names `record` or `record_id`, the sampling
  rate `sampling_rate` or `fs` (Hz), and, for several leads, `leads`. Each name occurs once. The amplitude is compared
  with that of ECGs by the `unit`, if there is one.
- The same archive without `signal`, called `NAME_index.npz`, beside `NAME.delta16.xz`: int16 samples of one lead as
  differences, all low bytes before all high bytes, compressed by xz.
- A folder of `.npy` files, one recording (samples,) of one unnamed lead each, whose rate the caller gives. Units do not
  matter here, so whole numbers stay as they are; the reader of single recordings would ask for a unit.
- Any other folder: its recordings in any format, all of the same leads and rate. CSV files are left out: in such a
  folder they are tables of labels.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.leads import arrange_leads, lacking_leads
from ecgtune.errors import DataError, QuestionError
from ecgtune.io.readers.base import (
    LongRecordingError,
    ReadOptions,
    Recording,
    check_size,
    millivolt_factor,
    one_line_errors,
)
from ecgtune.io.readers.bounded import check_unpacked
from ecgtune.io.readers.csv_dialect import is_csv
from ecgtune.io.readers.csv_table import is_table
from ecgtune.io.readers.npz_archive import ARCHIVE, Archive
from ecgtune.io.readers.numpy_files import read_array
from ecgtune.io.readers.registry import files_of, find_recordings, read_recording, whole_recordings
from ecgtune.text import shown
from ecgtune.utils.archives import XzStream, is_bomb
from ecgtune.utils.formatting import counted

RECORD_KEYS = ("record", "record_id")
NO_OPTIONS = ReadOptions()
_INDEX, _PACKED = "_index.npz", ".delta16.xz"
_RECORDING_BYTES = 10_000  # that a recording counts for: reading it takes the time of so many, however short it is


@dataclass(frozen=True)
class Pool:
    """The files of a pool, names, leads, and rate (Hz) and unit or None when the files do not state them.

    offset: of the recordings in one array. recordings: one path each. With neither, `files` are one `.npy` each.
    """

    files: tuple[Path, ...]
    record: NDArray[np.str_]
    leads: tuple[str, ...]
    sampling_rate: float | None
    offset: NDArray[np.int64] | None = None
    recordings: tuple[Path, ...] = ()
    options: ReadOptions = NO_OPTIONS
    unit: str | None = None

    @property
    def wanted(self) -> tuple[str, ...]:
        """The leads that are read."""
        return self.options.leads or self.leads

    @property
    def millivolts(self) -> float:
        """Millivolts of one unit of the signals, NaN where the unit is unknown. Raises DataError for two units."""
        if self.recordings:
            return 1.0
        try:
            return millivolt_factor(self.files[0], self.unit, self.options.unit)
        except QuestionError:  # units that are not known, such as steps of a recorder, do not matter here
            return float("nan")

    def signals(self) -> Iterator[tuple[NDArray[Any], tuple[str, ...]]]:
        """Yield each recording (`wanted` leads, samples) and its notes, in the order of `record`. Raises DataError."""
        if self.recordings:
            for path in self.recordings:
                recording = self._like_the_first(path)
                yield self._arranged(path, recording.signal, recording.leads), recording.notes
        else:
            path = self.files[-1]
            yield from ((self._arranged(path, signal, self.leads), ()) for signal in self._arrays())

    def _arranged(self, path: Path, signal: NDArray[Any], leads: tuple[str, ...]) -> NDArray[Any]:
        if lacking := lacking_leads(self.wanted, leads):
            raise DataError(
                f"{path}: has no lead {', '.join(lacking)}, its leads are {', '.join(leads)}; name those (--leads)"
            )
        if not set(self.wanted) <= set(leads):
            signal = signal.astype(np.promote_types(signal.dtype, np.float32))  # sums may not be whole, or too large
        return arrange_leads(signal, leads, self.wanted)[0]

    def _arrays(self) -> Iterator[NDArray[Any]]:
        """The recordings of a pool that are arrays (leads, samples)."""
        if self.offset is None:
            for path in self.files:
                with one_line_errors(path, "a NumPy array"):
                    array = np.atleast_2d(read_array(path))
                _check_signal(path, array.shape, array.dtype, 1)
                yield array
        else:
            path, longest = self.files[-1], int(np.diff(self.offset).max())
            check_size(path, len(self.leads), longest, self.options)
            if path.name.endswith(_PACKED):
                _check_signal(path, (1, int(self.offset[-1])), np.dtype(np.int16), len(self.leads))
            parts = _unpacked(path, self.offset) if path.name.endswith(_PACKED) else self._stored(path)
            yield from parts

    def _stored(self, path: Path) -> Iterator[NDArray[Any]]:
        assert self.offset is not None
        with one_line_errors(path, ARCHIVE), Archive(path) as archive:
            header = archive.header("signal")
            _check_signal(path, (1,) * (2 - len(header.shape)) + header.shape, header.dtype, len(self.leads))
            yield from archive.parts("signal", self.offset)

    def _like_the_first(self, path: Path) -> Recording:
        recording = _whole(path, self.options)
        leads = recording.leads if self.options.leads is None else self.leads  # a stated part may be in others
        if (leads, recording.sampling_rate) != (self.leads, self.sampling_rate):
            raise DataError(
                f"{path}: has leads {', '.join(recording.leads)} at {recording.sampling_rate:g} Hz, but "
                f"{self.recordings[0].name} has {', '.join(self.leads)} at {self.sampling_rate:g} Hz; keep recordings "
                "of one kind in the folder"
            )
        return recording


def find_pool(path: Path, options: ReadOptions) -> Pool:
    """Recognise the layout of `path`. Raises DataError when it is none, or when its parts do not fit together."""
    if path.is_dir():
        files = tuple(sorted(file for file in path.glob("*.npy") if not file.is_dir()))
        if wrong := [file for file in files if not file.is_file()]:
            raise DataError(f"{wrong[0]}: is no regular file, or a link to none; remove it from the folder")
        if files:
            return Pool(files, np.array([file.stem for file in files]), ("II",), None, options=options)
        found = whole_recordings(find_recordings(path))
        found = {name: file for name, file in found.items() if not is_table(file)}
        found = {name: file for name, file in found.items() if not is_csv(file)} or found  # beside others, no recording
        if not found:
            raise DataError(f"{path}: holds tables only; give an .npz file of recordings or a folder of them")
        recordings = tuple(found.values())
        first = _whole(recordings[0], options)  # gives leads and rate of all
        files = tuple(dict.fromkeys(file for recording in recordings for file in files_of(recording)))
        return Pool(files, np.array(list(found)), first.leads, first.sampling_rate, None, recordings, options)
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder; give an .npz file of recordings or a folder of them")
    if path.suffix != ".npz":
        raise DataError(f"{path}: is no .npz file; give an .npz file of recordings or a folder of them")
    with one_line_errors(path, ARCHIVE), Archive(path) as archive:
        key = archive.first_of(RECORD_KEYS)
        if "offset" not in archive or key is None:
            raise DataError(f"{path}: has the arrays {archive.listed()}; 'offset' and 'record' are needed")
        files = (path,) if "signal" in archive else (path, _packed(path))
        offset, record = _named_parts(archive, key, sum(file.stat().st_size for file in files))
        facts = archive.facts()
    return Pool(files, record, facts.leads or ("II",), facts.sampling_rate, offset, options=options, unit=facts.unit)


def _named_parts(archive: Archive, key: str, size: int) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Where recordings start and end, and their names. size: of all files. Raises DataError, before memory is taken."""
    path, header, (count, *others) = archive.path, archive.header("offset"), archive.header(key).shape or (0,)
    wrong = DataError(
        f"{path}: 'offset' must rise from 0 in whole numbers and have one value more than the"
        f" {counted(count, 'record')}, shape ({count + 1},), but is {header.dtype} of shape {header.shape}"
    )
    if others:
        raise DataError(f"{path}: '{key}' has shape {(count, *others)}; one name per recording, ({count},), is needed")
    if header.shape != (count + 1,) or count == 0 or header.dtype.kind not in "iuf":
        raise wrong
    if is_bomb(count * _RECORDING_BYTES, size):
        raise DataError(
            f"{path}: states {counted(count, 'recording')}, but has {size} bytes, too few for them; create it again"
        )
    values, record = archive.read("offset"), archive.text(key)
    with np.errstate(invalid="ignore"):
        offset = values.astype(np.int64)
    if (offset != values).any() or offset[0] != 0 or (np.diff(offset) <= 0).any():
        raise wrong
    names, counts = np.unique(record, return_counts=True)
    if len(names) < count:
        raise DataError(
            f"{path}: has {counts.max()} recordings of the name {shown(names[counts.argmax()])}; give each recording a"
            " name of its own"
        )
    return offset, record


def _whole(path: Path, options: ReadOptions) -> Recording:
    """Read a recording of a folder. Raises DataError."""
    try:
        return read_recording(path, options)
    except LongRecordingError as error:  # its remedy is to read a part
        raise DataError(f"{str(error).rpartition('; ')[0]}; split it into shorter files") from None


def _packed(index: Path) -> Path:
    packed = index.with_name(index.name.removesuffix(_INDEX) + _PACKED)
    if not index.name.endswith(_INDEX) or not packed.is_file():
        raise DataError(f"{index}: has no array 'signal' and no file {packed.name} beside it; put one of the two there")
    return packed


def _unpacked(path: Path, offset: NDArray[np.int64]) -> Iterator[NDArray[np.int16]]:
    samples, size = int(offset[-1]), path.stat().st_size
    check_unpacked(path, 2 * samples, size)
    try:
        with closing(XzStream(path)) as low, closing(XzStream(path)) as high:
            high.skip(samples)
            last = np.zeros(1, np.uint16)
            for count in np.diff(offset).tolist():
                first, second = (np.frombuffer(stream.read(count), np.uint8) for stream in (low, high))
                if len(second) < count:
                    raise DataError(f"{path}: holds fewer samples than the {samples} at which offset ends")
                steps = first.astype(np.uint16) | second.astype(np.uint16) << 8
                values = last + np.cumsum(steps, dtype=np.uint16)
                last = values[-1:]
                yield values.view(np.int16)[None]
            if high.read(1):
                raise DataError(f"{path}: holds more samples than the {samples} at which offset ends")
    except (lzma.LZMAError, EOFError) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}); copy the file again") from None


def _check_signal(path: Path, shape: tuple[int, ...], dtype: np.dtype, leads: int) -> None:
    if len(shape) != 2 or dtype.kind not in "iuf" or shape[0] != leads:
        raise DataError(
            f"{path}: the signal is {dtype} of shape {shape}; numbers of shape ({leads}, samples) are needed"
            + ("" if leads > 1 else ", or (samples,)")
        )
