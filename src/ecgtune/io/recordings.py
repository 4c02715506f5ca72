"""Pools of whole recordings without labels, for pretraining: decoded and resampled once into a memory map of int16.

Layouts of a pool:

- An NPZ archive with `signal` (samples) or (leads, samples), all recordings one after the other, `offset` (recordings
  + 1), so that recording i is `signal[..., offset[i]:offset[i + 1]]`, the names `record` or `record_id`, the sampling
  rate `sampling_rate` or `fs` (Hz), and, for several leads, `leads`.
- The same archive without `signal`, called `NAME_index.npz`, beside `NAME.delta16.xz`: int16 samples of one lead as
  differences, all low bytes before all high bytes, compressed by xz.
- A folder of `.npy` files, one recording (samples,) of one unnamed lead each, whose rate the caller gives. Units do not
  matter here, so whole numbers stay as they are; the reader of single recordings would ask for a unit.
- Any other folder: its recordings in any format, all of the same leads and rate. CSV files are left out: in such a
  folder they are tables of labels.

Gaps (NaN) of up to 0.1 s are interpolated; of a recording with longer ones, the longest part between them is used.
"""

from __future__ import annotations

import hashlib
import logging
import lzma
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import Source
from ecgtune.data.leads import arrange_leads, lacking_leads
from ecgtune.data.signal.filters import resample
from ecgtune.data.signal.quality import (
    between_gaps,
    constant_fraction,
    doubted_amplitude,
    extreme_fraction,
    fill_gaps,
)
from ecgtune.errors import DataError
from ecgtune.io.labels import Where, split_names
from ecgtune.io.readers.base import (
    LongRecordingError,
    ReadOptions,
    Recording,
    check_size,
    millivolt_factor,
    one_line_errors,
    stated_rate,
)
from ecgtune.io.readers.csv_dialect import is_csv
from ecgtune.io.readers.csv_table import is_table
from ecgtune.io.readers.npz_archive import ARCHIVE, Archive, unpacks_too_far
from ecgtune.io.readers.numpy_files import read_array
from ecgtune.io.readers.registry import files_of, find_recordings, read_recording, whole_recordings
from ecgtune.utils.archives import XzStream, is_bomb
from ecgtune.utils.cache import cache_folder, cache_key, cached, file_version
from ecgtune.utils.files import file_sha256
from ecgtune.utils.formatting import counted

logger = logging.getLogger(__name__)

FORMAT = 6  # raise it with every change of the stored content
FULL_SCALE = 32_000  # of an int16, for signals that are not int16 already
LONGEST_GAP = 0.1  # seconds that are interpolated, as in windows
CONSTANT_SECONDS = 0.5  # without any change for longer: a lost electrode, not a quiet baseline
FLAT_FRACTION = 0.5  # of constant samples, above which a recording is flat
CLIPPED_FRACTION = 0.02  # of samples at the largest or smallest value, above which a recording is clipped
_INDEX, _PACKED = "_index.npz", ".delta16.xz"
NO_OPTIONS = ReadOptions()
_RECORD_KEYS = ("record", "record_id")


@dataclass(frozen=True)
class Recordings:
    """Recordings one after the other: number i is `samples[:, offset[i]:offset[i + 1]]`.

    samples: int16 (leads, all samples), a read-only memory map, in a unit that may differ from recording to recording.
    offset: int64 (recordings + 1). record: their names. flat: bool (recordings,), constant in all leads. clipped: bool
    (recordings,), at the limits of the recorder in one of the other leads. sampling_rate: Hz, after resampling. files:
    name and sha256 of each file that was read; `source.sha256` is the sha256 of these digests one after the other.
    millivolts: of one step of the samples of each recording, NaN where the unit is unknown; the median is lost.
    """

    samples: NDArray[np.int16]
    offset: NDArray[np.int64]
    record: NDArray[np.str_]
    flat: NDArray[np.bool_]
    clipped: NDArray[np.bool_]
    leads: tuple[str, ...]
    sampling_rate: float
    source: Source
    files: tuple[tuple[str, str], ...]
    millivolts: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.record)

    @property
    def length(self) -> NDArray[np.int64]:
        """Samples of each recording."""
        return np.diff(self.offset)


