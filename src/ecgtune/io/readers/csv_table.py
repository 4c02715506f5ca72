"""The text of CSV files: lines, cells, columns of numbers, tables of text, and errors that name row and column.

pyarrow parses numbers. Lines that it refuses are read again cell by cell, for the first row and column that is wrong.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from array import array
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.readers.base import MAX_TEXT
from ecgtune.io.readers.bounded import TextColumns, text_array
from ecgtune.io.readers.column_names import RECORDING_NAMES
from ecgtune.io.readers.csv_dialect import SAMPLE, UNREADABLE, Dialect, first_rows, is_csv, open_text, sniffed
from ecgtune.text import shown
from ecgtune.utils.archives import most_unpacked
from ecgtune.utils.csv_cells import from_cell
from ecgtune.utils.files import file_sha256
from ecgtune.utils.formatting import counted

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
SPECIAL = re.compile(r"[+-]?(nan|inf|infinity)$", re.IGNORECASE)
LONGEST_LINE = 1 << 20  # of a row of a table
_ROW_BYTES, _CELL_BYTES = 64, 64  # of a row without cells, and of a short cell as a Python string
_POINTER = 8  # of each further cell that equals one
GAPS = ("", "nan", "NaN", "NAN", "NA", "N/A", "#N/A", "null")


def split_cells(path: Path, raw: bytes, line: int, dialect: Dialect) -> list[str]:
    """Split a line into cells, without the spaces around. Raises DataError for bytes that are no text."""
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
        if "\0" in text:
            raise ValueError("it holds zero bytes")
        return [from_cell(cell.strip()) for cell in next(csv.reader([text], delimiter=dialect.delimiter), [])]
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: row {line}: is not text in UTF-8 or UTF-16; save it as UTF-8") from error


@dataclass(frozen=True)
class Piece:
    """Whole lines of a file and the number, from 1, of the first of them."""

    data: bytes
    line: int

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and text of each line, without its end."""
        return enumerate(self.data.splitlines(), self.line)


@dataclass(frozen=True)
class CsvColumns:
    """Columns of a file that are parsed.

    names: of all columns, for errors. kinds: index of a column to "float", "double" or "string". gaps: cells that are
    NaN. skip_empty: whether an empty line is none. hint: end of the message about a cell without a number.
    """

    names: tuple[str, ...]
    kinds: Mapping[int, str]
    dialect: Dialect
    gaps: Collection[str] = ()
    skip_empty: bool = True
    hint: str = ""


def parse_columns(path: Path, piece: Piece, columns: CsvColumns) -> Any:
    """Parse columns with pyarrow. Raises DataError with row and column."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    names, dialect = columns.names, columns.dialect
    keys = [str(index) for index in range(len(names) + dialect.blank)]
    kinds = {**columns.kinds, **dict.fromkeys(range(len(names), len(keys)), "string")}
    try:
        table = arrow.read_csv(
            pa.BufferReader(pa.py_buffer(piece.data)),
            arrow.ReadOptions(column_names=keys, use_threads=False, block_size=len(piece.data) + 1),
            arrow.ParseOptions(ignore_empty_lines=columns.skip_empty, delimiter=dialect.delimiter),
            arrow.ConvertOptions(
                column_types={keys[index]: pa.type_for_alias(kind) for index, kind in kinds.items()},
                include_columns=[keys[index] for index in kinds],
                null_values=list(columns.gaps),
                decimal_point=dialect.decimal,
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise fault_in(path, piece, columns, error) from error
    for key in keys[len(names) :]:
        content = next(filter(None, table.column(key).to_pylist()), None)
        if content is not None:
            raise DataError(
                f"{path}: column {int(key) + 1} has no name, but holds {shown(content)}; name it or empty it"
            )
    return table


def values_of(table: Any, column: int) -> NDArray[np.floating]:
    """Return a column of numbers, NaN for gaps, from its buffers: pyarrow's own conversion imports pandas."""
    array = table.column(str(column)).combine_chunks()
    kind = np.dtype(np.float32 if str(array.type) == "float" else np.float64)
    if not len(array):
        return np.empty(0, kind)
    values = np.frombuffer(array.buffers()[1], kind, len(array), array.offset * kind.itemsize)
    if not array.null_count:
        return values
    valid = np.unpackbits(np.frombuffer(array.buffers()[0], np.uint8), bitorder="little")
    return np.where(valid[array.offset : array.offset + len(array)], values, np.nan).astype(kind)


def says_infinite(path: Path, piece: Piece, columns: CsvColumns, column: int) -> NDArray[np.bool_]:
    """Which cells of a column of numbers say "inf"; other infinite ones are beyond float64, such as 1e400."""
    import pyarrow.compute as pc

    cells = parse_columns(path, piece, replace(columns, kinds={column: "string"})).column(str(column))
    return np.array(pc.match_substring(cells, "inf", ignore_case=True).to_pylist())  # type: ignore[attr-defined]


