"""Pools of whole recordings without labels, for pretraining: decoded and resampled once into a memory map of int16.

`io.pools` reads the files. Gaps (NaN) of up to 0.1 s are interpolated; of a recording with longer ones, the longest
part between them is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import Source
from ecgtune.data.signal.filters import resample
from ecgtune.data.signal.quality import (
    between_gaps,
    constant_fraction,
    doubted_amplitude,
    extreme_fraction,
    fill_gaps,
    impossible_samples,
)
from ecgtune.errors import DataError
from ecgtune.io.labels import Where, split_names
from ecgtune.io.pools import NO_OPTIONS, RECORD_KEYS, Pool, find_pool
from ecgtune.io.readers.base import LARGEST, ReadOptions, millivolt_factor, one_line_errors, stated_rate
from ecgtune.io.readers.npz_archive import ARCHIVE, Archive
from ecgtune.text import shown
from ecgtune.utils.cache import cache_folder, cache_key, cached, file_version
from ecgtune.utils.files import file_sha256
from ecgtune.utils.formatting import counted, listed

logger = logging.getLogger(__name__)

FORMAT = 7  # raise it with every change of the stored content
FULL_SCALE = 32_000  # of an int16, for signals that are not int16 already
LONGEST_GAP = 0.1  # seconds that are interpolated, as in windows
CONSTANT_SECONDS = 0.5  # without any change for longer: a lost electrode, not a quiet baseline
FLAT_FRACTION = 0.5  # of constant samples, above which a recording is flat
CLIPPED_FRACTION = 0.02  # of samples at the largest or smallest value, above which a recording is clipped


@dataclass(frozen=True)
class Recordings:
    """Recordings one after the other: number i is `samples[:, offset[i]:offset[i + 1]]`.

    samples: int16 (leads, all samples), a read-only memory map, in a unit that may differ from recording to recording.
    offset: int64 (recordings + 1). record: their names. flat: bool (recordings,), constant in all leads. clipped: bool
    (recordings,), at the limits of the recorder in one of the other leads. sampling_rate: Hz, after resampling. files:
    name and sha256 of each file that was read; `source.sha256` is the sha256 of these digests one after the other.
    millivolts: of one step of the samples of each recording, NaN where the unit is unknown; the median is lost. notes:
    on recordings that were cut, or that no ECG is like.
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
    notes: tuple[str, ...] = ()

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
    pool = find_pool(path, options)
    millivolts = pool.millivolts
    rate = stated_rate(path, pool.sampling_rate, options.sampling_rate)
    subject = cache_key([FORMAT, os.path.realpath(path), rate, sampling_rate, resampling, asdict(options)])
    version = cache_key([[os.path.realpath(file), *file_version(file)] for file in pool.files])

    def load(entry: Path) -> Recordings | None:
        try:
            with np.load(entry / "facts.npz", allow_pickle=False) as facts:
                offset, flat, clipped, step = (facts[name] for name in ("offset", "flat", "clipped", "millivolts"))
                sha256, notes = facts["sha256"].tolist(), tuple(json.loads(facts["notes"].item()))
            shape, file = (int(offset[-1]), len(pool.wanted)), entry / "samples.i16"
            if file.stat().st_size != 2 * shape[0] * shape[1]:
                return None
            samples = np.memmap(file, dtype=np.int16, mode="r", shape=shape).T
        except Exception:  # damaged in any way: the recordings can be read again
            return None
        files = tuple(zip((file.name for file in pool.files), sha256, strict=True))
        source = Source(str(path), hashlib.sha256(b"".join(map(bytes.fromhex, sha256))).hexdigest())
        return Recordings(
            samples, offset, pool.record, flat, clipped, pool.wanted, sampling_rate, source, files, step, notes
        )

    entry = cache_folder() / f"recordings-{subject}-{version}"
    found = cached(entry, load, lambda folder: _store(folder, pool, millivolts, rate, sampling_rate, resampling))
    for note in found.notes:
        logger.warning("%s: %s", path, note)
    return found