def read_recordings(
    path: str | Path, *, sampling_rate: float, resampling: str = "polyphase", options: ReadOptions = NO_OPTIONS
) -> Recordings:
    """Read a pool of recordings, resampled to `sampling_rate` Hz, through the cache.

    options: facts that the files do not state; with `leads`, those are read, and derived from the recorded I and II
    where they are not recorded. Raises DataError for files that cannot be used.
    """
    path = Path(path)
    pool = _find_pool(path, options)
    rate = stated_rate(path, pool.sampling_rate, options.sampling_rate)
    subject = cache_key([FORMAT, str(path.resolve()), rate, sampling_rate, resampling, asdict(options)])
    version = cache_key([[str(file.resolve()), *file_version(file)] for file in pool.files])

    def load(entry: Path) -> Recordings | None:
        try:
            with np.load(entry / "facts.npz", allow_pickle=False) as facts:
                offset, flat, clipped, millivolts = (
                    facts[name] for name in ("offset", "flat", "clipped", "millivolts")
                )
                sha256 = facts["sha256"].tolist()
            shape, file = (int(offset[-1]), len(pool.wanted)), entry / "samples.i16"
            if file.stat().st_size != 2 * shape[0] * shape[1]:
                return None
            samples = np.memmap(file, dtype=np.int16, mode="r", shape=shape).T
        except Exception:  # damaged in any way: the recordings can be read again
            return None
        files = tuple(zip((file.name for file in pool.files), sha256, strict=True))
        source = Source(str(path), hashlib.sha256(b"".join(map(bytes.fromhex, sha256))).hexdigest())
        return Recordings(
            samples, offset, pool.record, flat, clipped, pool.wanted, sampling_rate, source, files, millivolts
        )

    entry = cache_folder() / f"recordings-{subject}-{version}"
    return cached(entry, load, lambda folder: _store(folder, pool, rate, sampling_rate, resampling))


def held_out_records(path: Path, splits: tuple[str, ...] = ("val", "test")) -> frozenset[str]:
    """Return the names of the recordings in `splits` of an NPZ file of windows.

    Raises DataError when the file does not state them, or has none: the caller relies on leaving them out.
    """
    with one_line_errors(path, ARCHIVE), Archive(path) as archive:
        key = archive.first_of(_RECORD_KEYS)
        if key is None or "split" not in archive or archive.header(key).shape != archive.header("split").shape:
            raise DataError(
                f"{path}: has the arrays {archive.listed()}; 'record' and 'split', one value per window, are needed to"
                " know which recordings to leave out"
            )
        record, split = archive.text(key), archive.text("split")
    held_out = np.isin(split_names(split, Where(str(path), "window", np.arange(len(record)))), splits)
    if not held_out.any():
        raise DataError(
            f"{path}: none of its {counted(len(record), 'window')} is in {' or '.join(splits)}, so none is left out;"
            " give the file of windows that you evaluate on"
        )
    return frozenset(record[held_out].tolist())


@dataclass(frozen=True)
class _Pool:
    """The files of a pool, names, leads, and rate (Hz) or None when the files do not state it.

    offset: of the recordings in one array. recordings: one path each. With neither, `files` are one `.npy` each.
    """

    files: tuple[Path, ...]
    record: NDArray[np.str_]
    leads: tuple[str, ...]
    sampling_rate: float | None
    offset: NDArray[np.int64] | None = None
    recordings: tuple[Path, ...] = ()
    options: ReadOptions = NO_OPTIONS

    @property
    def wanted(self) -> tuple[str, ...]:
        """The leads that are read."""
        return self.options.leads or self.leads

    def signals(self) -> Iterator[NDArray[Any]]:
        """Yield each recording (`wanted` leads, samples), in the order of `record`; log notes. Raises DataError."""
        if self.recordings:
            notes: Counter[str] = Counter()
            for path in self.recordings:
                recording = self._like_the_first(path)
                notes.update(recording.notes)
                yield self._arranged(path, recording.signal, recording.leads)
            _log_notes(notes, len(self.recordings))
        else:
            path = self.files[-1]
            yield from (self._arranged(path, signal, self.leads) for signal in self._arrays())

    def _arranged(self, path: Path, signal: NDArray[Any], leads: tuple[str, ...]) -> NDArray[Any]:
        if lacking := lacking_leads(self.wanted, leads):
            raise DataError(
                f"{path}: has no lead {', '.join(lacking)}, its leads are {', '.join(leads)}; name those (--leads)"
            )
        if not set(self.wanted) <= set(leads):
            signal = signal.astype(np.float32)  # sums of int16 may not be whole, or too large
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


def _log_notes(notes: Counter[str], total: int) -> None:
    for note, count in notes.items():
        logger.warning("%d of %d recordings: %s", count, total, note)


