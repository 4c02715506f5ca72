"""CSV tables: no cell is a formula, and all text reads back as it was."""

import csv
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgtune.utils.csv_cells import as_cell, csv_text, from_cell, read_csv


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+SUM(A1)", "-2+3", "@SUM(1)", "\t=1", "\r=1", " =1", "＝1", "'=1", "=", "-"]
)
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


@given(st.text(st.sampled_from("=;'+- \ta1")) | st.text())
def test_every_text_reads_back(text):
    assert from_cell(str(as_cell(text))) == text


def test_tables_read_back(tmp_path):
    rows = [["=name", "b,c"], ['@x\n"y"', "-1.5"], ["'=z", "\ttab"]]
    file = tmp_path / "table.csv"
    file.write_text(csv_text(rows), encoding="utf-8", newline="")
    assert read_csv(file) == [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    with file.open(newline="", encoding="utf-8") as lines:
        cells = [cell for row in csv.reader(lines) for cell in row]
    assert not [cell for cell in cells if cell[0] in "=+@\t\r"]


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
    with pytest.raises(ValueError, match="zip"):
        read_csv(tmp_path / "table.csv")
