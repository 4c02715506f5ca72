"""CSV files of results with one row per run, written under a lock so that several commands can share the work."""

import csv
import fcntl
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ecgtune.utils.files import write_text

Row = dict[str, str]


def read_rows(file: Path) -> list[Row]:
    """Read the rows of `file`; none if it does not exist."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def write_rows(file: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Write all rows atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())


def replace_rows(file: Path, rows: Sequence[Row], columns: Sequence[str], key: Sequence[str]) -> None:
    """Append `rows` and remove existing ones with the same values of `key`."""
    fresh = {tuple(row[name] for name in key) for row in rows}
    with locked(file):
        kept = [row for row in read_rows(file) if tuple(row[name] for name in key) not in fresh]
        write_rows(file, [*kept, *rows], columns)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Context that locks `file` against other commands; the lock is released when the process ends."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
