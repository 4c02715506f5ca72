"""One recording as CSV: samples in rows, leads in columns, their names in the first row.

An empty cell, NaN or NA is a gap. Rate and unit are the caller's to tell. A column that is no lead, such as a time, is
left out with "-" in `lead_names`; so are names given to a table that has none.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow

from ecgtune.errors import DataError
from ecgtune.io.readers.base import (
    Reader,
    ReadOptions,
    Recording,
    check_size,
    millivolts,
    rate,
    recording,
    wanted_leads,
)
from ecgtune.utils.text import shown

MAX_BYTES = 1 << 27
MAX_FIRST_ROW = 1 << 16  # bytes; as a Python list of cells a row without end takes twenty times its size
GAPS = ["", "nan", "NaN", "NAN", "NA", "null"]
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*\Z")


def read_csv(path: Path, options: ReadOptions) -> Recording:
    """Read a table; see the module."""
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: has {path.stat().st_size} bytes; at most {MAX_BYTES} are read, cut the recording")
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
    cells, end = _first_row(path, content)
    has_names = not all(_NUMBER.match(cell) or cell in GAPS for cell in cells)
    names = [cell.strip() or None for cell in cells] if has_names else [None] * len(cells)
    rows = max(content.count(b"\n"), content.count(b"\r")) + 1 - has_names
    check_size(path, len(cells), rows, options)
    leads = wanted_leads(path, names, options)
    factor = millivolts(path, None, options)
    sampling_rate = rate(path, None, options)

    columns = [str(number) for number in range(len(cells))]
    wanted = [columns[channel] for channel in leads.values()]
    try:
        table = arrow.read_csv(
            pa.BufferReader(pa.py_buffer(content[end:] if has_names else content)),
            arrow.ReadOptions(use_threads=False, column_names=columns, block_size=1 << 22),
            arrow.ParseOptions(ignore_empty_lines=len(cells) > 1),  # in a single column an empty line is a gap
            arrow.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.float64()), include_columns=wanted, null_values=GAPS
            ),
        )
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"{path}: is no table of numbers ({reason}); write numbers, commas and line feeds") from None
    check_size(path, len(leads), table.num_rows, options)
    signal = np.empty((len(leads), table.num_rows), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for row, name in enumerate(wanted):
            signal[row] = table.column(name).to_numpy() * factor
    return recording(path, signal, list(leads), sampling_rate)


def _first_row(path: Path, content: bytes) -> tuple[list[str], int]:
    """The cells of the first row and where the next one starts."""
    end = re.search(rb"\r\n|\n|\r", content)
    length = end.start() if end else len(content)
    if length > MAX_FIRST_ROW:
        raise DataError(
            f"{path}: its first row has {length} bytes, at most {MAX_FIRST_ROW} are read; write samples in rows and"
            " leads in columns"
        )
    line = content[:length]
    try:
        cells = next(csv.reader([line.decode("utf-8")]), [])
    except (UnicodeDecodeError, csv.Error):
        raise DataError(f"{path}: its first row is no comma-separated text: {shown(line[:40])}") from None
    if not cells:
        raise DataError(f"{path}: its first row is empty; the names of the leads are needed there")
    return cells, end.end() if end else len(content)


CSV = Reader("CSV", (".csv",), read_csv)
