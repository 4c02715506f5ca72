"""Whole recordings without labels, decoded and resampled once into a memory map of int16."""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import Source
from ecgtune.data.signal.filters import resample
from ecgtune.data.signal.quality import share_at_the_ends, share_standing_still
from ecgtune.errors import DataError
from ecgtune.io.labels import Where, split_names
from ecgtune.io.readers.registry import files_of, find_recordings, read_recording
from ecgtune.utils.cache import cache_folder, cache_key, file_version, new_entry

INDEX, PACKED = "_index.npz", ".delta16.xz"
RECORD_KEYS, RATE_KEYS = ("record", "record_id"), ("sampling_rate", "fs")


@dataclass(frozen=True)
class RecordingFiles:
    """What a path holds: `files` that decide the content, names, leads, rate (Hz) or None when the files are silent."""

    files: tuple[Path, ...]
    record: NDArray[np.str_]
    leads: tuple[str, ...]
    sampling_rate: float | None
    _offset: NDArray[np.int64] | None = None
    _recordings: tuple[Path, ...] = ()

    def signals(self) -> Iterator[NDArray[Any]]:
        """Each recording (leads, samples), in the order of `record`. Raises DataError."""
        if self._recordings:
            for path in self._recordings:
                yield self._like_the_first(path)
            return
        if self._offset is None:
            for path in self.files:
                yield _checked(np.atleast_2d(_load(path)), 1, path)
            return
        path = self.files[-1]
        whole = _unpack(path) if path.name.endswith(PACKED) else np.atleast_2d(_load(path)["signal"])
        _checked(whole, len(self.leads), path)
        if self._offset[-1] != whole.shape[1]:
            raise DataError(f"{path}: holds {whole.shape[1]} samples, but offset ends at {self._offset[-1]}")
        for start, stop in zip(self._offset[:-1], self._offset[1:], strict=True):
            yield whole[:, start:stop]

    def _like_the_first(self, path: Path) -> NDArray[np.float32]:
        """The signal of one recording in a folder of them."""
        recording = read_recording(path)
        if (recording.leads, recording.sampling_rate) != (self.leads, self.sampling_rate):
            raise DataError(
                f"{path}: has leads {', '.join(recording.leads)} at {recording.sampling_rate:g} Hz, but "
                f"{self._recordings[0].name} has {', '.join(self.leads)} at {self.sampling_rate:g} Hz; keep recordings "
                "of one kind in the folder"
            )
        return recording.signal

    def sha256(self) -> tuple[str, ...]:
        """Of each file."""
        found = []
        for path in self.files:
            with path.open("rb") as file:
                found.append(hashlib.file_digest(file, "sha256").hexdigest())
        return tuple(found)


def find_layout(path: Path) -> RecordingFiles:
    """Recognise the layout of `path`. Raises DataError when it is none, or when its parts do not fit together."""
    if path.is_dir():
        files = tuple(sorted(path.glob("*.npy")))
        if not files:
            return _folder_of_recordings(path)
        return RecordingFiles(files, np.array([file.stem for file in files]), ("II",), None)
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder; give an .npz file of recordings or a folder of them")
    if path.suffix != ".npz":
        raise DataError(f"{path}: is no .npz file; give an .npz file of recordings or a folder of them")
    arrays = _load(path)
    record = _first(arrays, RECORD_KEYS)
    if "offset" not in arrays or record is None:
        raise DataError(f"{path}: has the arrays {', '.join(sorted(arrays))}; 'offset' and 'record' are needed")
    offset, record = arrays["offset"].astype(np.int64), record.astype(np.str_)
    if offset.shape != (len(record) + 1,) or len(record) == 0 or offset[0] != 0 or (np.diff(offset) <= 0).any():
        raise DataError(
            f"{path}: 'offset' must rise from 0 and have one value more than the {len(record)} records, shape "
            f"({len(record) + 1},), but has shape {offset.shape}"
        )
    rate = _first(arrays, RATE_KEYS)
    leads = tuple(str(lead) for lead in arrays["leads"]) if "leads" in arrays else ("II",)
    files = (path,) if "signal" in arrays else (path, _packed(path))
    return RecordingFiles(files, record, leads, None if rate is None else float(rate), offset)


