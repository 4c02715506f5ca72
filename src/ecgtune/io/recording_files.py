"""The layouts in which whole recordings without labels are read.

- An NPZ archive with `signal` (samples) or (leads, samples), all recordings one after the other, `offset` (recordings
  + 1), so that recording i is `signal[..., offset[i]:offset[i + 1]]`, the names `record` or `record_id`, the sampling
  rate `sampling_rate` or `fs` (Hz), and, for several leads, `leads`.
- The same archive without `signal`, called `NAME_index.npz`, beside `NAME.delta16.xz`: int16 samples of one lead as
  differences, all low bytes before all high bytes, through xz.
- A folder of `.npy` files, one recording each, (samples,), whose rate the caller tells, of one unnamed lead. Their
  unit does not matter here, nor does that of the archives, so whole numbers stay as they are; the reader of single
  recordings (`formats`) would ask for a unit and give millivolts.
- Any other folder: what `formats` reads of it and the folders in it, all of the same leads and rate. CSV files are left
  out, because there they are tables of labels.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.columns import Where, split_names
from ecgtune.io.formats import files_of, find_recordings, read_recording

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
