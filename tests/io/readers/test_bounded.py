"""Text and windows in memory, in proportion to the size of a file."""

import gzip
import io
import zipfile
from typing import Any

import numpy as np
import pytest

from ecgtune.errors import DataError
from ecgtune.io.readers import bounded
from ecgtune.io.readers.base import WindowColumns
from ecgtune.io.readers.bounded import as_text
from ecgtune.io.readers.csv_table import read_table
from ecgtune.io.recordings import held_out_records
from ecgtune.io.subgroup_columns import read_columns
from ecgtune.io.window_files import parse


@pytest.fixture(autouse=True)
def less_text(monkeypatch):
    """A lower limit, for smaller files."""
    monkeypatch.setattr(bounded, "_TEXT_BYTES", 32 << 20)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([1.0, np.nan, -0.5]), ["1.0", "nan", "-0.5"]),
        (np.array([[True, False], [False, False]]), [["True", "False"], ["False", "False"]]),
        (np.array([7, 15709]), ["7", "15709"]),
        (np.array([0.1], np.float16), ["0.1"]),
        (np.array(["a", "\xe9"]), ["a", "\xe9"]),
        (np.array(["\xe9".encode()]), ["\xe9"]),
        (np.zeros((0, 2)), np.zeros((0, 2)).astype(str).tolist()),
    ],
)
def test_text_is_no_wider_than_needed(tmp_path, values, expected):
    text = as_text(tmp_path, "label", values)
    assert text.tolist() == expected
    assert text.shape == values.shape
    assert text.dtype.kind == "U"
    if text.size:
        assert text.dtype.itemsize == 4 * max(map(len, text.ravel().tolist()))


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(9_000_000, bool),
        np.zeros(2_000_000, bool),
        np.zeros(2_000_000, "U5"),
        np.zeros(2_000_000, "S5"),
        np.arange(500_000, dtype=np.float64),
    ],
)
def test_text_beyond_the_size_of_its_file(tmp_path, values):
    with pytest.raises(DataError, match=r"too much text for a file of 1000 bytes; shorten the longest"):
        as_text(tmp_path, "label", values, size=1000)


def zeros(path, arrays):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, values in arrays.items():
            content = io.BytesIO()
            np.save(content, values)
            file.writestr(f"{name}.npy", content.getvalue())
    return path


def test_archives_of_long_columns(tmp_path):
    path = zeros(tmp_path / "w.npz", {"record": np.zeros(9_000_000, bool), "split": np.zeros(9_000_000, bool)})
    with pytest.raises(DataError, match="column 'record' has 9000000 cells"):
        held_out_records(path)
    path = zeros(tmp_path / "o.npz", {"sex": np.array(["f", "m"]), "other": np.zeros(9_000_000, bool)})
    dataset: Any = type("Two", (), {"recorded": {}, "recording": None, "__len__": lambda self: 2})()
    assert read_columns(path, dataset, ["sex"])["sex"].tolist() == ["f", "m"]
    with pytest.raises(DataError, match="column 'other'"):
        read_columns(path, dataset, ["other"])


@pytest.mark.parametrize(
    ("rows", "labels", "said"),
    [
        (60_000, ["1", "0"], None),
        (1_000_000, ["1", "0"], r"holds \d+ windows or more of 2 samples in \d+ bytes"),
        (60_000, ["q" * 150, "0"], r"column 'label' has 60000 cells, the longest of 150 characters"),
    ],
)
def test_windows_of_a_packed_file(tmp_path, rows, labels, said):
    lines = f"0,1,{labels[0]}\n" + f"1,0,{labels[1]}\n1,0,1\n" * (rows // 2)
    path = tmp_path / "w.csv.gz"
    path.write_bytes(gzip.compress(b"signal_0,signal_1,label\n" + lines.encode()[: len(lines) - 6]))
    if said is None:
        assert parse(path, WindowColumns(), None, lambda signal: None).shape[0] == rows
    else:
        with pytest.raises(DataError, match=said):
            parse(path, WindowColumns(), None, lambda signal: None)


def test_a_column_of_a_table_is_made_when_it_is_asked_for(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("record,report\n" + "".join(f"r{n},{'x' * 190 if n == 0 else ''}\n" for n in range(60_000)))
    columns, rows, _ = read_table(path)
    assert list(columns) == ["record", "report"]
    assert columns["record"][-1] == "r59999"
    assert rows[-1] == 60_001
    with pytest.raises(DataError, match="column 'report' has 60000 cells, the longest of 190 characters"):
        columns["report"]
    with pytest.raises(KeyError):
        columns["other"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"record,label\n" + b"\n" * (2 << 20)), "the table has more cells than are read"),
        (gzip.compress(b"record,label\n" + (b"a" + b"," * 900_000 + b"\n") * 11), "the table has more cells"),
        (b"record,label\na,1\nb" + b"," * (1 << 20), "row 3: cannot be read as a table \\(it has over"),
        (b"record,label\na,1\nb,\xff\n", "row 3: is not text in UTF-8"),
        (b"record,label\na,1\nb,2,3\n", "row 3: 3 cells"),
        (b"record,label\na,1\nb\n", "row 3: 1 cell;"),
    ],
)
def test_rows_of_a_table_that_are_refused(tmp_path, content, said):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_table(tmp_path / "t.csv")


@pytest.mark.slow
def test_a_packed_table_of_many_labels_is_read(tmp_path):
    labels = (np.random.default_rng(0).random((22_000, 71)) < 0.03).astype(int)
    lines = [f"r{n}," + ",".join(map(str, row)) for n, row in enumerate(labels.tolist())]
    header = "record," + ",".join(f"label_{n}" for n in range(71))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress("\n".join([header, *lines]).encode()))
    columns, rows, _ = read_table(tmp_path / "t.csv.gz")
    assert len(rows) == 22_000
    np.testing.assert_array_equal(columns["label_70"].astype(int), labels[:, 70])