def held_out_records(path: Path, splits: tuple[str, ...] = ("val", "test")) -> frozenset[str]:
    """Return the names of the recordings in `splits` of an NPZ file of windows.

    Raises DataError when the file does not state them, or has none: the caller relies on leaving them out.
    """
    with one_line_errors(path, ARCHIVE), Archive(path) as archive:
        key = archive.first_of(RECORD_KEYS)
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


def _store(folder: Path, pool: Pool, millivolts: float, rate: float, sampling_rate: float, resampling: str) -> None:
    """Write the recordings and their facts into an entry of the cache. millivolts: of one unit of the signals."""
    lengths, flat, clipped, steps = [], [], [], []
    notes: dict[str, list[str]] = defaultdict(list)  # and the recordings of each
    with (folder / "samples.i16").open("wb") as file:
        for name, (signal, own_notes) in zip(pool.record.tolist(), pool.signals(), strict=True):
            whole = signal.shape[1]
            signal = _without_gaps(signal, rate, f"{pool.files[-1]}: recording {shown(name)}")
            run = max(2, round(CONSTANT_SECONDS * rate))
            moving = [lead for lead in signal if constant_fraction(lead, run) <= FLAT_FRACTION]
            flat.append(not moving)
            clipped.append(any(extreme_fraction(lead) > CLIPPED_FRACTION for lead in moving))
            if signal.shape[1] < whole:
                notes[f"gaps of more than {LONGEST_GAP:g} s; the longest part between them is used"].append(shown(name))
            for note in own_notes:  # on the amplitude, too
                notes[note].append(shown(name))
            if not pool.recordings and (found := _doubts(signal, millivolts, pool.wanted)):
                notes[found[0]].append(f"{found[1]}{shown(name)}")
            scaled, step = _scaled(signal)
            steps.append(step * millivolts)
            values = resample(scaled, rate, sampling_rate, resampling)
            values = np.clip(np.rint(values), -(1 << 15), (1 << 15) - 1).astype(np.int16)
            file.write(np.ascontiguousarray(values.T).data)  # leads last, so that recordings can follow each other
            lengths.append(values.shape[1])
    total = counted(len(lengths), "recording")
    lines = [f"{len(names)} of {total} ({listed(names, most=1)}): {note}" for note, names in notes.items()]
    np.savez(
        folder / "facts.npz",
        offset=np.concatenate([[0], np.cumsum(lengths)]),
        flat=flat,
        clipped=clipped,
        sha256=np.array([file_sha256(file) for file in pool.files]),
        millivolts=steps,
        notes=json.dumps(lines),
    )


def _doubts(signal: NDArray[Any], millivolts: float, leads: tuple[str, ...]) -> tuple[str, str] | None:
    """A sentence on samples that no ECG has, and where they are. millivolts: of one unit, NaN if that is unknown."""
    known = np.isfinite(millivolts)
    look, remedy = (doubted_amplitude, "; check the unit (--unit)") if known else (impossible_samples, " in any unit")
    values = signal * (millivolts if known else millivolt_factor(Path(), None, "nV"))
    finding = look(values, leads)
    if finding is None:
        return None
    own = next((lead for lead, row in zip(leads, values, strict=True) if look(row[None], [lead])), leads[0])
    return f"{finding}{remedy}", "" if finding.startswith("lead") else f"lead {own} of "


def _without_gaps(signal: NDArray[Any], rate: float, name: str) -> NDArray[Any]:
    """Return the longest part between long gaps, its short ones interpolated; floating-point samples as float64.

    Raises DataError for a lead of gaps, and for samples whose differences may not be finite.
    """
    if signal.dtype.kind != "f":
        return signal
    with np.errstate(over="ignore"):
        signal = signal.astype(np.float64)
    if (np.abs(signal) > LARGEST).any():
        raise DataError(f"{name} holds samples beyond {LARGEST:g}, or infinite ones; remove it")
    if np.isfinite(signal).all():
        return signal
    if not np.isfinite(signal).any(axis=1).all():
        raise DataError(f"{name} has a lead of NaN only; remove it")
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
