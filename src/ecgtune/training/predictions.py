"""predictions.csv of a run: predictions of the validation and test windows in full precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgtune.data.positive import POSITIVE
from ecgtune.data.tasks import MISSING, Task, task_of
from ecgtune.errors import RunError
from ecgtune.utils.csv_cells import csv_text, read_csv

PROBABILITY, LABEL, UNCALIBRATED = "probability", "label", "uncalibrated"


def probability_names(classes: Sequence[str], task: Task) -> list[str]:
    """Names of the columns of probabilities: of the positive class of two, else of each class or label."""
    named = classes[POSITIVE:] if task == "binary" else classes
    return [f"{PROBABILITY}_{name}" for name in named]


def predictions_text(
    rows: np.ndarray,
    group: np.ndarray | None,
    split: np.ndarray,
    label: np.ndarray,
    probability: np.ndarray,
    classes: Sequence[str],
    recording: np.ndarray | None = None,
    *,
    uncalibrated: np.ndarray | None = None,
) -> str:
    """Return the text of predictions.csv.

    Two classes: `row,group,split,label,probability_<class>` with the name of the positive class; `label` is a name.
    Several classes: each has a column `probability_<class>`. Several labels: each has `label_<name>` (1, 0, empty if
    missing) and `probability_<name>`. `recording`, if given, is a column after `group`. `uncalibrated`, if given, has a
    column `uncalibrated_<name>` for each one of `probability`. label, probability: shapes as in `evaluate`.
    """
    task = task_of(label, classes)
    names = [LABEL] if task != "multilabel" else [f"{LABEL}_{name}" for name in classes]
    names += (named := probability_names(classes, task))
    if uncalibrated is not None:
        names += [f"{UNCALIBRATED}{name.removeprefix(PROBABILITY)}" for name in named]
        probability = np.concatenate([each.reshape(len(rows), -1) for each in (probability, uncalibrated)], axis=1)
    groups = [[""]] * len(rows) if group is None else group[:, None].tolist()
    if recording is not None:
        groups = [[*group, name] for group, name in zip(groups, recording.tolist(), strict=True)]
    header = ["row", "group", *([] if recording is None else ["recording"]), "split", *names]
    if task == "multilabel":
        truth = [["" if value == MISSING else value for value in values] for values in label.tolist()]
    else:
        truth = [[classes[value]] for value in label.tolist()]
    probabilities = probability.reshape(len(rows), -1).tolist()
    columns = zip(rows.tolist(), groups, split.tolist(), truth, probabilities, strict=True)
    return csv_text([header, *([row, *units, name, *true, *values] for row, units, name, true, values in columns)])


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


def read_predictions(path: Path) -> Predictions:
    """Read predictions.csv. Raises RunError if it is missing or has another layout."""
    try:
        rows = read_csv(path)
        names = list(rows[0]) if rows else []
        group = np.array([row["group"] for row in rows])
        label, probability = _columns(rows, names)
        return Predictions(
            row=np.array([int(row["row"]) for row in rows]),
            group=group if len(group) and np.all(group != "") else None,
            split=np.array([row["split"] for row in rows]),
            label=label,
            probability=probability,
            recording=np.array([row["recording"] for row in rows]) if "recording" in names else None,
        )
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error}); the run is incomplete, finish it with --resume") from None


def _columns(rows: list[dict[str, str]], names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probabilities of parsed rows."""
    columns = [name for name in names if name.startswith(f"{PROBABILITY}_")]
    probability = np.array([[float(row[name]) for name in columns] for row in rows])
    classes = [name.removeprefix(f"{PROBABILITY}_") for name in columns]
    if LABEL in names and len(classes) == 1:
        return np.array([int(row[LABEL] == classes[0]) for row in rows]), probability[:, 0]
    if LABEL in names:
        return np.array([classes.index(row[LABEL]) for row in rows]), probability
    flags = [[int(row[f"{LABEL}_{name}"] or MISSING) for name in classes] for row in rows]
    return np.array(flags, dtype=np.int8), probability
