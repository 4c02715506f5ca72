"""A file that cannot be used gets one line with file, row and column, and leaves nothing in the cache."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgtune.errors import DataError
from helpers.reading import read_windows

HEADER = "signal_0,signal_1,signal_2,label"
GOOD = ["0.1,0.2,0.3,0", "0.3,0.1,0.2,1", "0.5,0.1,0.2,0", "0.7,0.1,0.2,1"]


def table(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def archive(**arrays) -> bytes:
    """An NPZ of four windows of three samples; a keyword replaces or adds an array, None leaves one out."""
    content = {"signal": np.arange(12.0).reshape(4, 3), "label": [0, 1, 0, 1]} | arrays
    file = io.BytesIO()
    np.savez(file, **{key: value for key, value in content.items() if value is not None})
    return file.getvalue()


GROUPED = "signal_0,signal_1,signal_2,label,patient,split"
CSV: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", ["is empty"]),
    "only line feeds": (b"\n\r\n\n", ["no rows"]),
    "header only": (table(), ["no windows below the header"]),
    "row too short": (table(*GOOD[:2], "0.1,0.2,1", *GOOD), ["row 4", "3 columns, but the first row has 4"]),
    "row too long": (table(*GOOD[:2], "0.1,0.2,0.3,0.4,1"), ["row 4", "5 columns, but the first row has 4"]),
    "text": (table(*GOOD[:1], "0.1,oops,0.2,1"), ["row 3", "column 'signal_1'", "'oops'", "finite number"]),
    "text in the first row, no header": (
        b"0.1,oops,0.3,0.4,0\n0.1,0.2,0.3,0.4,1\n",
        ["row 1", "column 'signal_1'", "'oops'"],
    ),
    "text after an empty line": (table(*GOOD[:1], "", "0.1,oops,0.2,1"), ["row 4", "column 'signal_1'"]),
    "decimal comma": (table('"0,1",0.2,0.3,1', *GOOD), ["row 2", "column 'signal_0'", "'0,1'"]),
    "digit groups": (table("1_000,0.2,0.3,1", *GOOD), ["row 2", "column 'signal_0'", "'1_000'"]),
    "empty cell": (table(*GOOD, "0.1,0.2,,1"), ["row 6", "column 'signal_2'", "the cell is empty"]),
    "NA": (table(*GOOD, "NA,0.2,0.3,1"), ["row 6", "column 'signal_0'", "'NA'"]),
    "nan": (table(*GOOD, "0.1,nan,0.3,1"), ["row 6", "column 'signal_1'", "got nan"]),
    "infinite": (table(*GOOD, "0.1,0.2,-inf,1"), ["row 6", "column 'signal_2'", "got -inf"]),
    "too large for float32": (table(*GOOD, "0.1,0.2,1e60,1"), ["row 6", "column 'signal_2'", "inf"]),
    "constant": (
        table(*GOOD[:1], "2,2,2,1", *GOOD, "0,0,0,0"),
        ["row 3", "2 of 7 windows", "z-score needs variation"],
    ),
    "constant after an empty line": (table(*GOOD, "", "2,2,2,1"), ["row 7", "1 of 5"]),
    "hardly two windows of a class": (
        table(*GOOD, "0.1,0.2,0.3,2"),
        ["row 6", "3 values ('0', '1', '2', ...) in 5 windows", "at most 50", "is it the label column?"],
    ),
    "samples for labels": (
        table(*(f"0.1,0.2,0.3,{i / 7}" for i in range(30))),
        ["row 3", "'0.14285714285714285' is a measurement, not one of 30 classes", "is it the label column?"],
    ),
    "too many classes": (
        table(*(f"0.1,0.2,0.3,{i % 60}" for i in range(240))),
        ["row 4", "60 values ('0', '1', '2', ...) in 240 windows", "at most 50"],
    ),
    "missing label": (table(*GOOD, "0.1,0.2,0.3,"), ["row 6", "label is missing"]),
    "nan label": (table(*GOOD, "0.1,0.2,0.3,nan"), ["row 6", "label is missing"]),
    "one class": (table(*GOOD[::2]), ["2 windows, all with the label '0'", "two classes"]),
    "label column only": (b"label\n0\n1\n", ["row 1", "one column only"]),
    "label and group only": (b"label,patient\n0,a\n1,b\n", ["row 1", "no sample columns"]),
    "semicolons": (b"signal_0;signal_1;label\n1;2;0\n1;x;0\n", ["row 3", "column 'signal_1'", "'x'"]),
    "point and decimal comma": (b"signal_0;signal_1;label\n1,5;2;0\n1;0.5;0\n", ["row 2", "'1,5'"]),
    "decimal comma, thousands": (b"signal_0;signal_1;label\n1,5;2;0\n1;1.000,5;0\n", ["row 3", "'1.000,5'"]),
    "one sample": (b"signal_0,label\n1,0\n2,1\n", ["1 sample in a window", "at least 2"]),
    "duplicate names": (b"signal_0,signal_0,label\n1,2,0\n", ["columns 1 and 2 are both named 'signal_0'"]),
    "unnamed column": (b",signal_0,signal_1,label\n0,1,2,0\n", ["column 1 has no name"]),
    "a gap in the samples": (
        b"age,signal_0,signal_2,label\n60,1,2,0\n",
        ["column 3 'signal_2'", "'signal_1'", "signal_0, signal_1, ..."],
    ),
    "samples of two leads": (
        b"I_0,I_1,I_2,II_0,II_1,II_2,label\n1,2,3,1,2,3,0\n",
        ["'I_...' and 'II_...'", "one lead", "NPZ"],
    ),
    "a table of labels": (b"record,NORM,MI,strat_fold\na,1,0,1\n", ["no sample columns", "--records FOLDER"]),
    "a table of labels with numbers": (
        b"ecg_id,scp_codes,stadium1,stadium2\n1,{},,\n",
        ["no sample columns", "--records FOLDER"],
    ),
    "samples out of order": (
        b"signal_1,signal_0,label\n1,2,0\n",
        ["column 2 'signal_0'", "is not the next sample column"],
    ),
    "unknown split": (
        table("1,2,3,0,a,train", "1,3,2,1,b,holdout", header=GROUPED),
        ["row 3", "split 'holdout'", "train, val and test"],
    ),
    "leak": (
        table("1,2,3,0,a,train", "1,3,2,1,b,val", "3,1,2,1,a,val", header=GROUPED),
        ["row 4", "patient 'a'", "'val'", "'train' at row 2"],
    ),
    "missing patient": (table("1,2,3,0,a,train", "1,3,2,1,,val", header=GROUPED), ["row 3", "the patient is missing"]),
    "long identifier": (table(f"1,2,3,0,{'a' * 300},train", header=GROUPED), ["column 'patient'", "300 characters"]),
    "carriage return in a cell": (table(*GOOD, "0.1,0.2,a\rb,1"), ["row 6"]),
    "header below empty lines": (b"\n\nsignal_0,signal_2,label\n", ["row 3: column 2 'signal_2'"]),
    "binary": (bytes(range(256)) * 20, ["row 1", "is not text in UTF-8"]),
    "binary below a header": (table(*GOOD) + b"\x00\xff\xfe,1,2\n", ["row 6", "is not text in UTF-8"]),
    "not UTF-8": (table(*GOOD) + b"0.1,0.2,0.3,\xe9t\xe9\n", ["row 6", "UTF-8"]),
    "damaged gzip": (b"\x1f\x8b\x08\x00 this is no gzip", ["cannot be read"]),
}
NPZ: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", ["is empty"]),
    "text": (table(*GOOD), ["cannot be read as an NPZ archive"]),
    "cut": (archive()[:-80], ["cannot be read as an NPZ archive"]),
    "flipped bytes": (archive().replace(b"\xf0?", b"\xf1?"), ["cannot be read as an NPZ archive"]),
    "pickle": (pickle.dumps({"signal": [[1, 2]]}), ["pickle", "refused", "any code"]),
    "bare array": (b"\x93NUMPY\x01\x00", ["one bare array", "numpy.savez"]),
    "pickled labels": (archive(label=np.array([0, "a", None, 1], dtype=object)), ["'label'", "pickled", "refused"]),
    "pickled signal": (archive(signal=np.array([[1, 2], None], dtype=object)), ["'signal'", "pickled", "refused"]),
    "no signal": (archive(signal=None), ["no array 'signal' (the file has: 'label')", "'signal' (windows, samples)"]),
    "no label": (archive(label=None), ["no array 'label'", "--label"]),
    "one dimension": (archive(signal=np.arange(4.0)), ["shape (4,)", "(windows, samples)"]),
    "four dimensions": (archive(signal=np.zeros((4, 1, 3, 2))), ["shape (4, 1, 3, 2)"]),
    "no windows": (archive(signal=np.zeros((0, 3)), label=np.zeros(0)), ["shape (0, 3)"]),
    "complex": (archive(signal=np.zeros((4, 3), complex)), ["complex128", "numbers"]),
    "text samples": (archive(signal=np.full((4, 3), "a")), ["'signal' holds str", "numbers"]),
    "records": (archive(signal=np.zeros(4, [("a", "f4")])), ["plain numbers"]),
    "labels too few": (archive(label=[0, 1]), ["'label' has shape (2,)", "4 windows", "(4,)"]),
    "labels in two dimensions": (archive(label=[[0], [1], [0], [1]]), ["'label' has shape (4, 1)", "'classes'"]),
    "several labels, too few": (archive(label=[[0], [1]], classes=["AF"]), ["'label' has shape (2, 1)", "(4, labels)"]),
    "several labels, names too few": (
        archive(label=[[0, 1], [1, 0], [0, 1], [1, 0]], classes=["AF"]),
        ["'classes' has 1 name,", "2 columns"],
    ),
    "several labels, third value": (
        archive(label=[[0, 1], [1, 0], [0, 2], [1, 0]], classes=["AF", "MI"]),
        ["window 2: label 'MI' is '2'", "1, 0 and nothing"],
    ),
    "several labels, one without positives": (
        archive(label=[[0, 1], [0, 0], [0, 0], [0, 1]], classes=["AF", "MI"]),
        ["label 'AF' is only 0 in 4 windows", "leave it out"],
    ),
    "several labels, one unknown": (
        archive(label=[[np.nan, 1], [-1, 0], [np.nan, 0], [-1, 1]], classes=["AF", "MI"]),
        ["label 'AF' is missing everywhere"],
    ),
    "several labels as text": (archive(label=[["a"], ["b"], ["a"], ["b"]], classes=["AF"]), ["'label' holds str"]),
    "groups too few": (archive(patient=["a"]), ["'patient' has shape (1,)"]),
    "three labels in four windows": (archive(label=[0, 1, 2, 1]), ["window 2", "3 values", "is it the label column?"]),
    "nan label": (archive(label=[0, 1, np.nan, 1]), ["window 2", "label is missing"]),
    "one class": (archive(label=[1, 1, 1, 1]), ["4 windows, all"]),
    "nan": (archive(signal=[[1, 2, 3], [1, 2, np.nan]], label=[0, 1]), ["window 1", "lead 0, sample 2", "nan"]),
    "too large for float32": (archive(signal=[[1, 2, 3], [1e60, 2, 1]], label=[0, 1]), ["window 1", "sample 0"]),
    "constant": (archive(signal=[[1, 2, 3], [5, 5, 5]], label=[0, 1]), ["window 1", "1 of 2"]),
    "unnamed leads": (archive(signal=np.arange(24.0).reshape(4, 2, 3)), ["channel 1 of 2 has no name", "--lead-names"]),
    "wrong number of leads": (archive(leads=["I", "II"]), ["'leads' names 2 leads", "has 1"]),
    "unknown split": (archive(split=["train", "val", "x", "val"]), ["window 2", "split 'x'"]),
    "long identifier": (archive(record=["a" * 300, "b", "c", "d"]), ["'record'", "200 characters"]),
    "zip without arrays": (b"PK\x05\x06" + bytes(18), ["no array 'signal'"]),
}
CASES = [pytest.param("windows.csv", *case, id=f"csv: {name}") for name, case in CSV.items()]
CASES += [pytest.param("windows.npz", *case, id=f"npz: {name}") for name, case in NPZ.items()]


@pytest.mark.parametrize(("name", "content", "parts"), CASES)
@pytest.mark.parametrize("cache", [True, False])
def test_one_line_that_says_where_and_what(tmp_path, cache_folder, name, content, parts, cache):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_windows(path, sampling_rate=100, cache=cache)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    assert [part for part in parts if part not in message] == [], message
    assert list(cache_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda path: path / "missing.csv", "no such file"),
        (lambda path: path, "is a folder"),
        (lambda path: write(path / "windows.abc", b"abc"), r"unknown file type '\.abc'; allowed are .*\.csv"),
        (
            lambda path: write(path / "windows.xlsx", b"PK\x03\x04abc"),
            "is a spreadsheet's own file; save its sheet as CSV",
        ),
    ],
    ids=["missing", "folder", "suffix", "workbook"],
)
def test_paths_that_are_no_file_of_windows(tmp_path: Path, make: Callable[[Path], Path], part: str):
    with pytest.raises(DataError, match=part):
        read_windows(make(tmp_path), sampling_rate=100)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("option", ["label", "group"])
def test_columns_cannot_be_named_without_a_header(tmp_path, option):
    path = write(tmp_path / "w.csv", "\n".join(GOOD).encode())
    with pytest.raises(DataError, match="has no header, so no column can be named 'x'"):
        read_windows(path, sampling_rate=100, **{option: "x"})


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path):
    """An array header that claims 8 TB is refused by its length."""
    import zipfile

    path = tmp_path / "w.npz"
    with zipfile.ZipFile(path, "w") as file:
        for key in ("signal", "label"):
            member = io.BytesIO()
            shape = (10**9, 1000) if key == "signal" else (10**9,)
            np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": shape})
            file.writestr(f"{key}.npy", member.getvalue())
    with pytest.raises(DataError, match="damaged"):
        read_windows(path, sampling_rate=100)


CELLS = st.sampled_from(["0", "1", "0.5", "-2e3", "nan", "", "x", '"', ",", "\n", "\r", "\ufeff", "label", "signal_0"])
BYTES = st.binary(max_size=300) | st.lists(CELLS, max_size=40).map(lambda cells: ",".join(cells).encode())
DAMAGE = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6)


def damaged(content: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(content)
    for place, value in changes:
        changed[place % len(changed)] = value
    return bytes(changed)


@pytest.mark.parametrize("name", ["w.csv", "w.npz", "w.csv.gz"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=BYTES
    | st.builds(damaged, st.just(archive(patient=list("abcd"))), DAMAGE)
    | st.builds(damaged, st.just(table(*GOOD)), DAMAGE)
)
def test_any_bytes_give_a_dataset_or_one_line(tmp_path, name, content):
    path = write(tmp_path / name, content)
    message, dataset = "", None
    try:
        dataset = read_windows(path, sampling_rate=100, cache=False)
    except DataError as error:
        message = str(error)
    if dataset is None:
        assert len(message.splitlines()) == 1
    else:
        assert np.isfinite(dataset.signal).all()
        assert set(dataset.label.tolist()) == set(range(len(dataset.classes)))
