"""Whole recordings without labels, decoded and resampled once into a memory map of int16."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import Source
from ecgtune.data.signal.quality import share_at_the_ends, share_standing_still
from ecgtune.data.signal.resampling import resample
from ecgtune.errors import DataError
from ecgtune.io.cache import UNFINISHED, cache_folder, unwritable
from ecgtune.io.recording_files import RecordingFiles, find_layout

FORMAT = 2  # raise it whenever what is stored changes
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
    stats = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files.files]
    key = json.dumps([FORMAT, stats, rate, sampling_rate, resampling])
    entry = cache_folder() / f"recordings-{hashlib.sha256(key.encode()).hexdigest()[:24]}"
    if not (entry / "facts.npz").is_file():
        _fill(entry, files, rate, sampling_rate, resampling)
    return _open(entry, path, files, sampling_rate)


def _fill(entry: Path, files: RecordingFiles, rate: float, sampling_rate: float, resampling: str) -> None:
    """Write the entry under another name and rename it, so that a reader sees a whole one or none."""
    folder = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=entry.parent))
        _store(folder, files, rate, sampling_rate, resampling)
        if not entry.exists():  # else another process was faster, with the same content
            folder.rename(entry)
    except OSError as error:
        raise unwritable(entry.parent, error) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


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


def _open(entry: Path, path: Path, files: RecordingFiles, sampling_rate: float) -> Recordings:
    with np.load(entry / "facts.npz", allow_pickle=False) as facts:
        offset, flat, clipped = (facts[name] for name in ("offset", "flat", "clipped"))
        sha256 = [str(value) for value in facts["sha256"]]
    samples = np.memmap(entry / "samples.i16", dtype=np.int16, mode="r", shape=(int(offset[-1]), len(files.leads)))
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
