"""predictions.csv of a run: predictions of the validation and test windows in full precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecgtune.data.positive import POSITIVE
from ecgtune.data.tasks import MISSING, Task, task_of
from ecgtune.errors import RunError
from ecgtune.text import shown
from ecgtune.utils.csv_cells import csv_text
from ecgtune.utils.stored import ELSEWHERE, fraction, read_rows

PROBABILITY, LABEL, UNCALIBRATED = "probability", "label", "uncalibrated"


def probability_names(classes: Sequence[str], task: Task) -> list[str]:
    """Names of the columns of probabilities: of the positive class of two, else of each class or label."""
    named = classes[POSITIVE:] if task == "binary" else classes
    return [f"{PROBABILITY}_{name}" for name in named]


@dataclass(frozen=True)
class Predictions:
    """predictions.csv as arrays of equal length; `group` and `recording` are None if the file has none.

    label, probability: `(windows,)` twice for two classes, `(windows,)` and `(windows, classes)` for more, both
    `(windows, labels)` for several labels, where -1 is missing.
    """

    row: np.ndarray
    group: np.ndarray | None
    split: np.ndarray
    label: np.ndarray
    probability: np.ndarray
    recording: np.ndarray | None = None

    def of(self, split: str) -> Predictions:
        """Return the rows of one split."""
        chosen = self.split == split
        group, recording = (None if each is None else each[chosen] for each in (self.group, self.recording))
        rest = (self.split[chosen], self.label[chosen], self.probability[chosen], recording)
        return Predictions(self.row[chosen], group, *rest)


def predictions_text(
    predictions: Predictions, classes: Sequence[str], *, uncalibrated: np.ndarray | None = None
) -> str:
    """Return the text of predictions.csv.

    Two classes: `row,group,split,label,probability_<class>` with the name of the positive class; `label` is a name.
    Several classes: each has a column `probability_<class>`. Several labels: each has `label_<name>` (1, 0, empty if
    missing) and `probability_<name>`. The recordings, if there are any, are a column after `group`. `uncalibrated`, if
    given, has a column `uncalibrated_<name>` for each one of `probability`.
    """
    rows, recording = predictions.row, predictions.recording
    label, probability = predictions.label, predictions.probability
    task = task_of(label, classes)
    names = [LABEL] if task != "multilabel" else [f"{LABEL}_{name}" for name in classes]
    names += (named := probability_names(classes, task))
    if uncalibrated is not None:
        names += [f"{UNCALIBRATED}{name.removeprefix(PROBABILITY)}" for name in named]
        probability = np.concatenate([each.reshape(len(rows), -1) for each in (probability, uncalibrated)], axis=1)
    groups = [[""]] * len(rows) if predictions.group is None else predictions.group[:, None].tolist()
    if recording is not None:
        groups = [[*group, name] for group, name in zip(groups, recording.tolist(), strict=True)]
    header = ["row", "group", *([] if recording is None else ["recording"]), "split", *names]
    if task == "multilabel":
        truth = [["" if value == MISSING else value for value in values] for values in label.tolist()]
    else:
        truth = [[classes[value]] for value in label.tolist()]
    probabilities = probability.reshape(len(rows), -1).tolist()
    columns = zip(rows.tolist(), groups, predictions.split.tolist(), truth, probabilities, strict=True)
    return csv_text([header, *([row, *units, name, *true, *values] for row, units, name, true, values in columns)])


def read_predictions(path: Path, metrics: Mapping[str, Any] | None = None) -> Predictions:
    """Read predictions.csv; `metrics` is metrics.json of its run.

    Raises RunError, one line, if it is missing, empty, damaged, has another layout, or other classes or rows than the
    data of the run.
    """

    def parse(row: dict[str, str]) -> dict[str, Any]:
        found = _parsed(row)
        if metrics is not None:
            _check_own(row, found["row"], metrics)
        return found

    rows = read_rows(path, parse)
    if not rows:
        raise RunError(f"{path} has no rows; {ELSEWHERE}")
    units = {
        name: np.array([row[name] for row in rows]) if name in rows[0] else None for name in ("group", "recording")
    }
    group = units["group"]
    return Predictions(
        row=np.array([row["row"] for row in rows]),
        group=None if group is None or (group == "").any() else group,
        split=np.array([row["split"] for row in rows]),
        label=np.array([row[LABEL] for row in rows]),
        probability=np.array([row[PROBABILITY] for row in rows]),
        recording=units["recording"],
    )


def _check_own(row: Mapping[str, str], number: int, metrics: Mapping[str, Any]) -> None:
    """Raise ValueError for columns of other classes, or a row beyond the data of the run."""
    task: Task = metrics.get("task", "binary")
    found = [name for name in row if name.startswith(f"{PROBABILITY}_")]
    if found != probability_names(metrics["classes"], task) or (LABEL in row) is (task == "multilabel"):
        raise ValueError(f"its columns are not those of the classes {', '.join(metrics['classes'])} in metrics.json")
    if number >= metrics["data"]["windows"]:
        raise ValueError(f"row {number} is beyond the {metrics['data']['windows']} windows of the data")


def _parsed(row: dict[str, str]) -> dict[str, Any]:
    """A row with its number, label and probability. Raises KeyError or ValueError."""
    classes = [name.removeprefix(f"{PROBABILITY}_") for name in row if name.startswith(f"{PROBABILITY}_")]
    if not classes:
        raise KeyError(f"{PROBABILITY}_CLASS")
    probability: Any = [fraction(row[f"{PROBABILITY}_{name}"]) for name in classes]
    if LABEL not in row:
        label: Any = np.array([_flag(row[f"{LABEL}_{name}"]) for name in classes], dtype=np.int8)
    elif len(classes) == 1:
        label, probability = int(row[LABEL] == classes[0]), probability[0]
    else:
        label = classes.index(row[LABEL])
    number = int(row["row"])
    if number < 0:
        raise ValueError(f"row {number}")
    return {**row, "row": number, "split": row["split"], LABEL: label, PROBABILITY: probability}


def _flag(cell: str) -> int:
    if cell not in ("", "0", "1"):
        raise ValueError(f"{shown(cell)} is no label; 0, 1 or nothing is")
    return int(cell or MISSING)
