"""Runs of comparison folders as rows of a CSV file, for the tasks of docs/real_tasks.md."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from machines import command
from pages import ROOT
from rows import Row

from ecgtune import load_model
from ecgtune.recipes.recipe import Recipe
from ecgtune.training.predictions import Predictions, read_predictions
from ecgtune.training.run_folder import RunFolder
from ecgtune.utils.files import json_value, write_json
from ecgtune.workflows.environment import machine, now

RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "real_tasks.md"
MODEL = "ecg-fm-tiny"
#: Order of methods in tables.
ORDER = ("probe", "lora", "full", "resnet", "majority")


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run of a comparison: name of the method, metrics.json, and predictions of the test windows."""

    method: str
    metrics: dict[str, Any]
    test: Predictions


def uncalibrated(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Return the recipes without calibration, as the rows of these tasks were made."""
    return [replace(one, evaluation=replace(one.evaluation, calibration="none")) for one in recipes]


def finished_runs(comparison: Path) -> Iterator[FinishedRun]:
    """Yield the runs of a comparison folder in order, one seed each."""
    for row in json_value(comparison / "results.json")["rows"]:
        for folder in row["runs"]:
            run = RunFolder(comparison / folder)
            yield FinishedRun(row["method"], json_value(run.metrics), read_predictions(run.predictions).of("test"))


def training_cells(metrics: Mapping[str, Any]) -> Row:
    """Return the columns of a row about its training, common to all tasks."""
    training, train = metrics["training"], metrics["split"]["counts"]["train"]
    fraction, seconds = metrics["parameters"]["trainable_fraction"], training["seconds"]
    return {
        "title": metrics["title"],
        "weights": metrics["weights"],
        "trainable_fraction": "" if fraction is None else f"{fraction:.5f}",
        "training_windows": str(train["windows"]),
        **{name: "" if training[name] is None else json.dumps(training[name]) for name in ("epochs", "best_epoch")},
        "seconds": "" if seconds is None else f"{seconds:.1f}",
    }


def metric_cells(name: str, interval: Mapping[str, float | None]) -> Row:
    """Return a metric with its interval as three columns."""
    parts = {name: "value", f"{name}_ci_low": "ci_low", f"{name}_ci_high": "ci_high"}
    return {column: "" if interval[key] is None else f"{interval[key]:.5f}" for column, key in parts.items()}


def with_interval(row: Row, name: str) -> str:
    """Format a metric of a row: `0.873 (0.851 to 0.894)`."""
    if not row.get(name):
        return "n/a"
    value, low, high = (row[key] for key in (name, f"{name}_ci_low", f"{name}_ci_high"))
    interval = f" ({float(low):.3f} to {float(high):.3f})" if low else ""
    return f"{float(value):.3f}{interval}"


def write_facts(file: Path, facts: Mapping[str, Any]) -> None:
    """Write `facts` with command, machine, date and the sha256 of the encoder's weights as JSON."""
    weights = {MODEL: load_model(MODEL).weights.sha256}
    write_json(file, {"command": command(), "date": now(), "machine": machine(), "weights": weights, **facts})
