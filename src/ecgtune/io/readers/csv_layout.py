"""What the columns of a CSV file of windows mean: samples, labels, groups and splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecgtune.errors import DataError, QuestionError
from ecgtune.io.readers.base import WindowColumns
from ecgtune.io.readers.column_names import (
    LABEL_NAMES,
    PATIENT_NAMES,
    RECORD_NAMES,
    RECORDING_NAMES,
    SPLIT_NAME,
    label_candidates,
)
from ecgtune.text import shown
from ecgtune.utils.formatting import counted, listed

_PREFIX = "signal_"  # of samples, whatever other columns have numbers
_MOST_NUMBERED = 2  # columns with a number, from 1, that a table of labels may have: infarction_stadium1 and 2


@dataclass(frozen=True)
class Layout:
    """Names of all columns, and the columns of samples, labels, groups and splits.

    several: each column of `label` is a label of its own. Without any `label` the windows have none. gaps: cells that
    are read as NaN. notes: on what was assumed about the columns.
    """

    names: tuple[str, ...]
    samples: tuple[int, ...]
    label: tuple[int, ...]
    group: int | None = None
    split: int | None = None
    several: bool = False
    gaps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def plain_layout(path: Path, cells: list[str], columns: WindowColumns) -> Layout:
    """A file without header: samples, then the label."""
    last = len(cells) - 1
    samples = tuple(f"signal_{i}" for i in range(last))
    if not columns.labelled:
        if columns.samples == len(cells):
            return Layout((*samples, f"signal_{last}"), tuple(range(len(cells))), ())
        if columns.samples == last:
            return Layout((*samples, "label"), tuple(range(last)), ())
        needed = "" if columns.samples is None else f" {columns.samples} samples, or these and a label, or"
        raise DataError(
            f"{path}: the file has no header, and {counted(len(cells), 'column')}; its windows need{needed} a header:"
            " signal_0, ..."
        )
    for name in (columns.label, columns.group, *(columns.labels or ())):
        if name is not None:
            raise DataError(
                f"{path}: the file has no header, so no column can be named '{name}'; leave the name out"
                " (the last column is the label) or add a header"
            )
    return Layout((*samples, "label"), tuple(range(last)), (last,))


def named_layout(path: Path, line: int, names: tuple[str, ...], columns: WindowColumns) -> Layout:
    """A file with a header: each column is label, group, split or sample. Raises DataError."""
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if not name:
            raise DataError(
                f"{path}: row {line}: column {index + 1} has no name; name it or leave it out (a saved index?)"
            )
        if name in seen:
            raise DataError(
                f"{path}: row {line}: columns {seen[name] + 1} and {index + 1} are both named {shown(name)}; names"
                " must differ"
            )
        seen[name] = index
    lower = {name.casefold(): index for name, index in reversed(seen.items())}
    groups = [lower[name] for name in PATIENT_NAMES + RECORD_NAMES if name in lower]
    split = lower.get(SPLIT_NAME)
    group = _column(path, names, columns.group, "group") if columns.group else (groups[0] if groups else None)
    if not columns.labelled:
        return Layout(names, _samples(path, line, names, range(len(names))), (), group)
    asked = columns.labels or ((columns.label,) if columns.label else ())
    label = tuple(_column(path, names, name, "labels" if columns.labels else "label") for name in asked)
    if group is not None and (group in label or (not label and names[group].casefold() == LABEL_NAMES[0])):
        raise DataError(
            f"{path}: column {shown(names[group])} cannot be both label and group; name two different columns"
        )
    used = {*groups, group, split, *label}
    left = [index for index in range(len(names)) if index not in used]
    samples, notes = _samples(path, line, names, left), []
    others = sorted({*left} - {*samples})
    if not label:
        label = (_label(path, line, names, samples, others),)
        samples = tuple(index for index in samples if index not in label)
        if names[label[0]].casefold() not in LABEL_NAMES:
            notes.append(f"the labels are those of column {shown(names[label[0]])}")
    unused = [shown(names[index]) for index in others if index not in label]
    if unused:
        notes.append(f"columns that are not used: {listed(unused)}")
    return Layout(names, samples, label, group, split, columns.labels is not None, notes=tuple(notes))


def _label(path: Path, line: int, names: tuple[str, ...], samples: Sequence[int], others: Sequence[int]) -> int:
    """The only column of `others` that may hold the labels; the last sample where all have numbers for names."""
    candidates = label_candidates([names[index] for index in others])
    if not candidates and all(names[index].isdecimal() for index in samples):
        return samples[-1]
    if len(candidates) != 1:
        found = [shown(name) for name in candidates or (names[index] for index in others)]
        it = f"it may be {listed(found, 'or')}" if candidates else "none is named so"
        it += f", beside {listed(found)}" if found and not candidates else ""
        raise QuestionError(f"{path}: row {line}", f"which column is the label? {it}; name it with --label")
    return names.index(candidates[0])


def _column(path: Path, names: tuple[str, ...], wanted: str, what: str) -> int:
    if wanted in names:
        return names.index(wanted)
    some = [shown(name) for name in (names if len(names) <= 8 else (*names[:3], *names[-3:]))]
    if len(names) > 8:
        some.insert(3, "...")
    raise DataError(f"{path}: no column {shown(wanted)} for the {what}; the columns are {', '.join(some)}")


def _samples(path: Path, line: int, names: tuple[str, ...], left: Sequence[int]) -> tuple[int, ...]:
    """The columns among `left` with a prefix and a running number: signal_, else the most frequent. Raises DataError.

    A gap in the numbers is refused, and so is a second prefix with several numbers.
    """
    found = {index: match for index in left if (match := re.match(r"(.*?)(\d{1,9})$", names[index]))}
    counts = Counter(match[1] for match in found.values()).most_common(2)
    if any(match[1] == _PREFIX for match in found.values()):
        counts = [(_PREFIX, len(found))]
    samples = tuple(index for index, match in found.items() if match[1] == counts[0][0])
    named = any(name.casefold() in RECORDING_NAMES for name in names)
    first = int(found[samples[0]][2]) if samples else 0
    if not samples or (named and first and len(samples) <= _MOST_NUMBERED):
        raise DataError(
            f"{path}: row {line}: no sample columns; signal_0, signal_1, ... are needed; of a table of labels, give the"
            " folder of its recordings with --records FOLDER"
        )
    if len(counts) > 1 and counts[1][1] > _MOST_NUMBERED:
        prefixes = " and ".join(shown(f"{prefix}...") for prefix, _ in counts)
        raise DataError(
            f"{path}: row {line}: columns {prefixes} may both be the samples; a row of a CSV file has one lead: leave"
            " the others out, or save the leads as NPZ"
        )
    for expected, index in enumerate(samples, first):
        if int(found[index][2]) != expected:
            raise DataError(
                f"{path}: row {line}: column {index + 1} {shown(names[index])} is not the next sample column,"
                f" {shown(f'{counts[0][0]}{expected}')}; allowed: signal_0, signal_1, ... in order"
            )
    return samples