def _folder_of_recordings(path: Path) -> RecordingFiles:
    """A folder in any of the formats; the first recording tells leads and rate of all."""
    found = {name: file for name, file in find_recordings(path).items() if file.suffix.lower() != ".csv"}
    if not found:
        raise DataError(f"{path}: holds CSV files only; put one recording (samples,) into each .npy file")
    recordings = tuple(found.values())
    first = read_recording(recordings[0])
    files = tuple(file for recording in recordings for file in files_of(recording))
    return RecordingFiles(files, np.array(list(found)), first.leads, first.sampling_rate, None, recordings)


def held_out_records(path: Path, splits: tuple[str, ...] = ("val", "test")) -> frozenset[str]:
    """Names of the recordings that stand in `splits` of an NPZ file of windows.

    Raises DataError if the file cannot tell, or has none there: whoever names it believes that it does.
    """
    arrays = _load(path)
    record = _first(arrays, RECORD_KEYS)
    if record is None or "split" not in arrays or record.shape != arrays["split"].shape:
        raise DataError(
            f"{path}: has the arrays {', '.join(sorted(arrays))}; 'record' and 'split', one value per window, are "
            "needed to know which recordings to leave out"
        )
    where = Where(str(path), "window", np.arange(len(record)))
    held_out = np.isin(split_names(arrays["split"].astype(np.str_), where), splits)
    if not held_out.any():
        raise DataError(
            f"{path}: none of its {len(record)} windows is in {' or '.join(splits)}, so there is nothing to leave out; "
            "give the file of windows that results are measured on"
        )
    return frozenset(record[held_out].astype(np.str_).tolist())


def _packed(index: Path) -> Path:
    name = index.name.removesuffix(INDEX) + PACKED
    packed = index.with_name(name)
    if not index.name.endswith(INDEX) or not packed.is_file():
        raise DataError(f"{index}: has no array 'signal' and no file {name} beside it; put one of the two there")
    return packed


def _unpack(path: Path) -> NDArray[np.int16]:
    try:
        packed = np.frombuffer(lzma.decompress(path.read_bytes()), np.uint8)
    except (lzma.LZMAError, EOFError) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}); copy the file again") from None
    low, high = packed[: len(packed) // 2], packed[len(packed) // 2 :]
    steps = low.astype(np.uint16) | high.astype(np.uint16) << 8
    return np.cumsum(steps, dtype=np.uint16).view(np.int16)[None]


def _checked(signal: NDArray[Any], leads: int, path: Path) -> NDArray[Any]:
    if signal.ndim != 2 or signal.dtype.kind not in "iuf" or len(signal) != leads:
        raise DataError(
            f"{path}: the signal is {signal.dtype} of shape {signal.shape}; numbers of shape ({leads}, samples) are "
            "needed" + ("" if leads > 1 else ", or (samples,)")
        )
    return signal


def _load(path: Path) -> Any:
    """An array, or the arrays of an archive by name; never a pickle."""
    try:
        content = np.load(path, allow_pickle=False)
        return dict(content) if path.suffix == ".npz" else content
    except Exception as error:  # a damaged file fails in zipfile, zlib, struct or numpy: any type of error
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())[:100]}); write it again") from None


def _first(arrays: dict[str, NDArray[Any]], keys: tuple[str, ...]) -> NDArray[Any] | None:
    return next((arrays[key] for key in keys if key in arrays), None)


FORMAT = 3  # raise it whenever what is stored changes
FULL_SCALE = 32_000  # of an int16, for signals that are not int16 already
STILL_SECONDS = 0.5  # as long without any change is a lost electrode, not a quiet baseline
FLAT_SHARE = 0.5  # of a recording's samples that stand still, above which it is flat
CLIPPED_SHARE = 0.02  # of samples that rest at the largest or smallest value, above which it is clipped


