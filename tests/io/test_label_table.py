"""The table of labels: what is found without being told, what is missing, and what is refused with its row."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from ecgtune.errors import DataError, SettingError
from ecgtune.io.label_table import TableColumns, read_label_table
from ecgtune.io.labels import class_notes
from ecgtune.io.readers.csv_table import is_table
from helpers.records import write_record

FIVE = """record,patient,MI,CD,strat_fold
a,1,1,0,1
b,1,0,,1
c,2,,1,9
d,3,,,10
e,4,0,0,10
"""
SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")


@pytest.fixture
def table(tmp_path: Path):
    def read(text: str, **columns):
        (tmp_path / "labels.csv").write_text(text)
        return read_label_table(tmp_path / "labels.csv", TableColumns(**columns))

    return read


def test_several_labels_with_missing_ones(table):
    got = table(FIVE, labels=("MI", "CD"), fold="strat_fold")
    assert got.task == "multilabel"
    assert got.classes == ("MI", "CD")
    assert_array_equal(got.label, [[1, 0], [0, -1], [-1, 1], [0, 0]])
    assert got.label.dtype == np.int8
    assert got.unlabelled == ("d",)
    assert_array_equal(got.patient, ["1", "1", "2", "4"])
    assert_array_equal(got.split, ["train", "train", "val", "test"])
    assert_array_equal(got.row, [2, 3, 4, 6])
    assert "validation 9, test 10" in got.split_origin


def test_folds_and_identifiers_are_no_labels(table):
    got = table("record,ecg_id,AF,patient,Strat_Fold\na,1,1,x,1\nb,2,0,y,2\n")
    assert got.split is None
    assert got.classes == ("0", "1")
    assert_array_equal(got.label, [1, 0])


@pytest.mark.parametrize(
    ("text", "columns", "task", "classes", "label"),
    [
        ("record,label\na,1\nb,0\nc,\n", {}, "binary", ("0", "1"), [1, 0]),
        ("record;rhythm\na;AF\nb;SR\nc;AF\nd;O\ne;O\nf;SR\n", {}, "multiclass", ("AF", "O", "SR"), [0, 2, 0, 1, 1, 2]),
        ("file\tage\tAF\nx.dat\t70\t1.0\ny.dat\t60\t0.0\n", {"label": "AF"}, "binary", ("0", "1"), [1, 0]),
        ("record,a,b,note\nx,1,0,p\ny,0,1,q\n", {"labels": ("b", "a")}, "multilabel", ("b", "a"), [[0, 1], [1, 0]]),
        ("record,age,sex,recording_date,AF\nx,6,m,a,1\ny,7,f,b,0\n", {}, "binary", ("0", "1"), [1, 0]),
        ("\ufeffrecord,label\r\nx,yes\r\ny,no\r\n", {}, "binary", ("no", "yes"), [1, 0]),
    ],
)
def test_layouts(table, text, columns, task, classes, label):
    got = table(text, **columns)
    assert (got.task, got.classes) == (task, classes)
    assert_array_equal(got.label, label)


@pytest.mark.parametrize(
    ("folds", "asked", "parts"),
    [
        ("12345", {}, ["train", "train", "train", "val", "test"]),
        ("12345", {"test_fold": 1}, ["test", "train", "train", "val", "train"]),
        ("12345", {"test_fold": 4}, ["train", "train", "val", "test", "train"]),
        ("12345", {"test_fold": 2, "val_fold": 1}, ["val", "test", "train", "train", "train"]),
    ],
)
def test_folds(table, folds, asked, parts):
    rows = "".join(f"r{i},{i % 2},{fold}\n" for i, fold in enumerate(folds))
    assert_array_equal(table("record,label,k\n" + rows, fold="k", **asked).split, parts)


def test_a_split_column_is_used_as_it_is(table):
    got = table("record,label,split\na,1,train\nb,0,Validation\nc,1,test\n")
    assert_array_equal(got.split, ["train", "val", "test"])


def test_mit_bih_as_published(table):
    names = [*range(100, 125), *range(200, 235)]
    known = [n for n in names if n not in (110, 120, 204, 206, 211, 216, 218, 224, 225, 226, 227, 229)]
    assert len(known) == 48
    got = table("record,label\n" + "".join(f"mitdb/{n},{n % 2}\n" for n in known), published="mitdb")
    assert dict(zip(*np.unique(got.split, return_counts=True), strict=True)) == {"train": 22, "test": 22}
    assert got.left_out == ("mitdb/102", "mitdb/104", "mitdb/107", "mitdb/217")
    assert "201 (DS1) and 202 (DS2) are one person" in got.split_origin
    with pytest.raises(DataError, match="recording '300' is not in the published split"):
        table("record,label\n100,1\n300,0\n", published="mitdb")


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("record,label,age\na,1,61.5\nb,0,70\n", {"fold": "age"}, "row 2: age is '61.5', no number of a fold"),
        ("", {}, "is empty; a row of column names"),
        ("record,label\n", {}, "no rows below its header"),
        ("name,label\na,1\n", {}, "--recording-column"),
        ("A1,N\nA2,A\nA3,N\n", {}, r"its first row \(A1 and N\) looks like data"),
        ("record,label\na,1\n", {"recording": "recrd"}, "did you mean 'record'"),
        ("record,label\na,1\n", {"label": "x"}, r"no column 'x' \(--label\)"),
        ("record,label\na,1\n", {"labels": ("label", "y")}, r"no column 'y' \(--labels\)"),
        ("record,patient\na,1\n", {}, "no column of labels"),
        ("record,sex,pacemaker,AF\na,1,0,1\n", {}, "It may be pacemaker or AF; name one with --label"),
        ("record,labels,class\na,1,0\n", {}, "It may be labels or class; name one with --label"),
        ("record,label\na,AF\nb,SR\nc,AF\n", {"missing": ("SR",)}, r"left out as missing: 'SR' \(1\)"),
        ("record,label\na,NA\nb,1\nc,1\n", {}, r"2 windows, all with the label '1'; .* missing: 'NA' \(1\)"),
        ("record,label\na,x|y\nb,y\n", {"label_separator": "|"}, "label 'y' is only 1"),
        ("record,label\na,x|y\nb,y\n", {"label_separator": "|", "labels": ("z",)}, r"no label 'z' \(--labels\)"),
        ("record,scp_codes,AF\na,\"{'SR': 0.0}\",1\n", {}, "with --scp superclass"),
        ("record,scp_codes\na,\"{'SR': 0.0}\"\n", {}, "dictionaries of statements"),
        ("record,scp_codes\na,\"{'SR': 0.0}\"\nb,{SR}\n", {"scp": "rhythm"}, "row 3: '{SR}' is no dictionary"),
        *(
            (f"record,scp_codes\na,{{'NORM': {nested}1}}\n", {"scp": "rhythm"}, "row 2: .* is no dictionary")
            for nested in ("-" * 3900, "-" * 20_000, "(" * 3900)
        ),
        ("record,scp_codes\na,\"{'XX': 0.0}\"\n", {"scp": "rhythm"}, "'XX' is none of PTB-XL's 71 statements"),
        ("record,label\na,1\nb,0\na,1\n", {}, "row 4: recording 'a' is already in row 2"),
        ("record,label\na,1\n,0\n", {}, "row 3: record is empty"),
        ("record,label,patient\na,1,x\nb,0,\n", {}, "row 3: patient is empty"),
        ("record,label\na,\nb,\n", {}, "no row has a value in label"),
        ("record,MI,CD\na,1,2\nb,0,0\n", {"labels": ("MI", "CD")}, "row 2: label 'CD' is '2'"),
        ("record,label\na,1\nb,0,7\n", {}, "each row needs 2 cells"),
        ("record,label,label\na,1,1\n", {}, "each by its own name"),
        ("record,label,patient,split\na,1,x,train\nb,0,x,test\n", {}, "patient 'x' is in split 'test' but in 'train'"),
        ("record,label,f\na,1,1\nb,0,2\n", {"fold": "f"}, "three or more are needed"),
        ("record,label,f\na,1,1\nb,0,2\nc,0,3\n", {"fold": "f", "test_fold": 9}, r"no fold 9 \(--test-fold\)"),
        ("record,label,f\na,1,x\nb,0,test\n", {"fold": "f"}, "split 'x' is unknown"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(table, text, columns, said):
    with pytest.raises(DataError, match=said) as refusal:
        table(text, **columns)
    assert "labels.csv" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("cells", "columns", "classes", "label", "unlabelled"),
    [
        (["AF", "None", "AF", "None", ""], {}, ("AF", "None"), [0, 1, 0, 1], 1),
        (["AF", "NA", "SR", "AF", "SR", "NA"], {}, ("AF", "NA", "SR"), [0, 1, 2, 0, 2, 1], 0),
        (["AF", "NA", "SR", "AF", "SR"], {"missing": ("NA",)}, ("AF", "SR"), [0, 1, 0, 1], 1),
        (["1", "NA", "0", "nan", "1.0", "null"], {}, ("0", "1"), [1, 0, 1], 3),
        (["1", "9", "0", "9"], {"missing": ("9",)}, ("0", "1"), [1, 0], 2),
        (["AFIB|SR", "SR", "", " |PVC", "PVC"], {"label_separator": "|"}, ("AFIB", "PVC", "SR"),
         [[1, 0, 1], [0, 0, 1], [0, 1, 0], [0, 1, 0]], 1),
        (["\"['AF', 'PVC']\"", "['SR']", "[]", "['AF']"], {"label_separator": ","}, ("AF", "PVC", "SR"),
         [[1, 1, 0], [0, 0, 1], [1, 0, 0]], 1),
        (["A;N", "N", "NA", "A"], {"label_separator": ";", "missing": ("NA",), "labels": ("A",)},
         ("no A", "A"), [1, 0, 1], 1),
    ],
)  # fmt: skip
def test_cells_of_a_label_column(table, cells, columns, classes, label, unlabelled):
    rows = "".join(f"r{row},{cell}\n" for row, cell in enumerate(cells))
    got = table("record,label\n" + rows, **columns)
    assert got.classes == classes
    assert_array_equal(got.label, label)
    assert len(got.unlabelled) == unlabelled


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("AF", "SR"), ()),
        (("AF", "None"), ("'None' is a class, although it looks like a missing value; --missing None",)),
        (("AF", "SR", "af"), ("'AF' and 'af' differ in case only",)),
        (("AFIB|SR", "SR"), ("'AFIB|SR' looks like several labels in one; --label-separator '|'",)),
        (("A;N", "A;V"), ("'A;N' looks like several labels in one; --label-separator ';'",)),
        (("AF", "AF/PVC"), ("'AF/PVC' looks like several labels in one; --label-separator '/'",)),
        (("SR", "SR+PVC", "AF&SR"), ("'SR+PVC' looks like", "'AF&SR' looks like")),
        (("AF", "SR", "AF SR"), ("'AF SR' looks like several labels in one; --label-separator ' '",)),
        (("['AF', 'SR']", "['AF']"), ("--label-separator ','",)),
        (("N/A", "<NA>", "N"), ("'N/A' is a class, although", "'<NA>' is a class, although")),
        (("LAO/LAE", "a, b", "sinus rhythm", "sinus tachycardia", "AF+"), ()),
    ],
)
def test_names_of_classes_that_need_a_look(classes, said):
    notes = class_notes(classes)
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True))


@pytest.mark.parametrize(
    "columns",
    [
        {"label": "a", "labels": ("b",)},
        {"label_separator": ""},
        {"label_separator": "|", "scp": "rhythm"},
        {"scp": "rythm"},
        {"headers": True, "label": "a"},
        {"labels": ("b", "b")},
        {"labels": ()},
        {"fold": "f", "published": "mitdb"},
        {"test_fold": 3},
    ],
)
def test_flags_that_exclude_each_other(columns):
    with pytest.raises(SettingError):
        TableColumns(**columns)


def test_another_column_of_files_is_named(table):
    text = "path,filename_hr,filename_lr,ecg_id,AF\na/1_hr.hea,b/1_hr,c/1_lr,1,0\na/2_hr.hea,b/2_hr,c/2_lr,2,1\n"
    (note,) = table(text).notes
    assert "column path; --recording-column filename_lr takes" in note
    assert table(text, recording="filename_lr").notes == ()
    assert table("filename,path,AF\n1,a/1.hea,0\n2,a/2.hea,1\n").notes == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Recording,First_label\nA0001,5\n", True),
        (",description,diagnostic\nNDT,non-diagnostic T,1.0\nNST_,non-specific,1.0\n", True),
        ("onset,duration,label\n0,1,N\n", True),
        ("time,I,II\n0:00,0.1,0.2\n0:01,NaN,0.2\n", False),
        ("time,ch1,ch2\ns,mV,mV\n0.0,0.1,0.2\n", False),
        ("0.1;0.2\n0,1;0,2\n", False),
        ("I,II\n", False),
    ],
)
def test_tables_beside_recordings(tmp_path, text, expected):
    (tmp_path / "beside.csv").write_text(text)
    assert is_table(tmp_path / "beside.csv") == expected


def test_real_tables(shared):
    ptbxl = read_label_table(shared / "data" / "records" / "ptbxl" / "labels.csv", TableColumns(labels=SUPERCLASSES))
    assert (len(ptbxl), ptbxl.classes, ptbxl.unused_fold) == (40, SUPERCLASSES, "strat_fold")
    cinc = read_label_table(shared / "data" / "records" / "cinc2017" / "labels.csv")
    assert (len(cinc), cinc.classes, cinc.task) == (60, ("A", "N", "O", "~"), "multiclass")


def test_statements_of_ptb_xl_give_its_superclasses(shared):
    """The columns NORM to HYP of the table were made from the statements by others."""
    meta = shared / "data" / "ptbxl500_meta.csv"
    frame = pd.read_csv(meta).set_index("filename_hr")
    got = read_label_table(meta, TableColumns(scp="superclass", labels=SUPERCLASSES, fold="strat_fold"))
    assert got.classes == SUPERCLASSES
    assert_array_equal(got.label, frame.loc[got.recording, list(SUPERCLASSES)])
    assert len(got) == 488
    assert (frame.loc[list(got.unlabelled), list(SUPERCLASSES)] == 0).all(axis=None)
    rhythm = read_label_table(meta, TableColumns(scp="rhythm", labels=("AFIB", "AFLT")))
    flutter = frame.loc[rhythm.recording, "AF_or_AFL"]
    assert_array_equal(rhythm.label.max(axis=1), flutter)


def test_diagnoses_in_headers(tmp_path):
    lines = [
        "# Dx: 164889003,59118001",
        "#Dx: 426783006",
        "# Dx: Unknown",
        "# Age: 70",
        "# Dx: 59118001,999",
        "# Dx: 999",
    ]
    for number, line in enumerate(lines):
        write_record(tmp_path / "g1", f"E{number:05}", np.zeros(400))
        with (tmp_path / "g1" / f"E{number:05}.hea").open("a") as header:
            header.write(f"# Age: 70\n{line}\n# Sex: F\n")
    got = read_label_table(tmp_path, TableColumns(headers=True))
    assert got.classes == ("999", "AF", "NSR", "RBBB")
    assert got.recording.tolist() == ["g1/E00000", "g1/E00001", "g1/E00004", "g1/E00005"]
    assert_array_equal(got.label, [[0, 1, 0, 1], [0, 0, 1, 0], [1, 0, 0, 1], [1, 0, 0, 0]])
    assert got.unlabelled == ("g1/E00002", "g1/E00003")
    assert read_label_table(tmp_path, TableColumns(headers=True, labels=("AF", "RBBB"))).classes == ("AF", "RBBB")
    with pytest.raises(DataError, match=r"give the table of labels.*--labels-from-headers"):
        read_label_table(tmp_path)


def test_headers_without_diagnoses(shared, tmp_path):
    with pytest.raises(DataError, match="none of its 60 headers has a line '# Dx:'"):
        read_label_table(shared / "data" / "records" / "cinc2017", TableColumns(headers=True))
    (tmp_path / "a.npy").write_bytes(b"")
    with pytest.raises(DataError, match="holds no WFDB headers"):
        read_label_table(tmp_path, TableColumns(headers=True))
