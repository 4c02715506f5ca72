"""CSV tables that this package writes and reads again.

A spreadsheet runs a cell as a formula that begins with = + - or @. Such text gets an apostrophe in front, the mark that
spreadsheets use for text, and so does what follows a semicolon, at which spreadsheets of many countries divide a line.
The readers remove it again. Numbers stay as they are.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ecgtune.utils.files import open_file

# Also the wide forms of the signs, white space in front of them, and text that begins with a tab or a line end.
_FORMULA = re.compile(r"'*(?:\s*[=+\-@＝＋－＠]|[\t\r\n])")
_DIVIDED = re.compile(r"(?<=;)(?='*\s*[=+\-@＝＋－＠])")
_MARKED = re.compile(r"(?<=;)'(?='*\s*[=+\-@＝＋－＠])")
_MOST_LINE = 1 << 20  # characters
_NO_UTF8 = re.compile(r"\\ud(c[89a-f][0-9a-f])")  # a byte of a file name, as `text.utf8` writes it
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def as_cell(value: object) -> object:
    """Return a value for a CSV cell: text that a spreadsheet would run, with an apostrophe in front."""
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    text = _DIVIDED.sub("'", value)
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """Return the text of which `as_cell`, and `text.utf8` for names of files, made a cell."""
    text = text[1:] if text.startswith("'") and _FORMULA.match(text) else text
    return _NO_UTF8.sub(lambda found: chr(int(f"d{found[1]}", 16)), _MARKED.sub("", text))


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return the text of a CSV file, of which the first row is the header."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([as_cell(cell) for cell in row] for row in rows)
    return out.getvalue()


def _lines(file: io.TextIOWrapper) -> Iterator[str]:
    while line := file.readline(_MOST_LINE + 1):
        if len(line) > _MOST_LINE:
            raise ValueError(f"a line of over {_MOST_LINE} characters")
        yield line


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file that `csv_text` made, by column. Raises OSError, or ValueError for a damaged file."""
    with io.TextIOWrapper(open_file(path), "utf-8", newline="") as file:
        try:
            lines = csv.reader(_lines(file), strict=True)
            header, *rows = [[from_cell(cell) for cell in row] for row in lines] or [[]]
        except csv.Error as error:
            raise ValueError(str(error)) from None
    return [dict(zip(header, row, strict=True)) for row in rows]