def _find_pool(path: Path, options: ReadOptions) -> _Pool:
    """Recognise the layout of `path`. Raises DataError when it is none, or when its parts do not fit together."""
    if path.is_dir():
        files = tuple(sorted(file for file in path.glob("*.npy") if not file.is_dir()))
        if wrong := [file for file in files if not file.is_file()]:
            raise DataError(f"{wrong[0]}: is no regular file, or a link to none; remove it from the folder")
        if files:
            return _Pool(files, np.array([file.stem for file in files]), ("II",), None, options=options)
        found = whole_recordings(find_recordings(path))
        found = {name: file for name, file in found.items() if not is_table(file)}
        found = {name: file for name, file in found.items() if not is_csv(file)} or found  # beside others, no recording
        if not found:
            raise DataError(f"{path}: holds tables only; give an .npz file of recordings or a folder of them")
        recordings = tuple(found.values())
        first = _whole(recordings[0], options)  # gives leads and rate of all
        files = tuple(dict.fromkeys(file for recording in recordings for file in files_of(recording)))
        return _Pool(files, np.array(list(found)), first.leads, first.sampling_rate, None, recordings, options)
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder; give an .npz file of recordings or a folder of them")
    if path.suffix != ".npz":
        raise DataError(f"{path}: is no .npz file; give an .npz file of recordings or a folder of them")
    with one_line_errors(path, ARCHIVE), Archive(path) as archive:
        key = archive.first_of(_RECORD_KEYS)
        if "offset" not in archive or key is None:
            raise DataError(f"{path}: has the arrays {archive.listed()}; 'offset' and 'record' are needed")
        offset, record = archive.read("offset").astype(np.int64), archive.text(key)
        leads, rate = archive.texts("leads") or ("II",), archive.sampling_rate()
        files = (path,) if "signal" in archive else (path, _packed(path))
    if offset.shape != (len(record) + 1,) or len(record) == 0 or offset[0] != 0 or (np.diff(offset) <= 0).any():
        raise DataError(
            f"{path}: 'offset' must rise from 0 and have one value more than the {counted(len(record), 'record')}, "
            "shape "
            f"({len(record) + 1},), but has shape {offset.shape}"
        )
    return _Pool(files, record, leads, rate, offset, options=options)


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
    if is_bomb(2 * samples, size):
        raise unpacks_too_far(path, 2 * samples, size)
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


def _store(folder: Path, pool: _Pool, rate: float, sampling_rate: float, resampling: str) -> None:
    """Write the recordings and their facts into an entry of the cache."""
    lengths, flat, clipped, millivolts, shortened = [], [], [], [], 0
    unit = "mV" if pool.recordings else pool.options.unit
    factor = np.nan if unit is None else millivolt_factor(pool.files[-1], None, unit)
    doubts: Counter[str] = Counter()
    with (folder / "samples.i16").open("wb") as file:
        for name, signal in zip(pool.record, pool.signals(), strict=True):
            whole = signal.shape[1]
            signal = _without_gaps(signal, rate, f"{pool.files[-1]}: recording {name}")
            shortened += signal.shape[1] < whole
            run = max(2, round(CONSTANT_SECONDS * rate))
            moving = [lead for lead in signal if constant_fraction(lead, run) <= FLAT_FRACTION]
            flat.append(not moving)
            clipped.append(any(extreme_fraction(lead) > CLIPPED_FRACTION for lead in moving))
            scaled, step = _scaled(signal)
            millivolts.append(step * factor)
            if unit is not None and not pool.recordings:  # the notes of recordings have it
                finding = doubted_amplitude(signal * factor, pool.wanted)
                doubts.update([f"{finding}; check the unit (--unit)"] if finding else [])
            values = resample(scaled, rate, sampling_rate, resampling)
            values = np.clip(np.rint(values), -(1 << 15), (1 << 15) - 1).astype(np.int16)
            file.write(np.ascontiguousarray(values.T).data)  # leads last, so that recordings can follow each other
            lengths.append(values.shape[1])
    _log_notes(doubts, len(lengths))
    if shortened:
        logger.warning(
            "%d of %d recordings have gaps of more than %g s; the longest part between them is used",
            shortened,
            len(lengths),
            LONGEST_GAP,
        )
    sha256 = np.array([file_sha256(file) for file in pool.files])
    offset = np.concatenate([[0], np.cumsum(lengths)])
    np.savez(folder / "facts.npz", offset=offset, flat=flat, clipped=clipped, sha256=sha256, millivolts=millivolts)


def _without_gaps(signal: NDArray[Any], rate: float, name: str) -> NDArray[Any]:
    """Return the longest part between long gaps, its short ones interpolated. Raises DataError for a lead of gaps."""
    if signal.dtype.kind != "f" or np.isfinite(signal).all():
        return signal
    if np.isinf(signal).any() or not np.isfinite(signal).any(axis=1).all():
        raise DataError(f"{name} holds infinite samples, or a lead of NaN only; remove it")
    starts, stops = between_gaps(signal, rate, LONGEST_GAP)
    if not len(starts):
        raise DataError(f"{name} has no part without NaN in one of its leads; remove it")
    longest = int((stops - starts).argmax())
    return fill_gaps(signal[:, starts[longest] : stops[longest]], rate, LONGEST_GAP)[0]


def _scaled(signal: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """Scale to int16: int16 as it is, other types with their median at 0 and their largest sample at full scale.

    Returns one step of the result in the unit of the signal too. Crops lose their offset later, so that of a recording
    does not matter, but its resolution does.
    """
    values = signal.astype(np.float64)
    if signal.dtype == np.int16:
        return values, 1.0
    values -= np.median(values, axis=-1, keepdims=True)
    step = max(float(np.abs(values).max()), np.finfo(np.float64).tiny) / FULL_SCALE
    return values / step, step
