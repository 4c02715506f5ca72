"""Write windows as a CSV file in the layout of `read_dataset`."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import Dataset
from ecgtune.data.tasks import MISSING
from ecgtune.errors import DataError, SettingError
from ecgtune.text import utf8
from ecgtune.utils.csv_cells import as_cell, csv_text
from ecgtune.utils.files import write_atomically

_ROWS = 1024
#: Suffixes by which the reader recognises an uncompressed CSV file.
SUFFIXES = (".csv", ".txt")


def write_csv(dataset: Dataset, path: str | Path) -> Path:
    """Write one-lead windows as `signal_0 ... signal_<n>,label`, then the group and split columns if there are any.

    Several labels are a column each, empty where missing; read them with `labels=dataset.classes`. Samples are written
    exactly (shortest text that reads back as the same float32). The file appears whole, and an existing file is never
    replaced. Raises SettingError when `path` exists or has another suffix, RunError when it cannot be written,
    DataError for more than one lead.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise SettingError(f"{path} is written as a CSV; allowed suffixes: {', '.join(SUFFIXES)}")
    if os.path.exists(path):
        raise SettingError(f"{path} exists already; name another file, or remove it first")
    if dataset.signal.shape[1] != 1:
        raise DataError(f"a CSV holds one lead, but the windows have {dataset.signal.shape[1]}; write one lead")
    if dataset.task == "multilabel":
        cell = {1: "1", 0: "0", MISSING: ""}
        columns = {
            name: np.array([cell[flag] for flag in dataset.label[:, i].tolist()])
            for i, name in enumerate(dataset.classes)
        }
    else:
        columns = {"label": np.array(dataset.classes)[dataset.label]}
    if dataset.group is not None:
        columns[dataset.group_name or "group"] = dataset.group
    if dataset.split is not None:
        columns["split"] = dataset.split
    samples = [f"signal_{i}" for i in range(dataset.samples)]
    import pyarrow as pa
    import pyarrow.csv as pcsv

    schema = pa.schema([(name, pa.float32()) for name in samples] + [(name, pa.string()) for name in columns])
    plain = not any(mark in str(text) for values in columns.values() for text in np.unique(values) for mark in ',"\r\n')
    options = pcsv.WriteOptions(include_header=False, quoting_style="none" if plain else "needed")

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            file.write(utf8(csv_text([[*samples, *columns]])))
            with pcsv.CSVWriter(file, schema, write_options=options) as writer:
                for first in range(0, len(dataset), _ROWS):
                    rows = slice(first, first + _ROWS)
                    arrays = [_numbers(sample) for sample in np.ascontiguousarray(dataset.signal[rows, 0].T)]
                    arrays += [_texts(values[rows].tolist()) for values in columns.values()]
                    writer.write_batch(pa.record_batch(arrays, schema=schema))

    write_atomically(path, write)
    return path


def _numbers(values: NDArray[np.float32]) -> Any:
    """A pyarrow array of contiguous values, from their buffer: `pyarrow.array` imports pandas."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.float32(), len(values), [None, pa.py_buffer(values)])


def _texts(values: list[object]) -> Any:
    """A pyarrow array of cells, by `as_cell`."""
    import pyarrow as pa

    encoded = [utf8(str(as_cell(str(value)))) for value in values]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))
