"""Rows of results in a CSV file that grows as a benchmark goes on, and tables of them in the docs."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

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
