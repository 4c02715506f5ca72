"""What the two real tasks share: the runs of a comparison folder, rows in a CSV file, tables in docs/real_tasks.md."""

import csv
import io
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgtune.models.loading import load_model
from ecgtune.training.predictions import Predictions, read_predictions
from ecgtune.training.run_folder import RunFolder
from ecgtune.utils.files import read_json, write_json, write_text
from ecgtune.workflows.environment import machine, now

RESULTS = Path(__file__).parents[1] / "results" / "real_tasks"
PAGE = Path(__file__).parents[2] / "docs" / "real_tasks.md"
MODEL = "ecg-fm-tiny"
Row = dict[str, str]


@dataclass(frozen=True, eq=False)
class Kept:
    """A finished run of a comparison: its name there, its metrics.json and its predictions of the test windows."""

    method: str
    metrics: dict[str, Any]
    test: Predictions


def kept_runs(comparison: Path) -> Iterator[Kept]:
    """The runs of a comparison folder, in its order; one seed each."""
    for row in read_json(comparison / "results.json")["rows"]:
        for folder in row["runs"]:
            run = RunFolder(comparison / folder)
            yield Kept(row["method"], run.read_metrics(), read_predictions(run.predictions).of("test"))


def facts_of(metrics: dict[str, Any]) -> Row:
    """What a row says of the training, whatever the task."""
    training, train = metrics["training"], metrics["split"]["counts"]["train"]
    share = metrics["parameters"]["trainable_fraction"]
    return {
        "title": metrics["title"],
        "weights": metrics["weights"],
        "trainable_share": "" if share is None else f"{share:.5f}",
        "training_windows": str(train["windows"]),
        "epochs": _text(training["epochs"]),
        "best_epoch": _text(training["best_epoch"]),
        "seconds": "" if training["seconds"] is None else f"{training['seconds']:.1f}",
    }


def cells_of(name: str, interval: dict[str, float | None]) -> Row:
    """A metric with its interval as three cells."""
    parts = {name: interval["value"], f"{name}_low": interval["ci_low"], f"{name}_high": interval["ci_high"]}
    return {key: "" if value is None else f"{value:.5f}" for key, value in parts.items()}


def read_rows(file: Path) -> list[Row]:
    """The rows of `file`; none when it does not exist."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def replace_rows(file: Path, rows: Sequence[Row], columns: Sequence[str], key: Sequence[str]) -> list[Row]:
    """Put `rows` in the place of those with the same `key`, all written at once; gives all that are there then."""
    fresh = {tuple(row[name] for name in key) for row in rows}
    kept = [row for row in read_rows(file) if tuple(row[name] for name in key) not in fresh]
    everything = sorted([*kept, *rows], key=lambda row: tuple(row[name] for name in key[:-2]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(everything)
    write_text(file, text.getvalue())
    return everything


def write_facts(file: Path, facts: dict[str, Any]) -> None:
    """`facts` with command, machine, date and the sha256 of the encoder's weights, as JSON."""
    sha256 = load_model(MODEL).weights.sha256
    write_json(file, {"command": command(), "date": now(), "machine": machine(), "weights": {MODEL: sha256}, **facts})


def command() -> str:
    """What was typed."""
    return shlex.join(["python", f"benchmarks/real_tasks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def into_page(name: str, text: str, page: Path = PAGE) -> None:
    """Put `text` where the page has its place, between two comments with its name."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, rest = page.read_text(encoding="utf-8").split(start)
    write_text(page, before + start + text + end + rest.split(end)[1])


def with_interval(row: Row, name: str, digits: int = 3) -> str:
    """A metric of a row as tables print it: `0.873 (0.851 to 0.894)`."""
    if not row.get(name):
        return "n/a"
    value, low, high = (row[key] for key in (name, f"{name}_low", f"{name}_high"))
    if not low:
        return f"{float(value):.{digits}f}"
    return f"{float(value):.{digits}f} ({float(low):.{digits}f} to {float(high):.{digits}f})"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _text(value: Any) -> str:
    return "" if value is None else json.dumps(value)
