"""Signals without labels, as windows that a finished run can answer: a file of windows, or a folder of recordings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import check_rate, rate_of_file
from ecgtune.data.leads import lead_argument
from ecgtune.data.sampling import number_within
from ecgtune.data.signal.path import SignalPath
from ecgtune.errors import DataError, SettingError
from ecgtune.io.label_table import RECORDING_NAMES, read_recording_names
from ecgtune.io.matching import match_recordings
from ecgtune.io.readers.base import ReadOptions, WindowColumns
from ecgtune.io.readers.registry import find_recordings
from ecgtune.io.records.cache import prepare_cached
from ecgtune.io.records.first_pass import Expected, Facts, Progress
from ecgtune.io.records.reading import NO_FILE
from ecgtune.io.records.skipped import Skipped, check_share, write_skipped
from ecgtune.io.window_files import read_cached


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Windows that wait for an answer.

    signal: float32 (windows, leads, samples), a read-only memory map, of which `rows` (int64) are meant, in that order.
    recording: identifier of each row's recording, or None where the file names none; window: its number in the
    recording, or in the file without any, from 0. leads: those that are meant, `channels` of the signal; sampling_rate
    in Hz. skipped: recordings that could not be used.
    """

    path: str
    signal: NDArray[np.float32]
    rows: NDArray[np.int64]
    recording: NDArray[np.str_] | None
    window: NDArray[np.int64]
    leads: tuple[str, ...]
    channels: tuple[int, ...]
    sampling_rate: float
    unit: str
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def seconds(self) -> float:
        """Length of a window."""
        return self.signal.shape[2] / self.sampling_rate

    def batch(self, start: int, stop: int) -> NDArray[np.float32]:
        """Windows start .. stop - 1, copied into memory: (windows, leads, samples)."""
        return np.ascontiguousarray(self.signal[self.rows[start:stop]][:, self.channels])


def read_unlabelled(
    path: str | Path,
    leads: Sequence[str],
    *,
    sampling_rate: float | None = None,
    group: str | None = None,
    lead: str | None = None,
    unit: str | None = None,
) -> Unlabelled:
    """The windows of a CSV or NPZ file with `leads`, in that order; its labels and splits are left alone.

    A file of one lead that does not name it is taken to hold the one lead that is asked for. lead: which of a file's
    leads stands for that one lead. The others as for `read_dataset`; a CSV needs a header, or nothing would tell a
    label from a last sample. Raises DataError or SettingError, one line each.
    """
    path = Path(path)
    asked = None if lead is None else lead_argument(lead)
    if sampling_rate is not None:
        check_rate(sampling_rate, "sampling rate")
    contents = read_cached(path, WindowColumns(group=group, labelled=False), unit)
    parsed = contents.parsed
    found = parsed.leads or ((asked or leads[0]),)
    if asked is not None and len(leads) > 1:
        raise SettingError(
            f"lead {asked} is named, but {len(leads)} leads are needed ({', '.join(leads)}); leave it out"
        )
    wanted = tuple(leads) if asked is None else (asked,)
    missing = [name for name in wanted if name not in found]
    if missing:
        needed = f"all of {', '.join(wanted)} are needed" if len(wanted) > 1 else "name the one to take with --lead"
        raise DataError(f"{path}: has no lead {', '.join(missing)}, its leads are {', '.join(found)}; {needed}")
    recording = parsed.group
    return Unlabelled(
        path=str(path),
        signal=contents.signal,
        channels=tuple(found.index(name) for name in wanted),
        rows=np.arange(len(contents.signal)),
        recording=recording,
        window=np.arange(len(contents.signal)) if recording is None else number_within(recording),
        leads=wanted,
        sampling_rate=rate_of_file(path, parsed.sampling_rate, sampling_rate),
        unit=parsed.unit,
    )


