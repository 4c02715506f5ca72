"""CSV files as spreadsheets and other programs save them: recordings, windows and tables of labels alike."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ecgtune.errors import DataError
from ecgtune.io.label_table import TableColumns, read_label_table
from ecgtune.io.readers.csv_dialect import Dialect, sniffed
from ecgtune.io.windows import read_dataset
from helpers.recordings import read


def joined(rows: list[list[str]], delimiter: str = ",", end: str = "\n") -> str:
    return "".join(delimiter.join(row) + end for row in rows)


def german(rows: list[list[str]]) -> str:
    return joined([[cell.replace(".", ",") for cell in row] for row in rows], ";", "\r\n")


def padded(rows: list[list[str]], delimiter: str = ",") -> str:
    """Two empty columns and two empty rows at the end."""
    width = len(rows[0]) + 2
    return joined([row + [""] * (width - len(row)) for row in [*rows, [], []]], delimiter)


SAVED: dict[str, Callable[[list[list[str]]], bytes]] = {
    "plain": lambda rows: joined(rows).encode(),
    "Excel, UTF-8": lambda rows: b"\xef\xbb\xbf" + joined(rows, end="\r\n").encode(),
    "Excel, German": lambda rows: german(rows).encode(),
    "Excel, Unicode text": lambda rows: joined(rows, "\t", "\r\n").encode("utf-16"),
    "UTF-16, high byte first": lambda rows: b"\xfe\xff" + german(rows).encode("utf-16-be"),
    "Macintosh": lambda rows: joined(rows, end="\r").encode(),
    "Macintosh, semicolons": lambda rows: joined(rows, ";", "\r").encode(),
    "tabs": lambda rows: joined(rows, "\t").encode(),
    "sep=;": lambda rows: b"sep=;\r\n" + german(rows).encode(),
    "sep=,": lambda rows: b"sep=,\n" + joined(rows).encode(),
    "empty rows and columns": lambda rows: padded(rows).encode(),
    "empty rows and columns, semicolons": lambda rows: padded(rows, ";").encode(),
    "gzip": lambda rows: gzip.compress(joined(rows).encode()),
    "gzip, UTF-16": lambda rows: gzip.compress(german(rows).encode("utf-16")),
    "quoted": lambda rows: joined([[f'"{cell}"' for cell in row] for row in rows]).encode(),
}
RECORDING = [["I", "II"], ["0.5", "-1.25"], ["1.5", ""], ["2", "1e-1"]]
WINDOWS = [
    ["signal_0", "signal_1", "signal_2", "patient", "label"],
    *([f"{i}.5", f"-{i}", f"0.{i}25", f"p{i}", f"{'AF' if i % 2 else 'SR'}"] for i in range(1, 7)),
]
LABELS = [["record", "label"], ["a", "AF"], ["b", "\u00e4"], ["c", "\u00e4"], ["d", "AF"]]


@pytest.mark.parametrize("saved", SAVED)
def test_a_recording(saved, tmp_path):
    path = tmp_path / ("r.csv.gz" if "gzip" in saved else "r.csv")
    path.write_bytes(SAVED[saved](RECORDING))
    recording = read(path, sampling_rate=100.0, unit="mV")
    assert recording.leads == ("I", "II")
    np.testing.assert_array_equal(recording.signal, np.array([[0.5, 1.5, 2], [-1.25, np.nan, 0.1]], np.float32))


@pytest.mark.parametrize("saved", SAVED)
def test_windows(saved, tmp_path):
    (tmp_path / "w.csv").write_bytes(SAVED[saved](WINDOWS))
    dataset = read_dataset(tmp_path / "w.csv", sampling_rate=100)
    expected = np.array([[float(cell) for cell in row[:3]] for row in WINDOWS[1:]], np.float32)
    np.testing.assert_array_equal(dataset.signal[:, 0], expected)
    assert [dataset.classes[code] for code in dataset.label] == [row[4] for row in WINDOWS[1:]]
    assert dataset.group is not None
    assert dataset.group.tolist() == [row[3] for row in WINDOWS[1:]]


@pytest.mark.parametrize("saved", SAVED)
def test_a_table_of_labels(saved, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(SAVED[saved](LABELS))
    table = read_label_table(path, TableColumns())
    assert table.recording.tolist() == ["a", "b", "c", "d"]
    assert table.row.tolist() == ([3, 4, 5, 6] if saved.startswith("sep") else [2, 3, 4, 5])
    assert [table.classes[code] for code in table.label] == ["AF", "\u00e4", "\u00e4", "AF"]


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("record,label\na,A;N\nb,N\n", Dialect()),  # joined labels are no columns
        ("record,label\na,A;N\nb,N;A\n", Dialect()),
        ("record;note\na;left, right\nb;none\n", Dialect(";")),
        ("II\n0,5\n1,5\n", Dialect(";", ",")),
        ("II\n5\n6\n", Dialect()),
        ("1;2\n3,5;4\n", Dialect(";", ",")),
        ("a,b,c\n1,2\n", Dialect()),
        ("a,b,,\n1,2,,\n", Dialect(blank=2)),
        ("a,b,,\n1,2,,3\n", Dialect()),
        ("sep=|\na|b\n", Dialect("|", skip=1)),
    ],
)
def test_a_dialect_is_known_by_the_rows(text, dialect):
    assert sniffed(text, True) == dialect


@pytest.mark.parametrize("name", ["labels.xlsx", "labels.csv"])
def test_a_workbook_is_told_what_to_do(name, tmp_path):
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    with pytest.raises(DataError, match="save its sheet as CSV"):
        read_label_table(path)
    with pytest.raises(DataError, match="save its sheet as CSV"):
        read_dataset(path, sampling_rate=100)


def test_a_long_file_in_another_encoding_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("ecgtune.io.readers.csv_files._PIECE_BYTES", 1000)
    rows = [["signal_0", "signal_1", "label"], *([f"{i},5", f"-{i}", str(i % 2)] for i in range(1, 3000))]
    Path(tmp_path / "w.csv").write_bytes(joined(rows, ";", "\r").encode("utf-16"))
    dataset = read_dataset(tmp_path / "w.csv", sampling_rate=100)
    np.testing.assert_array_equal(dataset.signal[:, 0, 0], np.arange(1, 3000) + np.float32(0.5))
