"""Several files for training, validation and test: their windows as one dataset, each file in its own split."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import Dataset
from ecgtune.data.tasks import MISSING
from ecgtune.errors import DataError
from ecgtune.io.labels import Where, check_no_leak, class_notes
from ecgtune.io.readers.bounded import TextColumns
from ecgtune.io.readers.csv_table import read_table


def files_by_split(train: str | Path, val: str | Path | None, test: str | Path | None) -> dict[str, Path]:
    """The files that are given, by the names of their splits."""
    files = {"train": train, "val": val, "test": test}
    return {name: Path(file) for name, file in files.items() if file is not None}


@dataclass(frozen=True)
class Table:
    """Columns of text (rows,) of one table, or of several one after the other.

    row: of each in its file. file: its path, split: that of its file, None with one file; origin: a phrase about them.
    """

    path: str
    text: Mapping[str, NDArray[np.str_]]
    row: NDArray[np.int64]
    sha256: str
    file: NDArray[np.str_] | None = None
    split: NDArray[np.str_] | None = None
    origin: str | None = None

    def where(self, rows: NDArray[np.bool_] | slice = slice(None)) -> Where:
        """Names of rows in messages."""
        return Where(self.path, "row", self.row[rows], None if self.file is None else self.file[rows])


def read_tables(files: Mapping[str, Path], whole: Collection[str] = ()) -> Table:
    """Read the tables of the splits, with the columns that all have; `whole` as for `read_table`. Raises DataError."""
    tables = [read_table(path, whole) for path in files.values()]
    text, row, digest = tables[0]
    if len(tables) == 1:
        return Table(str(files["train"]), text, row, digest)
    common = [name for name in text if all(name in others for others, _, _ in tables)]
    if not common:
        raise DataError(f"{_listed(files)}: have no column in common; name the columns in one way")
    lengths = [len(rows) for _, rows, _ in tables]
    return Table(
        _listed(files),
        TextColumns(common, lambda name: np.concatenate([others[name] for others, _, _ in tables])),
        np.concatenate([rows for _, rows, _ in tables]),
        _digest([digest for _, _, digest in tables]),
        np.repeat([str(path) for path in files.values()], lengths),
        np.repeat(list(files), lengths),
        _origin(files),
    )


def _listed(files: Mapping[str, object]) -> str:
    return ", ".join(map(str, files.values()))


def _digest(digests: Sequence[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _origin(files: Mapping[str, object]) -> str:
    return "by file: " + ", ".join(f"{name} {path}" for name, path in files.items())


def joined(files: Mapping[str, Dataset], absent: int = MISSING) -> Dataset:
    """Return the windows of the datasets, copied into memory, with the keys ("train", "val", "test") as splits.

    Classes and labels are those of all files; a label of several that a file does not name is `absent` there: missing,
    or 0 where a file names the labels that a window has. Raises DataError for files whose windows differ in leads,
    rate, length or unit, or that share a group, and for a split column.
    """
    datasets = list(files.values())
    first = datasets[0]
    for each in datasets:
        if each.split is not None:
            raise DataError(
                f"{each.source.path}: has a split column, and --val-file or --test-file is given; leave one of them out"
            )
        for name, value in _shared(each).items():
            if value != _shared(first)[name]:
                raise DataError(
                    f"{each.source.path}: {name} {value}, but {first.source.path} has {_shared(first)[name]}; all files"
                    " need the same"
                )
    classes = tuple(sorted({name for each in datasets for name in each.classes}))
    split = np.repeat(list(files), [len(each) for each in datasets])
    group = None if first.group is None else np.concatenate([each.group for each in datasets])  # type: ignore[misc]
    paths = {name: each.source.path for name, each in files.items()}
    if group is not None:
        check_no_leak(group, first.group_name or "group", split, Where(_listed(paths), "window", np.arange(len(split))))
    source = replace(
        first.source,
        path=_listed(paths),
        sha256=_digest([each.source.sha256 for each in datasets]),
        split_origin=_origin(paths),
        notes=tuple(dict.fromkeys([*class_notes(classes), *(note for each in datasets for note in each.source.notes)])),
    )
    return replace(
        first,
        signal=np.concatenate([each.signal for each in datasets]),
        label=np.concatenate([_relabelled(each, classes, absent) for each in datasets]),
        classes=classes,
        group=group,
        split=split,
        source=source,
    )


def _shared(dataset: Dataset) -> dict[str, object]:
    """Properties that the windows of all files must have in common."""
    return {
        "task": "several labels" if dataset.task == "multilabel" else "one class a window",
        "leads": ", ".join(dataset.leads),
        "rate (Hz)": f"{dataset.sampling_rate:g}",
        "samples": dataset.samples,
        "unit": dataset.unit,
        "group": dataset.group_name or "none",
    }


def _relabelled(dataset: Dataset, classes: tuple[str, ...], absent: int) -> NDArray[np.int64] | NDArray[np.int8]:
    """Labels of a dataset as indices into, or columns of, `classes`."""
    place = np.array([classes.index(name) for name in dataset.classes])
    if dataset.task != "multilabel":
        return place[dataset.label]
    label = np.full((len(dataset), len(classes)), absent, dtype=np.int8)
    label[:, place] = dataset.label
    return label
