"""Which reader a path gets, what a folder holds, and what the user's answers may be."""

import gzip

import numpy as np
import pytest

from ecgtune.data.leads import STANDARD_LEADS, known_lead, other_signal
from ecgtune.errors import DataError, SettingError
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.readers.registry import BUILT_IN, find_recordings, read_recording
from helpers.recordings import dicom_group, digital, write_csv, write_dicom, write_wfdb


def test_every_recording_in_a_folder(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    write_wfdb(tmp_path / "b" / "c", digital(), name="r1")
    write_csv(tmp_path / "labels.csv", digital())
    write_csv(tmp_path / "b" / "x.y.CSV", digital())
    for name in ("b/.z.csv", ".hidden/a.csv", "b/notes.txt", "b/lone.mat"):
        (tmp_path / name).touch()
    found = find_recordings(tmp_path, leave_out=[tmp_path / "b" / ".." / "labels.csv"])
    assert list(found.items()) == [("b/c/r1", tmp_path / "b/c/r1.hea"), ("b/x.y", tmp_path / "b/x.y.CSV")]
    assert list(find_recordings(tmp_path)) == ["b/c/r1", "b/x.y", "labels"]


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        find_recordings(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no recording in it.*\.hea"):
        find_recordings(tmp_path)
    write_csv(tmp_path / "r.csv", digital())
    np.save(tmp_path / "r.npy", digital())
    with pytest.raises(DataError, match=r"r\.npy.*r\.csv beside it has the same id"):
        find_recordings(tmp_path)


@pytest.mark.parametrize("name", ["IM000001", "rec.csv", "rec.dat"])
def test_the_content_wins_over_the_suffix(tmp_path, name):
    made = write_dicom(tmp_path / "rec.dcm", [dicom_group(digital())])
    expected = read_recording(made)
    path = made.rename(tmp_path / name)
    np.testing.assert_array_equal(read_recording(path).signal, expected.signal)


def test_a_packed_csv_of_one_recording(tmp_path):
    path = write_csv(tmp_path / "rec.csv", digital())
    options = ReadOptions(sampling_rate=250.0, unit="uV")
    expected = read_recording(path, options)
    path.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_recording(path, options).signal, expected.signal)


def test_paths_that_nothing_reads(tmp_path):
    (tmp_path / "a.doc").touch()
    (tmp_path / "a.mat").touch()
    with pytest.raises(DataError, match=r"unknown file type '\.doc'.*\.hea"):
        read_recording(tmp_path / "a.doc")
    with pytest.raises(DataError, match=r"\.hea"):
        read_recording(tmp_path / "a.mat")
    with pytest.raises(DataError, match=r"cannot be read \(No such file"):
        read_recording(tmp_path / "nowhere.csv")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        read_recording(tmp_path / "folder.npy")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"sampling_rate": 0.0}, "above 0"),
        ({"sampling_rate": float("nan")}, "above 0"),
        ({"unit": "furlong"}, "mV, uV, V, nV"),
        ({"lead_names": ("I", "X")}, "'X'"),
        ({"lead_names": ("I", "i")}, "I twice"),
    ],
)
def test_answers_that_are_none(options, part):
    with pytest.raises(SettingError, match=part):
        ReadOptions(**options)


@pytest.mark.parametrize(
    ("name", "lead"),
    [(name.upper(), name) for name in STANDARD_LEADS]
    + [("MLII", "II"), ("DI", "I"), ("ECG aVR", "aVR"), ("Lead I (Einthoven)", "I"), ("MDC_ECG_LEAD_V3", "V3")]
    + [("EKG  v6 ", "V6"), ("-aVR", None), ("V7", None), ("PLETH", None), ("", None), ("VI", None), ("ECG", None)]
    + [("ECG_II", "II"), ("lead_I", "I"), ("ECG-II", "II"), ("D2", "II"), ("II-ref", "II"), ("ECG Lead II", "II")]
    + [("LeadII", "II"), ("\N{ROMAN NUMERAL TWO}", "II"), ("ECG1", None), ("Lead 1", None), ("ECG -aVR", None)],
)
def test_names_of_leads(name, lead):
    assert known_lead(name) == lead


@pytest.mark.parametrize(
    ("names", "others"),
    [
        (("vx", "VY", "vz", "V7", "Lead V4R", "RESP", "PLETH L", "ABP", "SpO2", "EEG Fpz-Cz", "EDF Annotations"), True),
        ((*STANDARD_LEADS, "ECG1", "ECG", "", "C1", "-aVR", "lead 3", "chest", "art of ecg"), False),
    ],
)
def test_names_that_are_certainly_no_standard_lead(names, others):
    assert [name for name in names if other_signal(name) != others] == []


def test_no_suffix_has_two_readers():
    suffixes = [suffix for reader in BUILT_IN for suffix in reader.suffixes]
    assert len(suffixes) == len(set(suffixes))
