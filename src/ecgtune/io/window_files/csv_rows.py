"""Whole lines of a CSV file into windows: fast where they are plain numbers, slowly where something is wrong.

Three ways through, each giving the same for what the one before it takes: `_plain` cuts the text at its commas and
converts all cells at once; `_general` is pyarrow's CSV reader, for quotes, empty lines, spaces and Windows line ends;
`_find_fault` reads cell by cell and names the row and column that is wrong.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.window_files.base import MAX_TEXT, Block
from ecgtune.utils.text import shown

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
SPECIAL = re.compile(r"[+-]?(nan|inf|infinity)$", re.IGNORECASE)
_COMMA, _LINE_FEED = ord(","), ord("\n")


@dataclass(frozen=True)
class Layout:
    """Names of all columns of a file and which of them are what; `several`: each of `label` is a label of its own.

    Without any `label` the windows have none.
    """

    names: tuple[str, ...]
    samples: tuple[int, ...]
    label: tuple[int, ...]
    group: int | None
    split: int | None
    several: bool = False

    @property
    def text(self) -> tuple[int, ...]:
        """The columns that are read as text."""
        return tuple(index for index in (*self.label, self.group, self.split) if index is not None)


@dataclass(frozen=True)
class Piece:
    """Whole lines of the file and the number, from 1, of the first of them."""

    data: bytes
    line: int


@dataclass(frozen=True)
class _Rows:
    """The rows of a piece: samples (rows, samples), the text columns by index, and the line of each row."""

    samples: NDArray[np.float32]
    text: dict[int, pa.Array]
    line: NDArray[np.int64]


def parse_piece(path: Path, layout: Layout, piece: Piece) -> Block:
    """The windows of a piece. Raises DataError with row and column."""
    rows = _plain(layout, piece) or _general(path, layout, piece)

    def column(index: int) -> NDArray[np.str_]:
        values = pc.utf8_trim_whitespace(rows.text[index])  # type: ignore[attr-defined]
        length = pc.max(pc.utf8_length(values)).as_py() or 0  # type: ignore[attr-defined]
        if length > MAX_TEXT:
            raise DataError(
                f"{path}: column {shown(layout.names[index])} holds text of {length} characters; labels and"
                f" identifiers of at most {MAX_TEXT} are allowed"
            )
        return np.array(values.to_pylist(), dtype=np.str_)

    if not layout.label:
        label = np.zeros(len(rows.line), dtype="U1")
    else:
        label = np.stack([column(i) for i in layout.label], axis=1) if layout.several else column(layout.label[0])
    return Block(
        rows.samples[:, None, :],
        rows.line,
        label,
        None if layout.group is None else column(layout.group),
        None if layout.split is None else column(layout.split),
    )


def _plain(layout: Layout, piece: Piece) -> _Rows | None:
    """Rows of bare cells, or None when anything at all is unusual.

    Deleting the commas and line feeds leaves the cells end to end, which with their offsets is an Arrow array of text,
    and one cast makes it numbers. That takes about two thirds of the processor time of a CSV reader.
    """
    data = piece.data if piece.data.endswith(b"\n") else piece.data + b"\n"
    if b'"' in data or b"\r" in data:
        return None
    columns = len(layout.names)
    letters = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero((letters == _COMMA) | (letters == _LINE_FEED))
    count, rest = divmod(len(ends), columns)
    if rest or count != data.count(b"\n") or (letters[ends[columns - 1 :: columns]] != _LINE_FEED).any():
        return None
    offsets = np.zeros(len(ends) + 1, dtype=np.int32)
    offsets[1:] = ends - np.arange(len(ends))
    cells = pa.py_buffer(data.translate(None, b",\n"))
    is_sample = np.zeros(columns, dtype=bool)
    is_sample[list(layout.samples)] = True
    valid = pa.py_buffer(np.packbits(np.tile(is_sample, count), bitorder="little"))  # the cast leaves text alone
    try:
        numbers = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), cells, valid).cast(pa.float32())
        strings = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), cells)
        text = {index: strings.take(pa.array(np.arange(index, len(ends), columns))) for index in layout.text}
        for values in text.values():
            values.validate(full=True)  # UTF-8
    except pa.ArrowException:
        return None
    table = np.frombuffer(numbers.buffers()[1], dtype=np.float32, count=len(ends)).reshape(count, columns)
    first, last = layout.samples[0], layout.samples[-1]
    together = last - first + 1 == len(layout.samples)
    samples = np.ascontiguousarray(table[:, first : last + 1] if together else table[:, is_sample])
    return _Rows(samples, text, np.arange(piece.line, piece.line + count, dtype=np.int64))


def _general(path: Path, layout: Layout, piece: Piece) -> _Rows:
    """Rows as pyarrow's CSV reader sees them. Raises DataError with row and column."""
    names = [str(index) for index in range(len(layout.names))]
    types = {names[i]: pa.float32() for i in layout.samples} | {names[i]: pa.string() for i in layout.text}
    used = [names[i] for i in (*layout.samples, *layout.text)]
    line = np.array([n for n, raw in _numbered(piece) if raw], dtype=np.int64)  # pyarrow skips empty lines
    if not len(line):
        none = pa.array([], pa.string())
        return _Rows(np.empty((0, len(layout.samples)), dtype=np.float32), dict.fromkeys(layout.text, none), line)
    try:
        table = pcsv.read_csv(
            pa.BufferReader(piece.data),
            read_options=pcsv.ReadOptions(column_names=names, use_threads=False, block_size=len(piece.data) + 1),
            convert_options=pcsv.ConvertOptions(column_types=types, include_columns=used, null_values=[]),
        )
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise _find_fault(path, layout, piece, error) from error
    if table.num_rows != len(line):
        raise _find_fault(path, layout, piece, ValueError("line ends are mixed"))
    samples = np.stack([table.column(names[index]).to_numpy() for index in layout.samples], axis=1)
    return _Rows(samples, {index: table.column(names[index]) for index in layout.text}, line)