def read_unlabelled_records(
    records: str | Path,
    signal_path: SignalPath,
    *,
    table: str | Path | None = None,
    recording_column: str | None = None,
    options: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
    max_skipped: float = 0.01,
    workers: int | None = None,
    skipped: str | Path | None = None,
    progress: Progress | None = None,
) -> Unlabelled:
    """The windows that `signal_path` cuts from the recordings in the folder `records`.

    table: take those that its recording column names, in its order; all in the folder without one, but for a CSV file
    whose header names recordings, which is a table itself. A recording that
    cannot be read, or that lacks a lead which its others do not give, is left out and listed in `skipped` (CSV:
    recording, file, reason); more of them than the share `max_skipped` are an error. Read and prepared through the
    cache, as for training. Raises DataError, SettingError or RunError, one line each.
    """
    folder = Path(records)
    files = find_recordings(folder, leave_out=[] if table is None else [Path(table)])
    asked, lost = _named(files, table, recording_column, folder)
    what = str(folder if table is None else table)
    total = len(asked) + len(lost)

    def judge(reasons: Sequence[str | None]) -> list[Skipped]:
        pairs = zip(asked.items(), reasons, strict=True)
        found = lost + [Skipped(name, str(path), reason) for (name, path), reason in pairs if reason is not None]
        if found and skipped is not None:
            write_skipped(Path(skipped), found)
        check_share(found, total, max_skipped, what, "recordings")
        return found

    prepared = prepare_cached(
        folder,
        asked,
        options,
        signal_path,
        Expected(),
        workers=workers,
        progress=progress,
        keep=lambda outcomes: judge([_reason(each.facts, each.reason, signal_path) for each in outcomes]),
    )
    reasons = [_reason(*each, signal_path) for each in zip(prepared.facts, prepared.reasons, strict=True)]
    left_out = judge(reasons)
    windows = np.array([0 if known is None else known.windows for known in prepared.facts])
    kept = np.repeat(np.array([reason is None for reason in reasons]), windows)
    recording = np.repeat(np.array(list(asked)), windows)[kept]
    if prepared.signal is None or not kept.any():
        raise DataError(f"{what}: no recording gives a window")
    return Unlabelled(
        path=what,
        signal=prepared.signal,
        rows=np.flatnonzero(kept),
        recording=recording,
        window=number_within(recording),
        leads=signal_path.leads,
        channels=tuple(range(len(signal_path.leads))),
        sampling_rate=signal_path.sampling_rate,
        unit="zscore" if signal_path.zscore else "mV",
        skipped=tuple(left_out),
    )


def _named(
    files: Mapping[str, Path], table: str | Path | None, column: str | None, folder: Path
) -> tuple[dict[str, Path], list[Skipped]]:
    """The recordings that are asked for, and those that the table names but the folder lacks."""
    if table is None:
        return {name: path for name, path in files.items() if not _is_table(path)}, []
    names = read_recording_names(Path(table), column)
    identifiers = match_recordings(names, files, str(table)).identifier
    asked = {identifier: files[identifier] for identifier in identifiers if identifier is not None}
    if not asked:
        raise DataError(
            f"{table}: none of its {len(names)} recordings is in {folder} ({names[0]}; the folder has"
            f" {next(iter(files))}, ...); is it the right folder, and the right --recording-column?"
        )
    pairs = zip(names, identifiers, strict=True)
    return asked, [Skipped(name, "", NO_FILE) for name, identifier in pairs if identifier is None]


def _is_table(path: Path) -> bool:
    """Whether a CSV file names recordings, as a table of labels does that lies beside them, and is none itself."""
    if path.suffix.lower() != ".csv":
        return False
    try:
        with path.open("rb") as file:
            first = file.readline(1 << 16).decode("utf-8-sig", "replace")
    except OSError:  # the first pass says so
        return False
    return any(cell.strip().casefold() in RECORDING_NAMES for cell in re.split("[,;\t]", first))


def _reason(facts: Facts | None, reason: str | None, signal_path: SignalPath) -> str | None:
    """Why a recording is left out; zeros in the place of a lead would be answered as if they were an ECG."""
    if facts is None or not facts.zeroed:
        return reason
    has, needed = ", ".join(facts.leads), ", ".join(signal_path.leads)
    return f"has no lead {', '.join(facts.zeroed)}, only {has}; {needed} are needed"
