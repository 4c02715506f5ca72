"""CSV files of windows or of one recording; plain or gzip.

Windows: `signal_0 ... signal_599,label`, one window a row, one lead, header optional. With a header, the label is the
column that the caller names (or several 0/1 columns), else `label`, else the only column that may hold it; without
names it is the last column. `patient` or `record` and `split` are known by name. Samples are the columns with a prefix
and a running number; every other column is left out, with a note. A recording: samples in rows, leads in columns, their
names in the first row; an empty cell, NaN or NA is a gap.

A file of windows is cut into pieces of whole lines, a few megabytes each, which several threads parse.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError, answered
from ecgtune.io.readers.base import (
    MAX_TEXT,
    SAVE_LONG,
    FileReader,
    ReadOptions,
    Recording,
    WindowBlock,
    WindowColumns,
    WindowHeader,
    check_size,
    in_millivolts,
    make_recording,
    millivolt_factor,
    stated_rate,
)
from ecgtune.io.readers.bounded import text_array
from ecgtune.io.readers.channels import wanted_leads
from ecgtune.io.readers.column_names import group_kind
from ecgtune.io.readers.csv_dialect import SUFFIXES, UNREADABLE, Dialect, dialect_of, open_text, unreadable
from ecgtune.io.readers.csv_layout import Layout, named_layout, plain_layout
from ecgtune.io.readers.csv_table import (
    GAPS,
    NUMBER,
    SPECIAL,
    CsvColumns,
    Piece,
    fault_in,
    parse_columns,
    says_infinite,
    split_cells,
    values_of,
)
from ecgtune.io.readers.csv_times import check_times
from ecgtune.text import shown
from ecgtune.utils.csv_cells import from_cell

logger = logging.getLogger(__name__)
MAX_RECORDING_BYTES = 1 << 27
MAX_FIRST_ROW = 1 << 16  # bytes of a recording's; as a Python list of cells an endless row takes twenty times its size
_PIECE_BYTES = 4 << 20  # of 0.25 to 4 MiB none was slower; memory in use is about ten times this per thread
_ROW_BYTES = 64 << 20  # a file with a longer row is no table


def open_windows(path: Path, columns: WindowColumns) -> tuple[WindowHeader, Generator[WindowBlock]]:
    """Open a CSV file of windows. Raises DataError."""
    dialect = dialect_of(path)
    cells, line = _first_row(path, dialect)
    has_header = _is_header(cells)
    if len(cells) < 2:
        needed = "samples and a label" if columns.labelled else "the samples of a window in each row"
        hint = "" if columns.labelled else f"; if it is a recording of one lead, give its folder, {path.parent}"
        raise DataError(
            f"{path}: row {line}: one column only; {needed}, separated by commas, semicolons or tabs, are needed{hint}"
        )
    cells = cells[: len(cells) - dialect.blank]
    layout = named_layout(path, line, tuple(cells), columns) if has_header else plain_layout(path, cells, columns)
    if columns.drop_invalid:
        layout = replace(layout, gaps=GAPS)
    header = WindowHeader(
        leads=None
        if columns.lead_names is None
        else tuple(wanted_leads(path, [None], ReadOptions(lead_names=columns.lead_names))),
        sampling_rate=None,
        unit=None,
        group_name=None if layout.group is None else group_kind(layout.names[layout.group]),
        place="row",
        sample=lambda lead, sample: f"column {shown(layout.names[layout.samples[sample]])}",
        labels=columns.labels,
        notes=layout.notes,
    )
    return header, _blocks(path, layout, dialect, skip=line if has_header else dialect.skip)


def _first_row(path: Path, dialect: Dialect) -> tuple[list[str], int]:
    """The cells of the first line that is not empty, and its number."""
    try:
        with open_text(path) as file:
            line = 0
            while raw := file.readline(_ROW_BYTES):
                line += 1
                if line > dialect.skip and raw.strip(b"\r\n"):
                    return split_cells(path, raw, line, dialect), line
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    raise DataError(f"{path}: the file holds no rows; rows of samples and a label are needed")


def _is_header(cells: list[str]) -> bool:
    """Whether a first row holds names. One bad cell in a row of numbers is an error in data, not a header.

    A run of whole numbers 0, 1, 2, ... is the header that a table with unnamed columns gets.
    """
    numbers = [cell for cell in cells if NUMBER.match(cell) or SPECIAL.match(cell) or not cell]
    counting = [str(index) for index in range(len(numbers))]
    return 2 * len(numbers) < len(cells) or (len(numbers) > 2 and numbers == counting)


def label_without_name(path: Path, samples: int) -> bool:
    """Whether the rows of a CSV file of windows without header have a label after their `samples`."""
    dialect = dialect_of(path)
    cells, _ = _first_row(path, dialect)
    return not _is_header(cells) and len(cells) - dialect.blank == samples + 1


def _blocks(path: Path, layout: Layout, dialect: Dialect, skip: int) -> Generator[WindowBlock]:
    """Yield the windows in file order; at most one piece per thread is in work, so memory stays bounded."""
    workers = max(1, os.cpu_count() or 1)
    waiting: deque[Future[WindowBlock]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for piece in _pieces(path, skip):
                waiting.append(pool.submit(_windows, path, layout, dialect, piece))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _pieces(path: Path, skip: int) -> Iterator[Piece]:
    """Yield the file after its first `skip` lines, cut at line ends."""
    try:
        with open_text(path) as file:
            for _ in range(skip):
                file.readline()
            line, rest = skip + 1, b""
            while data := file.read(_PIECE_BYTES):
                cut = data.rfind(b"\n") + 1
                if not cut:
                    rest += data
                    if len(rest) > _ROW_BYTES:
                        raise DataError(
                            f"{path}: row {line}: longer than {_ROW_BYTES >> 20} MiB without a line end;"
                            " is it a CSV file?"
                        )
                    continue
                whole, rest = b"".join((rest, memoryview(data)[:cut])), data[cut:]
                yield Piece(whole, line)
                line += whole.count(b"\n")
            if rest:
                yield Piece(rest, line)
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def _windows(path: Path, layout: Layout, dialect: Dialect, piece: Piece) -> WindowBlock:
    """The windows of a piece. Raises DataError with row and column."""
    import pyarrow.compute as pc

    piece = Piece(dialect.without_blank_rows(piece.data), piece.line)
    line = np.array([number for number, raw in piece.numbered() if raw], dtype=np.int64)  # pyarrow skips empty lines
    texts = [index for index in (*layout.label, layout.group, layout.split) if index is not None]
    kinds = dict.fromkeys(layout.samples, "float") | dict.fromkeys(texts, "string")
    hint = "" if layout.gaps else "; leave windows without it out with --drop-invalid"
    columns = CsvColumns(layout.names, kinds, dialect, layout.gaps, hint=hint)
    table = parse_columns(path, piece, columns) if len(line) else None
    if table is not None and table.num_rows != len(line):
        raise fault_in(path, piece, columns, ValueError("line ends are mixed"))

    def column(index: int) -> NDArray[np.str_]:
        values = pc.utf8_trim_whitespace(table.column(str(index)))  # type: ignore[attr-defined]
        length = pc.max(pc.utf8_length(values)).as_py() or 0  # type: ignore[attr-defined]
        if length > MAX_TEXT:
            raise DataError(
                f"{path}: column {shown(layout.names[index])} holds text of {length} characters; labels and"
                f" identifiers of at most {MAX_TEXT} are allowed"
            )
        cells = [from_cell(value) for value in values.to_pylist()]
        return text_array(path, layout.names[index], cells, path.stat().st_size)

    if table is None or not layout.label:
        label = np.zeros((len(line), len(layout.label)) if layout.several else len(line), dtype="U1")
    else:
        label = np.stack([column(i) for i in layout.label], axis=1) if layout.several else column(layout.label[0])
    signal = np.zeros((len(line), 1, len(layout.samples)), dtype=np.float32)
    if table is not None:
        for place, index in enumerate(layout.samples):
            signal[:, 0, place] = values_of(table, index)
    group, split = (None if index is None or table is None else column(index) for index in (layout.group, layout.split))
    return WindowBlock(signal, line, label, group, split)


def read_recording(path: Path, options: ReadOptions) -> Recording:
    """Read one recording; the caller gives rate and unit, and names where the file has none.

    A column of times is left out, and compared with the rate; another one that is no lead, with "-" in `lead_names`.
    """
    dialect = dialect_of(path)
    with open_text(path) as file:
        for _ in range(dialect.skip):
            file.readline()
        content = file.read(MAX_RECORDING_BYTES + 1)
    if len(content) > MAX_RECORDING_BYTES:
        raise DataError(f"{path}: has over {MAX_RECORDING_BYTES} bytes; {SAVE_LONG}")
    content = dialect.without_blank_end(content)
    end = content.find(b"\n")
    first = content if end < 0 else content[:end]
    if len(first) > MAX_FIRST_ROW:
        raise DataError(
            f"{path}: its first row has {len(first)} bytes, at most {MAX_FIRST_ROW} are read; write samples in rows and"
            " leads in columns"
        )
    cells = split_cells(path, first, 1 + dialect.skip, dialect)
    cells = cells[: len(cells) - dialect.blank]
    if not cells:
        raise DataError(f"{path}: its first row is empty; the names of the leads are needed there")
    has_names = not all(NUMBER.match(cell.replace(dialect.decimal, ".")) or cell in GAPS for cell in cells)
    names = [cell or None for cell in cells] if has_names else [None] * len(cells)
    rows = content.count(b"\n") + 1 - has_names
    check_size(path, len(cells), rows, options)
    leads, factor, rate = answered(
        lambda: wanted_leads(path, names, options),
        lambda: millivolt_factor(path, None, options.unit),
        lambda: stated_rate(path, None, options.sampling_rate),
    )
    piece = Piece(content[len(first) + 1 :] if has_names else content, 1 + has_names + dialect.skip)
    check_times(path, piece, names, leads.values(), dialect, rate)
    columns = tuple(name or f"number {number}" for number, name in enumerate(names, 1))
    kinds = dict.fromkeys(leads.values(), "double")
    # In a single column an empty line is a gap.
    parsed = CsvColumns(columns, kinds, dialect, GAPS, skip_empty=len(cells) > 1)
    table = parse_columns(path, piece, parsed)
    check_size(path, len(leads), table.num_rows, options)
    signal = np.empty((len(leads), table.num_rows), np.float32)
    for row, channel in enumerate(leads.values()):
        values = values_of(table, channel)
        missing = says_infinite(path, piece, parsed, channel) if np.isinf(values).any() else None
        signal[row] = in_millivolts(values, factor, missing)
    return make_recording(path, signal, list(leads), rate)


CSV = FileReader(
    "CSV",
    SUFFIXES,
    read_recording,
    signatures=((0, b"\x1f\x8b"),),
    window_suffixes=(*SUFFIXES, ".txt"),
    open_windows=open_windows,
    windows_state_facts=False,
)
