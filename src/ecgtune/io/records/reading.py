"""A table of labels and a folder of recordings into a `Dataset`, with everything that was met on the way."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from ecgtune.config.base import require
from ecgtune.data.dataset import Dataset, Source, check_rate
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.data.near_duplicates import DuplicatePair
from ecgtune.data.signal.path import Short, SignalPath
from ecgtune.errors import DataError
from ecgtune.io.label_table import LabelTable, TableColumns, read_label_table
from ecgtune.io.matching import match_recordings
from ecgtune.io.readers.base import ReadOptions, Recording
from ecgtune.io.readers.registry import find_recordings, read_recording
from ecgtune.io.records.cache import Prepared, prepare_cached
from ecgtune.io.records.first_pass import Expected, Facts, Progress
from ecgtune.io.records.skipped import Skipped, check_share, write_skipped

NO_FILE = "no recording of this name in the folder"


@dataclass(frozen=True)
class RecordSettings:
    """How recordings become windows, and what is done about those that cannot.

    What is None is taken from the recordings, which then all have to be alike in it: their rate, their leads, their
    length. The other settings are those of `SignalPath`.
    """

    sampling_rate: float | None = None
    """Rate of the windows in Hz."""
    leads: tuple[str, ...] | None = None
    """Leads of the windows; one that a recording lacks is derived from I and II where physics gives it, else zeros."""
    resampling: str = "polyphase"
    window: float | None = None
    step: float | None = None
    short: Short = "repeat"
    band: tuple[float, float] | None = None
    mains: float | None = None
    longest_gap: float = 0.1
    zscore: bool = False
    max_skipped: float = 0.01
    """Share of the labelled recordings that may be missing or unusable; above it nothing is read."""
    workers: int | None = None
    """Processes of the first pass; as many as cores when None."""

    def __post_init__(self) -> None:
        require(0 <= self.max_skipped <= 1, f"max_skipped {self.max_skipped} is not allowed; 0 to 1 (a share) is")
        require(self.workers is None or self.workers >= 1, f"workers {self.workers} is not allowed; 1 or more is")
        if self.sampling_rate is not None:
            check_rate(self.sampling_rate, "the rate of the windows,")


@dataclass(frozen=True, eq=False)
class Inspection:
    """A table and its recordings, looked at. `facts` of those that could be read, by identifier.

    absent: names in the table without a recording. unused: recordings without a row. skipped: all that is left out for
    want of a usable file, `absent` too. problems: why there is no `dataset`, one line each; empty when there is one.
    """

    table: LabelTable
    facts: Mapping[str, Facts]
    absent: tuple[str, ...]
    unused: tuple[str, ...]
    skipped: tuple[Skipped, ...]
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

    columns: which column of the table is what. options: what the files do not say themselves. settings: rate, leads
    and length of the windows, filters. skipped: where to list the recordings that could not be used (CSV: recording,
    file, reason); written only if there are any. progress: called with how many recordings are done, and how many
    there are.

    The windows stand in the table's order and in a memory map in the cache folder; `group` is the patient where the
    table has one, else the recording. Raises DataError, SettingError or RunError, one line each.
    """
    found = inspect_records(
        table, records, columns=columns, options=options, settings=settings, skipped=skipped, progress=progress
    )
    if found.dataset is None:
        raise DataError(found.problems[0])
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
    """`read_records` for who wants to know everything: what is wrong with the recordings is in `problems`.

    What is wrong with the table or the settings is raised, as by `read_records`.
    """
    folder, labels = Path(records), read_label_table(table, columns)
    files = find_recordings(folder, leave_out=[Path(table)])
    everyone = [*labels.recording.tolist(), *labels.unlabelled, *labels.left_out]
    matched = match_recordings(everyone, files, str(table))
    identifiers = matched.identifier[: len(labels)]
    there = np.array([identifier is not None for identifier in identifiers])
    absent = tuple(labels.recording[~there].tolist())
    lost = [Skipped(name, "", NO_FILE) for name in absent]
    if not there.any():
        raise DataError(
            f"{table}: none of its {len(labels)} recordings is in {folder} (row {labels.row[0]}: {labels.recording[0]};"
            f" the folder has {next(iter(files))}, ...); is it the right folder, and the right --recording-column?"
        )
    labels = labels.select(there)
    asked = {identifier: files[identifier] for identifier in identifiers if identifier is not None}
    signal_path, expected = _resolve(settings, asked, options)
    total = len(lost) + len(asked)

    def judge(reasons: Sequence[str | None]) -> list[Skipped]:
        """All that is left out; above the share that may be, an error after it has been listed."""
        pairs = zip(asked.items(), reasons, strict=True)
        found = lost + [Skipped(name, str(path), reason) for (name, path), reason in pairs if reason is not None]
        if found and skipped is not None:
            write_skipped(Path(skipped), found)
        check_share(found, total, settings.max_skipped, str(table))
        return found

    prepared = prepare_cached(
        folder,
        asked,
        options,
        signal_path,
        expected,
        workers=settings.workers,
        progress=progress,
        keep=lambda outcomes: judge([outcome.reason for outcome in outcomes]),
    )
    left_out = judge(prepared.reasons)
    facts = {name: known for name, known in zip(asked, prepared.facts, strict=True) if known is not None}
    problems = _differences(facts, expected, str(table))
    dataset = None if problems else _dataset(labels, list(asked), prepared, signal_path, left_out, total)
    return Inspection(
        labels, facts, absent, matched.unused, tuple(left_out), prepared.near_duplicates, dataset, tuple(problems)
    )


