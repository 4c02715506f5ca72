"""Rows of results in a CSV file that grows as a benchmark goes on, and tables of them in the docs."""

import csv
import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecgtune.files import write_text


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of `file`; none when it does not exist."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def write_rows(file: Path, rows: list[dict[str, str]], columns: Sequence[str]) -> None:
    """Write all rows at once, so that a stop leaves the file as it was."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(columns), *(",".join(row[name] for name in columns) for row in rows)]
    write_text(file, "\n".join(lines) + "\n")


def settings_key(settings: Any) -> str:
    """Tells the settings of one run from those of any other: a hash of all that is not as the dataclasses have it.

    A setting that ecgtune gets later, and that is off unless asked for, leaves the key of an older run as it is.
    """
    return hashlib.sha256(json.dumps(_chosen(settings), sort_keys=True).encode()).hexdigest()[:12]


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


def into_page(name: str, table: str) -> None:
    """Put a table where docs/pretraining.md has its place, between two comments with its name."""
    page = Path(__file__).parents[2] / "docs" / "pretraining.md"
    text = page.read_text(encoding="utf-8")
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, rest = text.split(start)
    write_text(page, before + start + table + end + rest.split(end)[1])


def validation_auroc(run: Path) -> float:
    """Of the epoch that a finished run kept: the highest of its log."""
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return max(json.loads(line)["val_auroc"] for line in lines)


def command() -> str:
    """What was typed."""
    return " ".join(["python", *sys.argv])
