"""Rows of results in CSV files that grow as a benchmark goes on, what was typed for them, and tables of them in pages.

Several commands may share the work: what changes a file takes its lock first and reads it anew.
"""

import csv
import dataclasses
import hashlib
import io
import json
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecgtune.utils.files import read_json, write_json, write_text

Row = dict[str, str]
PATIENCE = 60.0  # s; nearly all that have a lock write one small file


def read_rows(file: Path) -> list[Row]:
    """The rows of `file`; none when it does not exist."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def write_rows(file: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Write all rows at once, so that a stop leaves the file as it was."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())


def add_row(file: Path, row: Mapping[str, object], columns: Sequence[str], key: Sequence[str]) -> None:
    """Put a row behind the others, in the place of one with the same values of `key`; the others stay as they are."""
    new = {name: str(row[name]) for name in columns}
    with alone(file):
        others = [other for other in read_rows(file) if any(other[name] != new[name] for name in key)]
        write_rows(file, [*others, new], columns)


def add_command(file: Path, facts: Mapping[str, Any]) -> None:
    """Put what a command tells of itself (`command`, `date`, ...) behind what `file` keeps of the ones before it."""
    with alone(file):
        kept = read_json(file) if file.exists() else {"commands": []}
        write_json(file, {"commands": [*kept.get("commands", [kept]), dict(facts)]})


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Keep out other commands that write `file`. The lock is sqlite's, so it ends with this process, however that ends.

    It stands beside `file`, hidden. Raises TimeoutError when another command holds it for longer than `PATIENCE`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = sqlite3.connect(file.with_name(f".{file.name}.lock"), timeout=PATIENCE, isolation_level=None)
    try:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise TimeoutError(f"{file} is being written by another command ({error}); wait for it") from None
        yield
    finally:
        lock.close()


def settings_key(settings: Any) -> str:
    """Tells the settings of one run from those of any other: a hash of all that is not as the dataclasses have it.

    A setting that ecgtune gets later, and that is off unless asked for, leaves the key of an older run as it is.
    """
    return digest(json.dumps(_chosen(settings), sort_keys=True))


def _chosen(value: Any) -> Any:
    if not dataclasses.is_dataclass(value):
        return value
    unset = object()
    chosen: dict[str, Any] = {"": type(value).__name__}
    for field in dataclasses.fields(value):
        default = unset if field.default_factory is dataclasses.MISSING else field.default_factory()
        default = default if field.default is dataclasses.MISSING else field.default
        given = getattr(value, field.name)
        if given != default:
            chosen[field.name] = _chosen(given)
    return chosen


def digest(text: str) -> str:
    """Twelve characters of its sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def into_page(page: Path, name: str, text: str) -> None:
    """Put `text` where the page has its place, between two comments with its name."""
    write_text(page, with_part(page.read_text(encoding="utf-8"), name, text))


def with_part(page: str, name: str, text: str) -> str:
    """`page` with `text` between its two comments `<!-- name -->` and `<!-- end of name -->`, on lines of their own."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, rest = page.split(start)
    return before + start + text + end + rest.split(end)[1]


def command() -> str:
    """What was typed."""
    return " ".join(["python", *sys.argv])
