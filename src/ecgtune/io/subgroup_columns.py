"""Columns of the data that are neither signal nor label, for subgroups."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import suggest
from ecgtune.data.dataset import Dataset
from ecgtune.errors import DataError
from ecgtune.io.matching import match_recordings
from ecgtune.io.readers.base import one_line_errors
from ecgtune.io.readers.bounded import TextColumns
from ecgtune.io.readers.csv_table import read_table
from ecgtune.io.readers.npz_archive import ARCHIVE, Archive
from ecgtune.utils.formatting import counted


def read_columns(
    data: Path, dataset: Dataset, names: Sequence[str], recording_column: str | None = None
) -> dict[str, NDArray[np.str_]]:
    """Read the columns `names` of the file or table of labels `data`, as text, one value per window of `dataset`.

    `rate`, `length` (seconds) and `leads` are those of the recordings, where the table has no such columns. A table of
    labels has a row per recording; `recording_column` names them ("record" or "recording" when not given).
    A file of windows has a row per window. Raises DataError for a column that is not there, and where the rows of a
    file are not those of the dataset, because some were left out.
    """
    columns = _of_archive(data) if zipfile.is_zipfile(data) else read_table(data)[0]
    recorded = {name: dataset.recorded[name] for name in names if name in dataset.recorded and name not in columns}
    names = [name for name in names if name not in recorded]
    unknown = [name for name in names if name not in columns]
    if unknown:
        raise DataError(
            f"{data}: no column {unknown[0]} for --by; {suggest(unknown[0], [*columns, *dataset.recorded])}"
        )
    if not names:
        return recorded
    if dataset.recording is None:
        for name in names:
            if len(columns[name]) != len(dataset):
                raise DataError(
                    f"{data}: {name} has {len(columns[name])} values for {counted(len(dataset), 'window')}; leave"
                    " out the option that leaves out windows"
                )
        return {name: columns[name] for name in names}
    usual = [name for name in ("record", "recording", "filename_hr") if name in columns]
    key = recording_column or (usual[0] if usual else None)
    if key is None or key not in columns:
        raise DataError(f"{data}: no column names the recordings of --by; name it with --recording-column")
    found = match_recordings(columns[key].tolist(), dict.fromkeys(np.unique(dataset.recording).tolist()), str(data))
    row = {identifier: number for number, identifier in enumerate(found.identifier) if identifier is not None}
    rows = np.array([row[name] for name in dataset.recording.tolist()])
    return recorded | {name: columns[name][rows] for name in names}


def _of_archive(path: Path) -> TextColumns:
    """The arrays of one axis as text."""
    with one_line_errors(path, ARCHIVE), Archive(path) as archive:
        names = [name for name in sorted(archive.keys) if len(archive.header(name).shape) == 1]
    return TextColumns(names, lambda name: _array(path, name))


def _array(path: Path, name: str) -> NDArray[np.str_]:
    with one_line_errors(path, ARCHIVE), Archive(path) as archive:
        return archive.text(name)
