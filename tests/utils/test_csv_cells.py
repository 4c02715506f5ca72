"""CSV tables: no cell is a formula, and all text reads back as it was."""

import csv
import io
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgtune.utils.csv_cells import as_cell, csv_text, from_cell, read_csv
from ecgtune.utils.files import write_text

BEGINNINGS = ["=cmd|' /C calc'!A0", "+SUM(A1)", "-2+3", "@SUM(1)", " =1", "＝1", "'=1", "=", "-", "\ta", "\ra"]


@pytest.mark.parametrize("text", [*BEGINNINGS, "\ufeff=1", "\x00=1", "\u200b@a", "\xad-a", "﹦1"])
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text):
    assert as_cell(text) == f"'{text}"
    assert from_cell(f"'{text}") == text


@pytest.mark.parametrize("value", [-0.5, 3, None, "-0.5", "+1e-3", "AF", "'AF'", "", "a=b", "n/a"])
def test_numbers_and_other_text_stay(value):
    assert as_cell(value) == value
    assert from_cell(str(value)) == str(value)


@pytest.mark.parametrize(("text", "cell"), [("AF;=1", "AF;'=1"), ("=a; =b", "'=a;' =b"), ("a;'-b;c", "a;''-b;c")])
def test_a_formula_behind_a_semicolon_is_none_either(text, cell):
    assert as_cell(text) == cell
    assert from_cell(cell) == text


DIVIDED = ['a;"=1+1;"', 'a;"\t=1+1;"', "a\n=1+1", "a\r=1+1", "a\t=1", "a;\u200b=1", ";;=1", "\t=1", "\r\n=1", 'a\n"@b"']


@pytest.mark.parametrize("text", DIVIDED)
@pytest.mark.parametrize("delimiter", ",;\t")
def test_no_cell_is_a_formula_whatever_divides_the_line(text, delimiter):
    lines = csv.reader(io.StringIO(csv_text([["window", "name"], [0, text]]), newline=""), delimiter=delimiter)
    assert not [cell for row in lines for cell in row if cell.lstrip("\u200b \t\r\n")[:1] in tuple("=+-@")]
    assert from_cell(str(as_cell(text))) == text


def test_cells_of_earlier_versions_are_read():
    assert [from_cell(cell) for cell in ("'\t=1", "'\r=1", "a\n=1", "a;' =b")] == ["\t=1", "\r=1", "a\n=1", "a; =b"]


@given(st.text(st.sampled_from("=;'\"+- \t\r\n\x00a1")) | st.text())
def test_every_text_reads_back(text):
    assert from_cell(str(as_cell(text))) == text


@pytest.mark.parametrize("text", ["\n" * 100_000, "'" * 100_000, ";" * 100_000, "\"\n'" * 30_000, " " * 100_000])
def test_a_long_run_is_read_once(text):
    started = time.process_time()
    assert from_cell(str(as_cell(text))) == text
    assert time.process_time() - started < 2


def test_tables_read_back(tmp_path):
    rows = [["=name", "b,c"], ['@x\n"y"', "-1.5"], ["'=z", "\ttab"]]
    file = tmp_path / "table.csv"
    file.write_text(csv_text(rows), encoding="utf-8", newline="")
    assert read_csv(file) == [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    with file.open(newline="", encoding="utf-8") as lines:
        cells = [cell for row in csv.reader(lines) for cell in row]
    assert not [cell for cell in cells if cell[0] in "=+@\t\r"]


CONTROLS = [*map(chr, [*range(0x20), 0x7F, 0x85, 0x2028, 0x2029]), '"', ",", ";", "'", "\\", " "]


def test_control_characters_read_back(tmp_path):
    texts = [*CONTROLS, *(f"a{first}{second}b" for first in CONTROLS for second in CONTROLS)]
    rows = [[text, str(number)] for number, text in enumerate(texts)]
    write_text(tmp_path / "table.csv", csv_text([["na\rme", "number"], *rows]))
    assert read_csv(tmp_path / "table.csv") == [{"na\rme": text, "number": number} for text, number in rows]


def test_a_table_is_no_pipe_and_has_lines_of_bounded_length(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(OSError, match="a pipe or a device"):
        read_csv(tmp_path / "pipe.csv")
    with (tmp_path / "sparse.csv").open("wb") as file:
        file.write(b"a,b\n1,")
        file.truncate(1 << 32)
    with pytest.raises(ValueError, match=f"a line of over {1 << 20} characters"):
        read_csv(tmp_path / "sparse.csv")


def test_a_damaged_table_is_a_value_error(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n1\n")
    with pytest.raises(ValueError, match=r"^row 3 has 1 cells, the header 2$"):
        read_csv(tmp_path / "table.csv")
