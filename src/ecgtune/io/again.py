"""Read a dataset again, by what its `Source` says about how it was read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecgtune.config.base import from_table
from ecgtune.data.dataset import Dataset, limited
from ecgtune.data.simulation import simulate
from ecgtune.errors import DataError
from ecgtune.io.label_table import TableColumns
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.records.reading import RecordSettings, read_records
from ecgtune.io.windows import read_dataset

#: `kind` of the reading of a run that was published without its data.
WITHOUT_DATA = "without data"


def read_again(reading: Mapping[str, Any] | None, sha256: str | None = None) -> Dataset:
    """The dataset that `Source.reading` describes, also after a round trip through JSON.

    sha256: of the content then; None for any content. Raises DataError, one line, when nothing is described, files are
    gone, or their content has changed.
    """
    if reading is None:
        raise DataError("its arrays came from a Python session, not from a file")
    given = dict(reading)
    kind, limit = given.pop("kind"), given.pop("limit", None)
    if kind == WITHOUT_DATA:
        raise DataError("the run was published without its data")
    if kind == "simulated":
        dataset = simulate(**given)
    elif kind == "windows":
        dataset = read_dataset(given.pop("path"), **given)
    else:
        dataset = read_records(
            given["table"],
            given["records"],
            columns=from_table(TableColumns, given["columns"], "the columns of the run"),
            options=from_table(ReadOptions, given["options"], "the reading of the run"),
            settings=from_table(RecordSettings, given["settings"], "the windows of the run"),
        )
    if limit is not None:
        dataset = limited(dataset, *limit)
    if sha256 not in (None, dataset.source.sha256):
        raise DataError(f"{dataset.source.path}: its content has changed since the training")
    return dataset
