"""A table of labels and a folder of recordings into a `Dataset`, with all findings."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import from_table, require, to_table
from ecgtune.data.dataset import Dataset, Source, check_rate
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.data.near_duplicates import DuplicatePair
from ecgtune.data.signal.path import SignalPath, SignalSteps
from ecgtune.errors import DataError, QuestionError
from ecgtune.io.joining import files_by_split
from ecgtune.io.label_table import LabelTable, TableColumns, read_label_table
from ecgtune.io.labels import class_notes
from ecgtune.io.readers.base import LongRecordingError, ReadOptions, Recording
from ecgtune.io.readers.registry import find_recordings, read_recording
from ecgtune.io.records.cache import PreparedRecords, prepare_records
from ecgtune.io.records.first_pass import (
    Expected,
    Preparation,
    Progress,
    RecordingFacts,
    RecordingOutcome,
    counted_notes,
)
from ecgtune.io.records.selection import Selection, SkippedRecording, TableNames, select_recordings
from ecgtune.utils.formatting import counted


@dataclass(frozen=True)
class RecordSettings(SignalSteps):
    """How recordings become windows, and how many may be unusable.

    Rate, leads or window of None are taken from the recordings, which must then all have the same. The other settings
    are those of `SignalPath`.
    """

    sampling_rate: float | None = None
    """Rate of the windows in Hz."""
    leads: tuple[str, ...] | None = None
    """Leads of the windows; a missing one is derived from I and II where possible, else zeros."""
    match_numbers: bool = False
    """Match a recording that the table names by a number, 1, with the only one that has it in its name, 00001_hr."""
    max_skipped: float = 0.01
    """Fraction of the labelled recordings that may be missing or unusable; above it nothing is read."""
    workers: int | None = None
    """Processes of the first pass; None to decide by the amount of work."""

    def __post_init__(self) -> None:
        require(0 <= self.max_skipped <= 1, f"max_skipped {self.max_skipped} is not allowed; 0 to 1 is")
        require(self.workers is None or 1 <= self.workers <= 1024, f"workers {self.workers}; 1 to 1024 are allowed")
        if self.sampling_rate is not None:
            check_rate(self.sampling_rate, "the rate of the windows,")


@dataclass(frozen=True)
class RecordFiles:
    """A table of labels, the recordings that it names, and how both are read: the arguments of `read_records`."""

    table: str | Path
    records: str | Path
    columns: TableColumns = field(default_factory=TableColumns)
    options: ReadOptions = field(default_factory=ReadOptions)
    settings: RecordSettings = field(default_factory=RecordSettings)

    def plain(self) -> dict[str, Any]:
        """The files as `Source.reading`, as plain values."""
        files = {name: getattr(self.columns, name) for name in ("val_file", "test_file")}
        others = {name: Path(os.path.realpath(file)) for name, file in files.items() if file}
        return {
            "kind": "records",
            "table": os.path.realpath(self.table),
            "records": os.path.realpath(self.records),
            "columns": to_table(replace(self.columns, **others)),
            "options": to_table(self.options),
            "settings": to_table(self.settings),
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> RecordFiles:
        """The files of `plain`. Raises SettingError for a setting that is none."""
        return cls(
            plain["table"],
            plain["records"],
            from_table(TableColumns, plain["columns"], "the columns"),
            from_table(ReadOptions, plain["options"], "the options"),
            from_table(RecordSettings, plain["settings"], "the settings"),
        )


@dataclass(frozen=True, eq=False)
class Inspection:
    """Findings about a table and its recordings.

    facts: of the recordings that can be read, by identifier. absent: names in the table without a recording. unused:
    recordings without a row. skipped: recordings without a usable file, `absent` included. problems: reasons why there
    is no `dataset`, one line each; empty when there is one.
    """

    table: LabelTable
    facts: Mapping[str, RecordingFacts]
    absent: tuple[str, ...]
    unused: tuple[str, ...]
    skipped: tuple[SkippedRecording, ...]
    near_duplicates: tuple[DuplicatePair, ...]
    dataset: Dataset | None
    problems: tuple[str, ...] = field(default=())


def read_records(
    table: str | Path,
    records: str | Path,
    *,
    columns: TableColumns = TableColumns(),  # noqa: B008 (frozen)
    options: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
    settings: RecordSettings = RecordSettings(),
    skipped: str | Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Read a table of labels and the recordings in the folder `records` that it names, as windows.

    columns: names of the table's columns. options: facts that the files do not state. settings: rate, leads and length
    of the windows, filters. skipped: CSV file for the recordings that cannot be used (recording, file, reason); written
    only if there are any. progress: called with the number of recordings that are done, and of all.

    The windows are in the table's order, in a memory map in the cache folder; `group` is the patient where the table
    has one, else the recording. Raises DataError, SettingError or RunError, one line each.
    """
    found = inspect_records(
        table, records, columns=columns, options=options, settings=settings, skipped=skipped, progress=progress
    )
    if found.dataset is None:
        raise DataError(". Also: ".join(found.problems))
    return found.dataset