def cells_of(path: Path, raw: bytes, line: int) -> list[str]:
    """One line split at its commas, without the spaces around. Raises DataError for what is not text."""
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
        if "\0" in text:
            raise ValueError("it holds zero bytes")
        return [cell.strip() for cell in next(csv.reader([text]), [])]
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: row {line}: is not comma-separated text in UTF-8; write it as a CSV file") from error


def _numbered(piece: Piece) -> Iterator[tuple[int, bytes]]:
    """Line number and text of each line, without its end."""
    lines = piece.data.split(b"\n")
    for offset, raw in enumerate(lines):
        yield piece.line + offset, raw.rstrip(b"\r")


def _find_fault(path: Path, layout: Layout, piece: Piece, reason: Exception) -> DataError:
    """Read a refused piece again, slowly, for the first row and column that is wrong."""
    count = len(layout.names)
    for line, raw in _numbered(piece):
        if not raw:
            continue
        try:
            cells = cells_of(path, raw, line)
        except DataError as error:
            return error
        if len(cells) != count:
            return DataError(
                f"{path}: row {line}: {len(cells)} columns, but the first row has {count}; every row needs"
                f" the same columns"
            )
        for index in layout.samples:
            cell = cells[index]
            if not NUMBER.match(cell) and not SPECIAL.match(cell):
                got = f"got {shown(cell)}" if cell else "the cell is empty"
                return DataError(
                    f"{path}: row {line}, column {shown(layout.names[index])}: {got}; every sample must be a"
                    " finite number such as -0.125"
                )
    detail = " ".join(str(reason).split())[:160]
    return DataError(
        f"{path}: rows {piece.line} and after cannot be read as CSV ({detail}); write the file again with"
        " plain numbers, commas and line feeds"
    )