def _resolve(
    settings: RecordSettings, recordings: Mapping[str, Path], options: ReadOptions
) -> tuple[SignalPath, Expected]:
    """The signal path with what the settings leave open taken from the first recording that can be read."""
    first = None
    if settings.sampling_rate is None or settings.leads is None or settings.window is None:
        first = _first_readable(recordings, options)
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
    if rate is None or leads is None:  # not one can be read: the first pass says why
        rate, leads = rate or 500.0, leads or STANDARD_LEADS
    shared = {item.name for item in fields(SignalPath)} - {"sampling_rate", "leads"}
    return SignalPath(rate, leads, **{name: getattr(settings, name) for name in shared}), expected


def _first_readable(recordings: Mapping[str, Path], options: ReadOptions) -> Recording | None:
    for path in recordings.values():
        try:
            return read_recording(path, options)
        except DataError:
            continue
    return None


def _differences(facts: Mapping[str, Facts], expected: Expected, table: str) -> list[str]:
    """What recordings do not have in common though nothing was said that would make them equal; named and counted."""
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
    names: Sequence[str],
    prepared: Prepared,
    signal_path: SignalPath,
    left_out: Sequence[Skipped],
    total: int,
) -> Dataset:
    """The windows with what the table says about their recordings."""
    windows = np.array([0 if known is None else known.windows for known in prepared.facts])
    if prepared.signal is None:
        raise DataError(f"{labels.path}: no recording gives a window; see the reasons in skipped.csv")
    row = np.repeat(np.arange(len(names)), windows)
    recording = np.array(names)[row]
    group = recording if labels.patient is None else labels.patient[row]
    digest = hashlib.sha256(f"{labels.sha256} {prepared.sha256}".encode()).hexdigest()
    return Dataset(
        signal=prepared.signal,
        label=labels.label[row],
        classes=labels.classes,
        sampling_rate=signal_path.sampling_rate,
        leads=signal_path.leads,
        unit="zscore" if signal_path.zscore else "mV",
        group=group,
        group_name="record" if labels.patient is None else "patient",
        split=None if labels.split is None else labels.split[row],
        source=Source(
            labels.path,
            digest,
            signal_path=signal_path.to_dict(),
            split_origin=labels.split_origin,
            notes=_notes(labels, prepared.facts, left_out, total),
            near_duplicates=tuple((pair.first, pair.second) for pair in prepared.near_duplicates),
        ),
        recording=recording,
        site=None if labels.site is None else labels.site[row],
    )


def _notes(
    labels: LabelTable, facts: Sequence[Facts | None], left_out: Sequence[Skipped], total: int
) -> tuple[str, ...]:
    """What a reader of any figure made from these windows must know."""
    known = [each for each in facts if each is not None]
    counts = (
        (len(left_out), f"of {total} labelled recordings were left out (see skipped.csv)"),
        (len(labels.unlabelled), "recordings of the table have no label and were left out"),
        (sum(each.repeated for each in known), "recordings are shorter than the window and were repeated to fill it"),
        (sum(bool(each.zeroed) for each in known), "recordings lack a lead, which is zeros"),
        (sum(bool(each.saturated) for each in known), "recordings are saturated in a lead (cut off by the recorder)"),
        (sum(each.still for each in known), "windows in which no lead changes were left out"),
        (sum(each.filled > 0 for each in known), "recordings had gaps, which were interpolated"),
    )
    notes = [f"{count} {what}" for count, what in counts if count]
    if labels.unused_fold:
        notes.append(f"the table's column {labels.unused_fold!r} is not used; --fold {labels.unused_fold} splits by it")
    return tuple(notes)
