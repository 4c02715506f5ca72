"""The dialect of a CSV file: encoding, line ends, delimiter, decimal comma, and columns without content.

Spreadsheets write UTF-16, semicolons, decimal commas, a first line `sep=;`, and rows and columns of empty cells. A file
is opened as UTF-8 with line feeds whatever it is written in.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ecgtune.errors import DataError
from ecgtune.text import reason_of
from ecgtune.utils.archives import GzipReader
from ecgtune.utils.files import open_file

SUFFIXES = (".csv", ".csv.gz", ".tsv")
WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods")
_DELIMITERS = "\t;,"  # a comma may also be a decimal comma
SAMPLE = 1 << 16  # bytes or characters of the start, by which a dialect is known
_ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
UNREADABLE = (OSError, EOFError, zlib.error, UnicodeError)  # of a file that is damaged or changes
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods, .xls
_SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?\r?\n", re.IGNORECASE)
_WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?$")
_WITH_POINT = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?$")


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    decimal: the decimal mark of numbers. skip: lines before the first row (`sep=;`). blank: columns at the end that
    have neither a name nor content.
    """

    delimiter: str = ","
    decimal: str = "."
    skip: int = 0
    blank: int = 0

    def without_blank_rows(self, data: bytes) -> bytes:
        """Empty the lines that hold delimiters only, so that their numbers stay."""
        mark = self.delimiter.encode()
        if not data.startswith(mark) and b"\n" + mark not in data:
            return data
        return re.sub(rb"(?m)^[ " + re.escape(mark) + rb"]+(?=\r?$)", b"", data)

    def without_blank_end(self, data: bytes) -> bytes:
        """Remove lines at the end that hold nothing but delimiters."""
        last = len(data.rstrip(b"\r\n " + self.delimiter.encode()))
        end = data.find(b"\n", last)
        return (data if end < 0 else data[:end]).rstrip(b"\r\n")


def workbook_error(path: Path) -> DataError:
    """Return the error for a file of a spreadsheet program."""
    return DataError(f"{path}: is a spreadsheet's own file; save its sheet as CSV (UTF-8) and give that file")


def unreadable(path: Path, error: BaseException) -> DataError:
    """Return the error for a file that is not there, or damaged."""
    if isinstance(error, OSError) and error.strerror:
        return DataError(f"{path}: cannot be read ({error.strerror}); check path and permissions")
    return DataError(f"{path}: cannot be read ({reason_of(error)}); is the file complete and readable?")


def open_text(path: Path) -> IO[bytes]:
    """Open a plain or gzip file of text in UTF-8 or UTF-16; lines end with line feeds. Raises DataError."""
    with open_file(path) as plain:
        start = plain.read(8)
    if start.startswith(_WORKBOOKS):
        raise workbook_error(path)
    file: IO[bytes] = GzipReader(path) if start.startswith(b"\x1f\x8b") else open_file(path)  # type: ignore[assignment]
    try:
        sample = file.read(SAMPLE)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    encoding = next((name for mark, name in _ENCODINGS.items() if sample.startswith(mark)), "utf-8")
    if encoding == "utf-16" or (b"\r" in sample and b"\n" not in sample):
        return io.BufferedReader(_Recoded(file, encoding))
    if encoding == "utf-8-sig":
        file.seek(len(codecs.BOM_UTF8))
    return file


class _Recoded(io.RawIOBase):
    """Text in another encoding, or with carriage returns for line ends, as UTF-8 with line feeds."""

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self._text = io.TextIOWrapper(file, encoding)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[override]
        data = self._rest or self._text.read(len(buffer)).encode("utf-8")
        buffer[: min(len(buffer), len(data))] = data[: len(buffer)]
        self._rest = data[len(buffer) :]
        return min(len(buffer), len(data))

    def close(self) -> None:
        self._text.close()
        super().close()


def is_csv(path: Path) -> bool:
    """Whether a file is CSV by its name."""
    return path.name.lower().endswith(SUFFIXES)


def first_rows(path: Path, most: int) -> list[list[str]]:
    """Return the cells of the first `most` rows, without a cut one. Raises DataError."""
    text, whole = _start(path)
    dialect = sniffed(text, whole)
    rows = _rows(text, dialect.delimiter, whole)[dialect.skip : dialect.skip + most]
    return [[cell.strip() for cell in row] for row in rows]


def dialect_of(path: Path) -> Dialect:
    """Return the dialect by the start of a file. Raises DataError."""
    return sniffed(*_start(path))


def _start(path: Path) -> tuple[str, bool]:
    """The first text of a file, and whether it is all."""
    try:
        with open_text(path) as file:
            sample = file.read(SAMPLE + 1)
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    return sample.decode("utf-8", "replace"), len(sample) <= SAMPLE


def sniffed(text: str, whole: bool) -> Dialect:
    """Return the dialect of a text, of which the last line counts only when it is `whole`."""
    stated = _SEPARATOR_LINE.match(text)
    if stated:
        text = text[stated.end() :]
    rows = {mark: _rows(text, mark, whole) for mark in ([stated[1]] if stated else _DELIMITERS)}
    delimiter = stated[1] if stated else _delimiter(rows)
    cells = [[cell.strip() for cell in row] for row in rows[delimiter] if any(row)]
    decimal = "."
    if delimiter != ",":
        inside = [cell for row in cells for cell in row]
        commas, points = (any(map(form.match, inside)) for form in (_WITH_COMMA, _WITH_POINT))
        decimal = "," if commas and not points else "."
    width = len(cells[0]) if cells else 0
    used = max((number for row in cells for number, cell in enumerate(row, 1) if cell), default=0)
    return Dialect(delimiter, decimal, 1 if stated else 0, max(0, width - used))


def _rows(text: str, delimiter: str, whole: bool) -> list[list[str]]:
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error:  # no text: the parser reports where
        return []
    return rows if whole or len(rows) < 2 else rows[:-1]


def _delimiter(rows: dict[str, list[list[str]]]) -> str:
    """The mark that divides every line into the same number of cells, else the most frequent one of the first line."""
    widths = {mark: {len(row) for row in found if row} for mark, found in rows.items()}
    for mark, width in widths.items():
        if len(width) == 1 and width != {1}:
            return mark
    first, *lines = [row[0].strip() for row in rows[";"] if row] or [""]
    if widths[";"] == {1} and "," not in first and lines and all(map(_WITH_COMMA.match, lines)):
        return ";"  # one column of numbers with a decimal comma, below its name
    return max(",;\t", key=lambda mark: len(rows[mark][0]) if rows[mark] else 0)