@dataclass(frozen=True)
class Recordings:
    """Recordings one after the other: number i is `samples[:, offset[i]:offset[i + 1]]`.

    samples: int16 (leads, all samples), a read-only memory map, in a unit that may differ from recording to recording.
    offset: int64 (recordings + 1). record: their names. flat: bool (recordings,), in all leads. clipped: in any of the
    others.
    sampling_rate: Hz, after resampling. files: name and sha256 of each file that was read; `source.sha256` is that of
    these sha256, as bytes one after the other, so that it stands for all of them.
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

    def __len__(self) -> int:
        return len(self.record)

    @property
    def length(self) -> NDArray[np.int64]:
        """Samples of each recording."""
        return np.diff(self.offset)


def read_recordings(
    path: str | Path, *, sampling_rate: float, resampling: str = "polyphase", recorded_rate: float | None = None
) -> Recordings:
    """Read recordings in one of the layouts of `data.recording_files`, resampled to `sampling_rate` Hz.

    recorded_rate: of the files (Hz), needed when they do not say it. The first read writes a memory map into the cache
    folder; later reads open it. Raises DataError for files that cannot be used.
    """
    path = Path(path)
    files = find_layout(path)
    rate = _rate(path, files.sampling_rate, recorded_rate)
    subject = cache_key([FORMAT, str(path.resolve()), rate, sampling_rate, resampling])
    version = cache_key([[str(file.resolve()), *file_version(file)] for file in files.files])
    entry = cache_folder() / f"recordings-{subject}-{version}"
    recordings = _stored(entry, path, files, sampling_rate)
    if recordings is None:
        with new_entry(entry, lambda entry: _stored(entry, path, files, sampling_rate)) as folder:
            _store(folder, files, rate, sampling_rate, resampling)
        recordings = _stored(entry, path, files, sampling_rate)
    if recordings is None:
        raise DataError(f"{entry}: this cache entry was damaged while it was written; remove it and read again")
    return recordings


def _store(folder: Path, files: RecordingFiles, rate: float, sampling_rate: float, resampling: str) -> None:
    lengths, flat, clipped = [], [], []
    with (folder / "samples.i16").open("wb") as file:
        for name, signal in zip(files.record, files.signals(), strict=True):
            if not np.isfinite(signal).all():
                raise DataError(f"{files.files[-1]}: recording {name} holds NaN or infinite samples; remove them")
            still = max(2, round(STILL_SECONDS * rate))
            moving = [lead for lead in signal if share_standing_still(lead, still) <= FLAT_SHARE]
            flat.append(not moving)
            clipped.append(any(share_at_the_ends(lead) > CLIPPED_SHARE for lead in moving))
            values = resample(_scaled(signal), rate, sampling_rate, resampling)
            values = np.clip(np.rint(values), -(1 << 15), (1 << 15) - 1).astype(np.int16)
            file.write(np.ascontiguousarray(values.T).data)  # leads last, so that recordings can follow each other
            lengths.append(values.shape[1])
    np.savez(
        folder / "facts.npz",
        offset=np.concatenate([[0], np.cumsum(lengths)]),
        flat=flat,
        clipped=clipped,
        sha256=np.array(files.sha256()),
    )


def _stored(entry: Path, path: Path, files: RecordingFiles, sampling_rate: float) -> Recordings | None:
    """The entry, or None when there is none or it is damaged."""
    try:
        with np.load(entry / "facts.npz", allow_pickle=False) as facts:
            offset, flat, clipped = (facts[name] for name in ("offset", "flat", "clipped"))
            sha256 = [str(value) for value in facts["sha256"]]
        shape = (int(offset[-1]), len(files.leads))
        file = entry / "samples.i16"
        if file.stat().st_size != 2 * shape[0] * shape[1]:
            return None
        samples = np.memmap(file, dtype=np.int16, mode="r", shape=shape)
    except Exception:
        return None
    return Recordings(
        samples=samples.T,
        offset=offset,
        record=files.record,
        flat=flat,
        clipped=clipped,
        leads=files.leads,
        sampling_rate=sampling_rate,
        source=Source(str(path), hashlib.sha256(b"".join(map(bytes.fromhex, sha256))).hexdigest()),
        files=tuple(zip((file.name for file in files.files), sha256, strict=True)),
    )


def _rate(path: Path, in_file: float | None, given: float | None) -> float:
    if in_file is not None and given is not None and in_file != given:
        raise DataError(
            f"{path}: says that its sampling rate is {in_file:g} Hz, but {given:g} Hz was given; leave it out"
        )
    rate = in_file if in_file is not None else given
    if rate is None:
        raise DataError(f"{path}: does not say its sampling rate; give it, for example --sampling-rate 300 (Hz)")
    if not 0 < rate < np.inf:
        raise DataError(f"{path}: its sampling rate is {rate:g} Hz; above 0 is needed")
    return rate


def _scaled(signal: NDArray[Any]) -> NDArray[np.float64]:
    """As int16 can hold it: int16 as it is, anything else with its median at 0 and its largest sample at full scale.

    Crops are z-scored, so a recording's unit and offset do not matter, but its resolution does.
    """
    values = signal.astype(np.float64)
    if signal.dtype == np.int16:
        return values
    values -= np.median(values, axis=-1, keepdims=True)
    return values * (FULL_SCALE / max(float(np.abs(values).max()), np.finfo(np.float64).tiny))
