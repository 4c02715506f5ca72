"""Windows out as a CSV file in the layout that `read_dataset` takes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv

from ecgtune.data.dataset import Dataset
from ecgtune.errors import DataError

_ROWS = 1024


def write_csv(dataset: Dataset, path: str | Path) -> Path:
    """Write one-lead windows as `signal_0 ... signal_<n>,label`, then the group and split columns where there are any.

    Samples are written exactly (shortest text that reads back as the same float32), so a read gives equal windows.
    Raises DataError for more than one lead, or a path that cannot be written.
    """
    if dataset.signal.shape[1] != 1:
        raise DataError(f"a CSV holds one lead, but the windows have {dataset.signal.shape[1]}; write one lead")
    fields = [pa.field(f"signal_{i}", pa.float32()) for i in range(dataset.samples)] + [pa.field("label", pa.string())]
    extra = {dataset.group_name or "group": dataset.group, "split": dataset.split}
    columns = {name: values for name, values in extra.items() if values is not None}
    schema = pa.schema(fields + [pa.field(name, pa.string()) for name in columns])
    label = np.array(dataset.classes)[dataset.label]
    try:
        with pcsv.CSVWriter(path, schema, write_options=pcsv.WriteOptions(quoting_style="needed")) as writer:
            for first in range(0, len(dataset), _ROWS):
                rows = slice(first, first + _ROWS)
                block = np.ascontiguousarray(dataset.signal[rows, 0].T)
                text = [label[rows], *(values[rows] for values in columns.values())]
                arrays = [pa.array(row) for row in block] + [pa.array(values.tolist(), pa.string()) for values in text]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); choose another path") from error
    return Path(path)
