"""Which recordings of a folder are read, and which are left out: listed with the reason, refused when too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecgtune.errors import DataError
from ecgtune.io.matching import match_numbers, match_recordings
from ecgtune.io.readers.csv_table import is_table
from ecgtune.io.readers.registry import find_recordings, whole_recordings
from ecgtune.text import printable
from ecgtune.utils.csv_cells import csv_text
from ecgtune.utils.files import write_text
from ecgtune.utils.formatting import counted

NO_FILE = "no recording of this name in the folder"


@dataclass(frozen=True)
class SkippedRecording:
    """A recording that is left out, its file ("" when there is none), and the reason."""

    recording: str
    file: str
    reason: str


@dataclass(frozen=True)
class Selection:
    """Recordings to read from a folder.

    paths: id to path. missing: names without a recording. unused: ids that nothing names. source, kind: name the table
    or folder and the recordings in messages.
    """

    folder: Path
    paths: Mapping[str, Path]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    source: str
    kind: str = "recordings"

    def skipped(
        self, reasons: Sequence[str | None], max_skipped: float, listing: str | Path | None
    ) -> tuple[SkippedRecording, ...]:
        """Return the recordings that are left out: those missing, and those with a reason.

        They are written to the CSV file `listing`. Raises DataError when they are more than the fraction `max_skipped`
        of all, or all.
        """
        pairs = zip(self.paths.items(), reasons, strict=True)
        found = [SkippedRecording(name, "", NO_FILE) for name in self.missing]
        found += [SkippedRecording(name, str(path), reason) for (name, path), reason in pairs if reason is not None]
        if found and listing is not None:
            rows = [("recording", "file", "reason"), *((each.recording, each.file, each.reason) for each in found)]
            write_text(Path(listing), csv_text(rows))
        total = len(self.missing) + len(self.paths)
        if len(found) > max_skipped * total or len(found) == total:
            named = ", ".join(printable(each.recording) for each in found[:3]) + (", ..." if len(found) > 3 else "")
            example = _typical(found)
            why = f"{printable(example.recording)}: {printable(example.reason)}"
            if total == 1:
                raise DataError(f"{self.source}: {printable(example.reason)}")
            if len(found) == total:
                raise DataError(f"{self.source}: not one of its {total} {self.kind} can be used; {why}")
            raise DataError(
                f"{self.source}: {len(found)} of {total} {self.kind} cannot be used ({named}), more than"
                f" {100 * max_skipped:.3g} %; {why}. Repair them, or allow more with --max-skipped"
                f" {int(100 * len(found) / total + 1) / 100:g}"
            )
        return tuple(found)


def _typical(found: Sequence[SkippedRecording]) -> SkippedRecording:
    """Return the first one with the most common reason; of the files unless most names have none."""
    unusable = [each for each in found if each.file]
    found = unusable if 2 * len(unusable) >= len(found) else found
    counts = Counter(each.reason for each in found)
    return max(found, key=lambda each: counts[each.reason])


@dataclass(frozen=True)
class TableNames:
    """Names of recordings in a table.

    table: its name in messages. names: those to read. others: those that are not read, so that their recordings do not
    count as unused. files: tables, which are no recordings where they are in the folder. notes: on the names, for the
    error.
    """

    table: str
    names: Sequence[str]
    others: Sequence[str] = ()
    files: Sequence[Path] = ()
    notes: Sequence[str] = ()


def select_recordings(
    folder: Path, asked: TableNames, *, kind: str = "recordings", by_number: bool = False
) -> tuple[Selection, tuple[str | None, ...]]:
    """Match the names of a table with the recordings in a folder; also return the id of each one's recording or None.

    kind: of the recordings, in messages. by_number: see `matching.match_numbers`. Other tables and the segments of a
    record do not count as unused. Raises DataError when no name has a recording, or a match is ambiguous.
    """
    table, names, others = asked.table, asked.names, asked.others
    files = find_recordings(folder, leave_out=asked.files)
    numbers = match_numbers([*names, *others], files)
    if by_number:
        names, others = ([numbers.get(name, name) for name in each] for each in (names, others))
    matched = match_recordings([*names, *others], files, table)
    identifiers = matched.identifier[: len(names)]
    paths = {identifier: files[identifier] for identifier in identifiers if identifier is not None}
    if not paths:
        hint = (
            f"is it the right folder, and the right --recording-column{''.join(f' ({note})' for note in asked.notes)}?"
        )
        if numbers:
            name, identifier = next(iter(numbers.items()))
            hint = f"zeros of names seem to be lost ({len(numbers)}); --match-numbers takes {name} for {identifier}"
        raise DataError(
            f"{table}: none of its {counted(len(names), 'recording')} is in {folder} ({names[0]}; the folder has"
            f" {next(iter(files))}, ...); {hint}"
        )
    missing = tuple(name for name, identifier in zip(names, identifiers, strict=True) if identifier is None)
    whole = whole_recordings(files) if matched.unused else {}
    unused = tuple(each for each in matched.unused if each in whole and not is_table(whole[each]))
    return Selection(folder, paths, missing, unused, table, kind), identifiers
