"""The text of `ecgtune data check`: an inspection and a split in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from ecgtune.data.dataset import Dataset
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.data.splits import Split, near_duplicates_across
from ecgtune.data.tasks import Task, label_counts
from ecgtune.io.labels import class_notes
from ecgtune.io.records.first_pass import RecordingFacts, counted_notes
from ecgtune.io.records.reading import Inspection
from ecgtune.text import printable, shortened
from ecgtune.utils import formatting

_NAMED = 3  # examples of a kind
_KINDS = 6  # different values of a fact
_LONGEST = 40  # characters of the name of a fact, such as that of a class


def inspection_text(found: Inspection) -> str:
    """Describe the findings, one line each, with counts and examples."""
    facts = list(found.facts.values())
    table = found.table
    lines = [
        ("recordings", f"{len(found.facts)} of {len(table) + len(found.absent)} with a label can be read"),
        ("sampling rates", _counted(f"{known.sampling_rate:g} Hz" for known in facts)),
        ("leads", _counted(_lead_set(known) for known in facts)),
        ("lengths", _lengths(facts)),
        ("task", _task(table.task, table.classes)),
        *_labels(found),
        ("positive class", _positive(found.dataset)),
        *(("note", text) for text in (*table.notes, *class_notes(table.classes))),
        ("no label", _named(table.unlabelled, "row", " of the table, left out")),
        ("no recording", _named(found.absent, "row", " of the table")),
        ("no row", _named(found.unused, "recording", " in the folder")),
        ("left out by the published split", _named(table.left_out, "recording")),
        *_groups(found),
        ("folds", found.table.unused_fold and f"column {found.table.unused_fold!r} is not used without --fold"),
        ("skipped", _skipped(found)),
        ("leads derived", _met(found, "derived")),
        ("leads zeroed", _met(found, "zeroed")),
        ("leads constant", _met(found, "constant")),
        ("leads saturated", _met(found, "saturated")),
        ("gaps filled", _met(found, "filled")),
        ("gaps left out", _met(found, "interrupted")),
        ("shorter than a window", _met(found, "repeated")),
        ("windows without signal", _met(found, "still")),
        *(("note", text) for text in counted_notes(found.facts)),
        ("same signal twice", _near_duplicates(found)),
        ("windows", _windows(found.dataset)),
    ]
    return _aligned(lines)


def windows_text(dataset: Dataset) -> str:
    """Describe a file of windows, one line per fact."""
    groups = "no column of groups: windows of one person may be in several splits"
    if dataset.group is not None:
        groups = f"{_groups_in(dataset, np.arange(len(dataset)))}, each in one split"
    lines = [
        ("windows", f"{_windows(dataset)} ({dataset.samples / dataset.sampling_rate:g} s)"),
        ("leads", " ".join(dataset.leads)),
        ("unit", dataset.unit),
        ("task", _task(dataset.task, dataset.classes)),
        *_label_lines(dataset.label, dataset.classes),
        ("positive class", _positive(dataset)),
        ("groups", groups),
        ("split", "" if dataset.split is None else _counted(dataset.split.tolist())),
        *(("note", text) for text in dataset.source.notes),
    ]
    return _aligned(lines)


def split_text(dataset: Dataset, split: Split) -> str:
    """Describe windows, groups and labels of each split, its origin and its warnings."""
    lines = [f"split: {split.origin}"]
    for name, rows in split.by_name().items():
        groups = "" if dataset.group is None else f" of {_groups_in(dataset, rows)}"
        positives, known = label_counts(dataset.label[rows], dataset.classes)
        counted = ", ".join(
            f"{label} {count}/{of}" for label, count, of in zip(dataset.classes, positives, known, strict=True)
        )
        lines.append(f"  {name}: {formatting.counted(len(rows), 'window')}{groups}; {counted}")
    crossing = near_duplicates_across(dataset, split.by_name())
    if not crossing and dataset.source.near_duplicates:
        lines.append("  recordings with the same signal are in the same split")
    return "\n".join(map(printable, [*lines, *(f"warning: {warning}" for warning in split.warnings)]))


def _groups_in(dataset: Dataset, rows: np.ndarray) -> str:
    assert dataset.group is not None
    return formatting.counted(len(np.unique(dataset.group[rows])), dataset.group_name or "group")


def _aligned(lines: Sequence[tuple[str, str]]) -> str:
    lines = [(shortened(printable(name), _LONGEST), printable(text)) for name, text in lines if text]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name + ':':{width + 2}}{text}" for name, text in lines)


def _positive(dataset: Dataset | None) -> str:
    return "" if dataset is None else dataset.positive_sentence.partition(": ")[2]


def _task(task: Task, classes: Sequence[str]) -> str:
    return f"{task}, {len(classes)} {'labels' if task == 'multilabel' else 'classes'}"


def _counted(values: Iterable[str]) -> str:
    counts = Counter(values).most_common()
    more = f", and {len(counts) - _KINDS} more" if len(counts) > _KINDS else ""
    return ", ".join(f"{value} ({count})" for value, count in counts[:_KINDS]) + more


def _lead_set(known: RecordingFacts) -> str:
    if set(known.leads) == set(STANDARD_LEADS):
        return "all 12"
    return " ".join(sorted(known.leads, key=STANDARD_LEADS.index))


def _lengths(facts: Sequence[RecordingFacts]) -> str:
    seconds = np.array([known.seconds for known in facts])
    if not len(seconds):
        return ""
    if seconds.min() == seconds.max():
        return f"{seconds[0]:g} s each, {seconds.sum() / 3600:.2f} h in all"
    low, middle, high = seconds.min(), np.median(seconds), seconds.max()
    return f"{low:g} to {high:g} s, median {middle:g} s, {seconds.sum() / 3600:.2f} h in all"


def _labels(found: Inspection) -> list[tuple[str, str]]:
    """Labels of the recordings that can be read."""
    return _label_lines(found.table.label[np.isin(found.table.recording, list(found.facts))], found.table.classes)


def _label_lines(label: np.ndarray, classes: Sequence[str]) -> list[tuple[str, str]]:
    positives, known = label_counts(label, classes)
    lines = []
    for name, count, of in zip(classes, positives.tolist(), known.tolist(), strict=True):
        missing = len(label) - of
        percent = f"{100 * count / of:.1f} %" if of else "none known"
        lines.append((f"  {name}", f"{count} of {of} ({percent})" + (f", {missing} missing" if missing else "")))
    return lines


def _groups(found: Inspection) -> list[tuple[str, str]]:
    table, lines = found.table, []
    if table.patient is None:
        lines.append(("groups", "no column of patients: each recording is in one split, and one person may be in two"))
    else:
        lines.append(("groups", f"{formatting.counted(len(np.unique(table.patient)), 'patient')}, each in one split"))
    if table.site is not None:
        lines.append(("sites", _counted(table.site.tolist())))
    return lines


def _named(names: Sequence[str], noun: str, rest: str = "") -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > _NAMED else ""
    return f"{formatting.counted(len(names), noun)}{rest}: {', '.join(names[:_NAMED])}{more}"


def _skipped(found: Inspection) -> str:
    if not found.skipped:
        return "none"
    first = found.skipped[0]
    return f"{len(found.skipped)}, such as {first.recording}: {first.reason}"


def _met(found: Inspection, what: str) -> str:
    return _named([name for name, known in found.facts.items() if getattr(known, what)], "recording")


def _near_duplicates(found: Inspection) -> str:
    pairs = [f"{pair.first} = {pair.second} ({pair.correlation:.3f})" for pair in found.near_duplicates]
    return _named(pairs, "pair", " of recordings, at any gain, offset or rate")


def _windows(dataset: Dataset | None) -> str:
    if dataset is None:
        return ""
    windows, leads, samples = dataset.signal.shape
    return f"{windows} of {formatting.counted(leads, 'lead')} and {samples} samples at {dataset.sampling_rate:g} Hz"
