"""CSV tables that this package writes and reads again.

A spreadsheet runs a cell as a formula that begins with = + - or @. Such text gets an apostrophe in front, the mark that
spreadsheets use for text. So does what follows a semicolon, a tab or a line end in a cell: spreadsheets of many
countries divide a line at semicolons, and then take the quotes around a cell as text and its line ends as new lines.
The readers remove it again. Numbers stay as they are.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ecgtune.utils.files import open_file

_SIGNS = "=+\\-@＝＋－＠﹦﹢﹣﹫"
# In front of a sign: apostrophes, white space, and controls and invisible characters, which programs drop.
_SKIPPED = "'\\s\x00-\x1f\x7f\xad\u200b-\u200f\u2060\ufeff"
# Also text that begins with a tab or a line end.
_FORMULA = re.compile(f"[{_SKIPPED}]*+[{_SIGNS}]|'*[\t\r\n]")
# A whole run, so that a long one is read once.
_DIVIDED = re.compile(f'(?<![;"{_SKIPPED}])[;"{_SKIPPED}]++(?=[{_SIGNS}])')
_DIVIDER, _MARKED = re.compile("([;\t\r\n])"), re.compile("([;\t\r\n])'")
_MOST_LINE = 1 << 20  # characters
_NO_UTF8 = re.compile(r"\\ud(c[89a-f][0-9a-f])")  # a byte of a file name, as `text.utf8` writes it
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def as_cell(value: object) -> object:
    """Return a value for a CSV cell: text that a spreadsheet would run, with an apostrophe in front."""
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    text = _DIVIDED.sub(lambda found: _DIVIDER.sub(r"\1'", found[0]), value)
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """Return the text of which `as_cell`, and `text.utf8` for names of files, made a cell."""
    text = text[1:] if text.startswith("'") and _FORMULA.match(text) else text
    text = _DIVIDED.sub(lambda found: _MARKED.sub(r"\1", found[0]), text)
    return _NO_UTF8.sub(lambda found: chr(int(f"d{found[1]}", 16)), text)


class _Lines(list[str]):
    """Lines of a writer whose terminator is \\r\\n; they end in \\n."""

    def write(self, line: str) -> None:
        self.append(f"{line[:-2]}\n")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return the text of a CSV file, of which the first row is the header."""
    lines = _Lines()
    # The terminator names the characters that are quoted in a cell: Python before 3.13 would write a lone \r as it is.
    csv.writer(lines, lineterminator="\r\n").writerows([as_cell(cell) for cell in row] for row in rows)
    return "".join(lines)


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
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}")
    return [dict(zip(header, row, strict=True)) for row in rows]