def inspect_records(
    table: str | Path,
    records: str | Path,
    *,
    columns: TableColumns = TableColumns(),  # noqa: B008 (frozen)
    options: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
    settings: RecordSettings = RecordSettings(),
    skipped: str | Path | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Read recordings as `read_records` does and return all findings; errors of the recordings are in `problems`.

    Errors of the table or the settings are raised.
    """
    try:
        labels = read_label_table(table, columns)
    except QuestionError as question:
        others = _questions_of_first(Path(records), replace(options, leads=settings.leads))
        raise QuestionError(question.where, *question.questions, *others) from None
    names = TableNames(
        labels.path,
        labels.recording.tolist(),
        others=[*labels.unlabelled, *labels.left_out],
        files=list(files_by_split(table, columns.val_file, columns.test_file).values()),
        notes=labels.notes,
    )
    selection, identifiers = select_recordings(
        Path(records), names, kind="labelled recordings", by_number=settings.match_numbers
    )
    labels = labels.matched(identifiers)
    preparation = _preparation(settings, selection, options)

    def check(outcomes: Sequence[RecordingOutcome]) -> None:
        selection.skipped([outcome.reason for outcome in outcomes], settings.max_skipped, skipped)

    prepared = prepare_records(selection, preparation, workers=settings.workers, progress=progress, check=check)
    left_out = selection.skipped(prepared.reasons, settings.max_skipped, skipped)
    reading = RecordFiles(table, records, columns, options, settings).plain()
    facts = {name: known for name, known in zip(selection.paths, prepared.facts, strict=True) if known is not None}
    problems = _differences(facts, preparation.expected, labels.path)
    dataset = None
    if not problems:
        dataset = _dataset(labels, selection, prepared, preparation.signal_path, len(left_out), reading)
        dataset = dataset.with_positive(columns.positive)
    return Inspection(
        table=labels,
        facts=facts,
        absent=selection.missing,
        unused=selection.unused,
        skipped=left_out,
        near_duplicates=prepared.near_duplicates,
        dataset=dataset,
        problems=tuple(problems),
    )


def _preparation(settings: RecordSettings, selection: Selection, options: ReadOptions) -> Preparation:
    """Take settings of None from the first recording that can be read."""
    options, first = replace(options, leads=settings.leads), None
    if settings.sampling_rate is None or settings.leads is None or settings.window is None:
        first = _first_readable(selection.paths.values(), options)
    leads, rate = settings.leads, settings.sampling_rate
    expected = Expected()
    if first is not None:
        expected = Expected(
            first.sampling_rate if rate is None else None,
            frozenset(first.leads) if leads is None else None,
            first.seconds if settings.window is None else None,
        )
        rate = first.sampling_rate if rate is None else rate
        leads = tuple(lead for lead in STANDARD_LEADS if lead in first.leads) if leads is None else leads
    # Without a readable recording any rate and leads will do: the first pass reports the reasons.
    steps = {item.name: getattr(settings, item.name) for item in fields(SignalSteps)}
    path = SignalPath(rate or 500.0, leads or STANDARD_LEADS, **steps)
    return Preparation(options, path, expected)


def _questions_of_first(folder: Path, options: ReadOptions) -> tuple[str, ...]:
    """Return what the first recording in the folder does not state, to ask for it with what the table leaves open."""
    try:
        read_recording(next(iter(find_recordings(folder).values())), options)
    except QuestionError as question:
        return (f"{question.where}: {question.questions[0]}", *question.questions[1:])
    except DataError:  # reported once the table can be read
        pass
    return ()


def _first_readable(paths: Iterable[Path], options: ReadOptions) -> Recording | LongRecordingError | None:
    for path in paths:
        try:
            return read_recording(path, options)
        except LongRecordingError as long:  # leads, rate and length are known
            return long
        except DataError:
            continue
    return None


def _differences(facts: Mapping[str, RecordingFacts], expected: Expected, table: str) -> list[str]:
    """Describe differences between recordings that no setting makes equal, with counts and examples."""
    problems = []
    if expected.sampling_rate is not None:
        rates = {name: f"{known.sampling_rate:g} Hz" for name, known in facts.items()}
        problems += _mixed(table, "sampling rates", rates, "give the rate that all shall have: --resample (Hz)")
    if expected.leads is not None:
        sets = {name: " ".join(sorted(known.leads, key=STANDARD_LEADS.index)) for name, known in facts.items()}
        union = " ".join(lead for lead in STANDARD_LEADS if any(lead in known.leads for known in facts.values()))
        hint = f"give the leads that all shall have: --leads {union} keeps all, with zeros for those not recorded"
        problems += _mixed(table, "lead sets", sets, hint)
    if expected.seconds is not None:
        lengths = {name: f"{known.seconds:g} s" for name, known in facts.items()}
        shortest = min((known.seconds for known in facts.values()), default=0.0)
        hint = f"give the length of a window: --window (seconds); the shortest recording has {shortest:g}"
        problems += _mixed(table, "lengths", lengths, hint)
    return problems


def _mixed(table: str, what: str, values: Mapping[str, str], hint: str) -> list[str]:
    counts = Counter(values.values())
    if len(counts) < 2:
        return []
    example = {value: name for name, value in reversed(list(values.items()))}
    parts = [f"{value} ({count}, such as {example[value]})" for value, count in counts.most_common(4)]
    more = ", ..." if len(counts) > 4 else ""
    return [f"{table}: the recordings have {len(counts)} {what}: {', '.join(parts)}{more}; {hint}"]


def _dataset(
    labels: LabelTable,
    selection: Selection,
    prepared: PreparedRecords,
    signal_path: SignalPath,
    skipped: int,
    reading: Mapping[str, Any],
) -> Dataset:
    """The windows with the labels of their recordings."""
    if prepared.signal is None:
        raise DataError(f"{labels.path}: no recording gives a window; see the reasons in skipped.csv")
    row = np.repeat(np.arange(len(selection.paths)), prepared.windows)
    recording = np.array(list(selection.paths))[row]
    digest = hashlib.sha256(f"{labels.sha256} {prepared.sha256}".encode()).hexdigest()
    return Dataset(
        signal=prepared.signal,
        label=labels.label[row],
        classes=labels.classes,
        sampling_rate=signal_path.sampling_rate,
        leads=signal_path.leads,
        unit="zscore" if signal_path.zscore else "mV",
        group=recording if labels.patient is None else labels.patient[row],
        group_name="record" if labels.patient is None else "patient",
        split=None if labels.split is None else labels.split[row],
        source=Source(
            labels.path,
            digest,
            signal_path=signal_path.to_dict(),
            split_origin=labels.split_origin,
            notes=_notes(labels, selection, prepared.facts, skipped),
            near_duplicates=tuple((pair.first, pair.second) for pair in prepared.near_duplicates),
            reading=reading,
        ),
        recording=recording,
        site=None if labels.site is None else labels.site[row],
        recorded={name: values[row] for name, values in _recorded(prepared.facts).items()},
    )


def _recorded(facts: Sequence[RecordingFacts | None]) -> dict[str, NDArray[np.str_]]:
    """Rate, length and leads of each recording as text, for subgroups."""
    texts = {
        "rate": lambda known: f"{known.sampling_rate:g} Hz",
        "length": lambda known: f"{known.seconds:g}",
        "leads": lambda known: ", ".join(known.leads),
    }
    return {name: np.array(["" if known is None else text(known) for known in facts]) for name, text in texts.items()}


def _notes(
    labels: LabelTable, selection: Selection, facts: Sequence[RecordingFacts | None], skipped: int
) -> tuple[str, ...]:
    """Facts that a reader of any result from these windows must know."""
    names, total = list(selection.paths), len(selection.paths) + len(selection.missing)
    known = [each for each in facts if each is not None]
    counts = (
        (len(labels.unlabelled), "recording", "of the table left out: no label"),
        (sum(each.repeated for each in known), "recording", "shorter than the window, repeated to fill it"),
        (sum(bool(each.zeroed) for each in known), "recording", "without a lead, which is zeros"),
        (sum(bool(each.saturated) for each in known), "recording", "saturated in a lead (cut off by the recorder)"),
        (sum(each.still for each in known), "window", "left out: no lead changes"),
        (sum(each.filled > 0 for each in known), "recording", "with gaps, which were interpolated"),
        (sum(each.interrupted > 0 for each in known), "recording", "with long gaps, which no window covers"),
    )
    left_out = f"{skipped} of {counted(total, 'labelled recording')} left out (see skipped.csv)"
    notes = [*labels.notes, *class_notes(labels.classes), *([left_out] if skipped else [])]
    notes += [f"{counted(count, noun)} {what}" for count, noun, what in counts if count]
    notes += counted_notes(dict(zip(names, facts, strict=True)))
    if labels.unused_fold:
        notes.append(f"the table's column {labels.unused_fold!r} is not used; --fold {labels.unused_fold} splits by it")
    return tuple(notes)
