"""Recordings that are left out: listed with the reason, and refused when they are too many."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecgtune.errors import DataError
from ecgtune.utils.files import write_text


@dataclass(frozen=True)
class Skipped:
    """A recording of the table, its file ("" when there is none), and why it is left out."""

    recording: str
    file: str
    reason: str


def write_skipped(path: Path, skipped: Sequence[Skipped]) -> None:
    """Write `recording,file,reason`, one row each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["recording", "file", "reason"])
    writer.writerows([one.recording, one.file, one.reason] for one in skipped)
    write_text(path, text.getvalue())


def check_share(
    skipped: Sequence[Skipped], total: int, allowed: float, table: str, what: str = "labelled recordings"
) -> None:
    """Raise DataError when more than the share `allowed` of `total` recordings, or all of them, are left out.

    table, what: name the source and the recordings in the message.
    """
    if len(skipped) == total:
        raise DataError(
            f"{table}: not one of its {total} {what} can be used; {skipped[0].recording}: {skipped[0].reason}"
        )
    if len(skipped) > allowed * total:
        first = skipped[0]
        named = ", ".join(one.recording for one in skipped[:3]) + (", ..." if len(skipped) > 3 else "")
        raise DataError(
            f"{table}: {len(skipped)} of {total} {what} cannot be used ({named}), more than"
            f" {100 * allowed:.3g} %; {first.recording}: {first.reason}. Repair them, or allow more with --max-skipped"
            f" {int(100 * len(skipped) / total + 1) / 100:g}"
        )