def fault_in(path: Path, piece: Piece, columns: CsvColumns, reason: Exception) -> DataError:
    """Read refused lines cell by cell; return the error for the first row and column that is wrong."""
    names, dialect = columns.names, columns.dialect
    numbers = [index for index, kind in columns.kinds.items() if kind != "string"]
    for line, raw in piece.numbered():
        if not raw:
            continue
        try:
            cells = split_cells(path, raw, line, dialect)
        except DataError as error:
            return error
        if len(cells) != len(names) + dialect.blank:
            return DataError(
                f"{path}: row {line}: {counted(len(cells), 'column')}, but the first row has "
                f"{len(names) + dialect.blank}; every"
                " row needs the same columns"
            )
        for index in numbers:
            cell = cells[index] if dialect.decimal == "." else cells[index].replace(",", ".")
            if not NUMBER.match(cell) and not SPECIAL.match(cell) and cell not in columns.gaps:
                got = f"got {shown(cells[index])}" if cell else "the cell is empty"
                return DataError(
                    f"{path}: row {line}, column {shown(names[index])}: {got}; every sample must be a"
                    f" finite number such as -0.125{columns.hint if cell in GAPS else ''}"
                )
    detail = " ".join(str(reason).split())[:160]
    return DataError(
        f"{path}: rows {piece.line} and after cannot be read as CSV ({detail}); write the file again with"
        " plain numbers, commas and line feeds"
    )


def read_table(path: Path, whole: Collection[str] = ()) -> tuple[TextColumns, NDArray[np.int64], str]:
    """Read the columns of a table as stripped text; also return the row of each in the file, and its sha256.

    Cells of more than MAX_TEXT characters are cut after one more, by which they are known, except in the columns
    `whole`. Rows of empty cells, and columns at the end without name and content, are left out. Raises DataError.
    """
    try:
        size, digest = path.stat().st_size, file_sha256(path)
        with open_text(path) as file:
            start = file.read(LONGEST_LINE)
        if len(start) == LONGEST_LINE and b"\n" not in start:
            raise DataError(f"{path}: its first row has over {LONGEST_LINE} bytes; give the path of a CSV table")
        if not start.strip():
            raise DataError(f"{path}: is empty; a row of column names, and one row per recording, are needed")
        dialect = sniffed(start.decode("utf-8", "replace")[:SAMPLE], len(start) <= SAMPLE)
        with open_text(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
            table = csv.reader(_lines(text), delimiter=dialect.delimiter)
            names, rows, cells = _cells(path, table, dialect.skip, whole, size)
    except UnicodeDecodeError:
        raise DataError(
            f"{path}: row {_undecodable(path)}: is not text in UTF-8; write the table again as CSV in UTF-8"
        ) from None
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({reason}); give the path of a CSV table") from error
    columns = dict(zip(names, cells, strict=True))
    return TextColumns(names, lambda name: text_array(path, name, columns[name], size)), np.array(rows), digest


def _lines(text: io.TextIOBase) -> Iterator[str]:
    while line := text.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise csv.Error(f"it has over {LONGEST_LINE} characters")
        yield line


def _undecodable(path: Path) -> int:
    """The first row with bytes that are no UTF-8."""
    decoder, row = codecs.getincrementaldecoder("utf-8")(), 1
    with open_text(path) as file:
        while data := file.read(SAMPLE):
            try:
                row += decoder.decode(data).count("\n")
            except UnicodeDecodeError as error:
                return row + data[: error.start].count(b"\n")
    return row


def _cells(
    path: Path, table: Iterator[list[str]], skip: int, whole: Collection[str], size: int
) -> tuple[list[str], array[int], list[list[str]]]:
    """The names of the columns, the numbers of the rows, and the cells of each column; equal cells are one object."""
    number, rows, known = skip, array("q"), dict[str, str]()
    try:
        for _ in range(skip):
            next(table)
        names = [from_cell(name.strip()) for name in next(table, [])]
        while names and not names[-1]:
            names.pop()
        if len(set(names)) < len(names) or not any(names):
            raise DataError(
                f"{path}: its first row {shown(','.join(names))} must name the columns, each by its own name"
            )
        ends = [None if name in whole else MAX_TEXT + 1 for name in names]
        columns: list[list[str]] = [[] for _ in names]
        left = most_unpacked(size)
        for number, cells in enumerate(table, skip + 2):
            left -= _ROW_BYTES + _POINTER * len(cells)
            if left < 0:
                raise DataError(
                    f"{path}: row {number}: the table has more cells than are read of {size} bytes; write it again"
                    " without compression"
                )
            for cell in cells[: len(names)]:
                if cell not in known:
                    known[cell] = from_cell(cell.strip())
                    left -= _CELL_BYTES
            filled = [known[cell] for cell in cells[: len(names)]]
            others = any(map(str.strip, filter(None, cells[len(names) :])))
            if not others and not any(filled):
                continue
            if others or len(filled) < len(names):
                raise DataError(
                    f"{path}: row {number}: {counted(len(cells), 'cell')}; each row needs {counted(len(names), 'cell')}"
                )
            rows.append(number)
            for column, cell, end in zip(columns, filled, ends, strict=False):
                column.append(cell[:end])
    except csv.Error as error:
        raise DataError(f"{path}: row {number + 1}: cannot be read as a table ({error}); write it again") from None
    if not rows:
        raise DataError(f"{path}: has no rows below its header; one row per recording is needed")
    return names, rows, columns


def is_table(path: Path) -> bool:
    """Whether a CSV file is a table, such as one of labels, and no recording.

    Its header names recordings, or all of its first rows have text beyond the first cell.
    """
    if not is_csv(path):
        return False
    try:
        header, *rows = first_rows(path, 20) or [[]]
    except DataError:  # reading the recording reports it
        return False

    def text(cell: str) -> bool:
        return not (cell in GAPS or NUMBER.match(cell.replace(",", ".")) or SPECIAL.match(cell))

    named = any(cell.casefold() in RECORDING_NAMES for cell in header)
    return named or (bool(rows) and all(any(map(text, row[1:])) for row in rows))
