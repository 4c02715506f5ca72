"""Signals without labels, as windows for a prediction: a file of windows, or a folder of recordings."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.commands import PredictSettings
from ecgtune.data.dataset import check_rate
from ecgtune.data.leads import lead_argument
from ecgtune.data.sampling import number_within
from ecgtune.data.signal.path import SignalPath
from ecgtune.errors import DataError, SettingError
from ecgtune.io.label_table import read_recording_names
from ecgtune.io.readers.base import ReadOptions, WindowColumns, stated_rate
from ecgtune.io.readers.csv_files import CSV, label_without_name
from ecgtune.io.readers.registry import common_folder, recordings_of, window_reader
from ecgtune.io.records.cache import prepare_records
from ecgtune.io.records.first_pass import (
    Preparation,
    Progress,
    RecordingFacts,
    RecordingOutcome,
    counted_notes,
)
from ecgtune.io.records.selection import Selection, SkippedRecording, TableNames, select_recordings
from ecgtune.io.window_files import read_cached

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Windows without labels.

    signal: float32 (windows, leads, samples), a read-only memory map, of which `rows` (int64) are used, in that order.
    recording: identifier of each row's recording, or None where the file names none. window: its number in the
    recording, or in the file without any, from 0. leads: those that are used, `channels` of the signal. sampling_rate:
    Hz. skipped: recordings that cannot be used. notes: of the readers, and about windows that were left out. repeated:
    seconds of each recording that is shorter than the window. of_file: whether `path` is a file of windows.
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
    skipped: tuple[SkippedRecording, ...] = ()
    notes: tuple[str, ...] = ()
    repeated: Mapping[str, float] = field(default_factory=dict)
    of_file: bool = False

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
    settings: PredictSettings,
    *,
    usual_rate: float | None = None,
    usual_seconds: float | None = None,
) -> Unlabelled:
    """Read the windows of a CSV or NPZ file with `leads`, in that order; labels and splits are ignored.

    A file of one lead that does not name it is taken to hold the one lead that is asked for. `settings.lead`: the lead
    of the file to use in its place. usual_rate: Hz, taken for a file without a rate, which is logged. usual_seconds:
    the length of a window, by which labels are separated from samples in a CSV without header. Raises DataError or
    SettingError, one line each.
    """
    path, options, sampling_rate = Path(path), ReadOptions.of(settings), settings.sampling_rate
    asked = None if settings.lead is None else lead_argument(settings.lead)
    if sampling_rate is not None:
        check_rate(sampling_rate, "sampling rate")
    rate = sampling_rate or usual_rate
    columns = WindowColumns(
        group=settings.group,
        labelled=False,
        lead_names=options.lead_names,
        layout=options.layout,
        drop_invalid=settings.drop_invalid,
        samples=None if rate is None or usual_seconds is None else round(usual_seconds * rate),
    )
    contents = read_cached(path, columns, settings.unit)
    parsed = contents.parsed
    found = parsed.leads or ((asked or leads[0]),)
    if asked is not None and len(leads) > 1:
        raise SettingError(f"lead {asked} is named, but leads {', '.join(leads)} are needed; leave it out")
    wanted = tuple(leads) if asked is None else (asked,)
    missing = [name for name in wanted if name not in found]
    if missing:
        needed = f"all of {', '.join(wanted)} are needed" if len(wanted) > 1 else "name the one to take with --lead"
        raise DataError(f"{path}: has no lead {', '.join(missing)}, its leads are {', '.join(found)}; {needed}")
    if parsed.sampling_rate is None and sampling_rate is None and usual_rate is not None:
        logger.warning("%s: states no sampling rate; %g Hz, the run's, is assumed (--sampling-rate)", path, usual_rate)
        sampling_rate = usual_rate
    notes = parsed.notes
    if window_reader(path) is CSV and columns.samples and label_without_name(path, columns.samples):
        notes = (
            *notes,
            f"the file has no header; its last column, after {columns.samples} samples, is taken for a label",
        )
    recording, rate = parsed.group, stated_rate(path, parsed.sampling_rate, sampling_rate)
    check_rate(rate, f"{path}: its sampling rate")
    return Unlabelled(
        path=str(path),
        signal=contents.signal,
        channels=tuple(found.index(name) for name in wanted),
        rows=np.arange(len(contents.signal)),
        recording=recording,
        window=parsed.window,
        leads=wanted,
        sampling_rate=rate,
        unit=parsed.unit,
        notes=notes,
        of_file=True,
    )


def read_unlabelled_records(
    data: Sequence[Path],
    signal_path: SignalPath,
    settings: PredictSettings,
    *,
    folder: Path | None = None,
    skipped: str | Path | None = None,
    progress: Progress | None = None,
) -> Unlabelled:
    """Cut recordings, of files and folders, into windows by `signal_path`.

    data: the recordings, all except CSV files that are tables (`is_table`), named by their paths in `folder`, by
    default the one that all lie in; with `settings.records` the one table whose recording column names those to use of
    that folder, in its order. A recording that cannot be read or lacks a lead is left out and listed in `skipped` (CSV:
    recording, file, reason); a fraction of more than `settings.max_skipped` is an error. Raises DataError, SettingError
    or RunError, one line each.
    """
    notes: tuple[str, ...] = ()
    if settings.records is None:
        more = f" and {len(data) - 1} more" if len(data) > 1 else ""
        folder = folder or common_folder(data)
        selection = Selection(folder, recordings_of(data, folder), (), (), f"{data[0]}{more}")
    else:
        table = data[0]
        names, notes = read_recording_names(table, settings.recording_column)
        selection, _ = select_recordings(
            Path(settings.records),
            TableNames(str(table), names, files=[table], notes=notes),
            by_number=settings.match_numbers,
        )

    def check(outcomes: Sequence[RecordingOutcome]) -> None:
        reasons = [_reason(outcome.facts, outcome.reason, signal_path) for outcome in outcomes]
        selection.skipped(reasons, settings.max_skipped, skipped)

    options = replace(ReadOptions.of(settings), leads=signal_path.leads)
    preparation = Preparation(options, signal_path, fingerprints=False)
    prepared = prepare_records(selection, preparation, workers=settings.workers, progress=progress, check=check)
    reasons = [_reason(*each, signal_path) for each in zip(prepared.facts, prepared.reasons, strict=True)]
    left_out = selection.skipped(reasons, settings.max_skipped, skipped)
    facts = dict(zip(selection.paths, prepared.facts, strict=True))
    kept = np.repeat(np.array([reason is None for reason in reasons]), prepared.windows)
    recording = np.repeat(np.array(list(selection.paths)), prepared.windows)[kept]
    if prepared.signal is None or not kept.any():
        raise DataError(f"{selection.source}: no recording gives a window")
    return Unlabelled(
        path=selection.source,
        signal=prepared.signal,
        rows=np.flatnonzero(kept),
        recording=recording,
        window=number_within(recording),
        leads=signal_path.leads,
        channels=tuple(range(len(signal_path.leads))),
        sampling_rate=signal_path.sampling_rate,
        unit="zscore" if signal_path.zscore else "mV",
        skipped=left_out,
        notes=(*notes, *counted_notes(facts)),
        repeated={name: each.seconds for name, each in facts.items() if each and each.repeated},
    )


def _reason(facts: RecordingFacts | None, reason: str | None, signal_path: SignalPath) -> str | None:
    """Why a recording is left out; predictions from zeros in place of a lead would be worthless."""
    if facts is None or not facts.zeroed:
        return reason
    has, needed = ", ".join(facts.leads), ", ".join(signal_path.leads)
    return f"has no lead {', '.join(facts.zeroed)}, only {has}; the run needs {needed}"
