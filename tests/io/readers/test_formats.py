"""Which reader a path gets, what a folder holds, and what the user's answers may be."""

import gzip
import os

import numpy as np
import pytest
from scipy.io import savemat

from ecgtune.data.leads import STANDARD_LEADS, known_lead, leads_in_file, other_signal
from ecgtune.errors import DataError, SettingError
from ecgtune.io.matching import match_recordings
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.readers.registry import BUILT_IN, find_recordings, read_recording, whole_recordings
from helpers.clinical_files import hl7, muse
from helpers.recordings import (
    LEADS,
    dicom_group,
    digital,
    write_csv,
    write_dicom,
    write_edf,
    write_hdf5,
    write_wfdb,
)


def test_every_recording_in_a_folder(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    write_wfdb(tmp_path / "b" / "c", digital(), name="r1")
    write_csv(tmp_path / "labels.csv", digital())
    write_csv(tmp_path / "b" / "x.y.CSV", digital())
    for name in ("b/.z.csv", ".hidden/a.csv", "b/notes.txt", "b/lone.dat"):
        (tmp_path / name).touch()
    found = find_recordings(tmp_path, leave_out=[tmp_path / "b" / ".." / "labels.csv"])
    assert list(found.items()) == [("b/c/r1", tmp_path / "b/c/r1.hea"), ("b/x.y", tmp_path / "b/x.y.CSV")]
    assert list(find_recordings(tmp_path)) == ["b/c/r1", "b/x.y", "labels"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_links_to_files_are_followed_and_nothing_else_is(tmp_path, caplog):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "records"
    (elsewhere / "more").mkdir(parents=True)
    folder.mkdir()
    write_csv(elsewhere / "one.csv", digital())
    write_csv(elsewhere / "more" / "two.csv", digital())
    (folder / "linked.csv").symlink_to(elsewhere / "one.csv")
    (folder / "gone.csv").symlink_to(elsewhere / "nowhere.csv")
    (folder / "more").symlink_to(elsewhere / "more")
    (folder / "around").symlink_to(folder)
    assert list(find_recordings(folder)) == ["gone", "linked"]
    assert read_recording(folder / "linked.csv", ReadOptions(sampling_rate=100, unit="mV")).signal.size
    with pytest.raises(DataError, match=r"gone\.csv"):
        read_recording(folder / "gone.csv")
    for more in ("also", "and", "beside"):
        (folder / more).symlink_to(elsewhere)
    find_recordings(folder)
    assert [message.partition(";")[0] for message in caplog.messages] == [
        f"{folder}: 2 links to folders are not followed (around and more)",
        f"{folder}: 5 links to folders are not followed (also, and, around and 2 more)",
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("suffix", sorted({suffix for reader in BUILT_IN for suffix in reader.suffixes}))
def test_pipes_and_devices_are_listed_and_never_opened(tmp_path, suffix):
    """Opening the pipe would wait for ever."""
    pipe, device = tmp_path / f"pipe{suffix}", tmp_path / f"zero{suffix}"
    os.mkfifo(pipe)
    os.mkfifo(tmp_path / "no_recording")
    device.symlink_to("/dev/zero")
    write_edf(tmp_path / "pipe", digital())  # of the same name
    found = find_recordings(tmp_path)
    assert {pipe, device} <= set(found.values()) == set(whole_recordings(found).values())
    assert tmp_path / "no_recording" not in found.values()
    for path in (pipe, device):
        with pytest.raises(DataError, match=r"is a pipe or a device, not a regular file"):
            read_recording(path)


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        find_recordings(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no recording in it.*\.hea"):
        find_recordings(tmp_path)


def test_files_of_one_name_are_told_apart_by_their_suffix(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    write_csv(folder / "r.csv", digital())
    write_edf(folder / "r.edf", digital())
    write_edf(folder / "s.edf", digital())
    (folder / "s.csv").write_text("onset,duration,label\n0,1,N\n")  # annotations, no recording
    found = find_recordings(tmp_path)
    assert list(found) == ["a/r.csv", "a/r.edf", "a/s"]
    assert match_recordings(["r.edf", "a/s.edf"], found, "labels.csv").identifier == ("a/r.edf", "a/s")
    for name in ("r", "a/r", "r.dat"):
        with pytest.raises(DataError, match=r"may be a/r.csv or a/r.edf; write more of its path, or its suffix"):
            match_recordings([name], found, "labels.csv")


def test_files_of_samples_are_no_recordings_of_their_own(tmp_path):
    values = digital()
    header = write_wfdb(tmp_path, values, name="r")
    header.write_text(header.read_text().replace("r.dat", "r.npy"))
    (tmp_path / "r.dat").rename(tmp_path / "r.npy")
    assert find_recordings(tmp_path) == {"r": header}
    np.testing.assert_array_equal(read_recording(tmp_path / "r.npy").signal, read_recording(header).signal)


def test_segments_are_left_out_beside_their_record(tmp_path):
    for part in (1, 2):
        write_wfdb(tmp_path, digital(), name=f"r_{part}")
    (tmp_path / "r.hea").write_text("r/2 3 250 80\nr_1 40\nr_2 40\n")
    write_wfdb(tmp_path, digital(), name="s")
    assert list(find_recordings(tmp_path)) == ["r", "r_1", "r_2", "s"]
    assert list(whole_recordings(find_recordings(tmp_path))) == ["r", "s"]


def dicom_example(path):
    return write_dicom(path, [dicom_group(digital())])


def dicom_without(start):
    """A writer of DICOM files that lack the preamble, or all up to the dataset."""

    def write(path):
        content = dicom_example(path).read_bytes()
        path.write_bytes(content[content.index(start) :])
        return path

    return write


@pytest.mark.parametrize("name", ["IM000001", "rec.csv", "rec.dat", "1.2.840.113619.2.5", "rec.ima"])
@pytest.mark.parametrize(
    "write",
    [
        dicom_example,
        dicom_without(b"\x02\0\0\0UL"),
        dicom_without(b"\x08\0\x16\0UI"),
        lambda path: write_edf(path, digital()),
    ],
)
def test_the_content_wins_over_the_suffix(tmp_path, name, write):
    made = write(tmp_path / "rec.made")
    path = made.rename(tmp_path / name)
    recording = read_recording(path)
    assert recording.leads == ("I", "II", "V1")
    assert np.isfinite(recording.signal).all()
    identifier = name.removesuffix(".csv")
    assert find_recordings(tmp_path) == {identifier: path}
    assert match_recordings([name], {identifier: path}, "labels.csv").identifier == (identifier,)


def test_other_files_are_no_recordings(tmp_path):
    write_edf(tmp_path / "r.edf", digital())
    (tmp_path / "notes").write_text("0       of 3\n" * 30)
    (tmp_path / "samples.raw").write_bytes(np.array([8, 5, 10, 0, 3, 1, 4] * 30, dtype="<i2").tobytes())
    (tmp_path / "DICOMDIR").write_bytes(dicom_example(tmp_path / "x").read_bytes())
    (tmp_path / "x").unlink()
    with gzip.open(tmp_path / "x.tar.gz", "w") as file:
        file.write(b"x")
    assert list(find_recordings(tmp_path)) == ["r"]


def test_a_packed_csv_of_one_recording(tmp_path):
    path = write_csv(tmp_path / "rec.csv", digital())
    options = ReadOptions(sampling_rate=250.0, unit="uV")
    expected = read_recording(path, options)
    path.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_recording(path, options).signal, expected.signal)


def test_paths_that_nothing_reads(tmp_path):
    (tmp_path / "a.doc").touch()
    (tmp_path / "a.dat").touch()
    with pytest.raises(DataError, match=r"unknown file type '\.doc'.*\.hea"):
        read_recording(tmp_path / "a.doc")
    with pytest.raises(DataError, match=r"\.hea"):
        read_recording(tmp_path / "a.dat")
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
    if lead is not None:
        assert leads_in_file("windows.npz", [name]) == (lead,)


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


def test_samples_beyond_a_volt_are_noted_with_the_lead_of_the_largest(tmp_path):
    signal = np.random.default_rng(0).normal(size=(2, 500))
    signal[:, 7] = 2e3, -1e17  # one lead, so that recordings with the same one are counted together
    np.savez(tmp_path / "rec.npz", signal=signal, leads=["I", "V1"], fs=250, unit="mV")
    (note,) = read_recording(tmp_path / "rec.npz").notes
    assert "lead V1 has samples beyond 1 V" in note


def with_largest(value, kind="<f8", step=1e-3):
    """Samples of which one of the last lead is `value`."""
    values = (digital() * step).astype(kind)
    values[2, 7] = value
    return values


def scaled_dicom(sensitivity):
    group = dicom_group(digital())
    group.ChannelDefinitionSequence[2].ChannelSensitivity = sensitivity
    return group


def scaled_edf(path, end):
    """An EDF file of which the last lead of three has `end` as its largest physical value."""
    content = bytearray(write_edf(path, digital()).read_bytes())
    place = 256 + 4 * (16 + 80 + 8 + 8) + 8 * 2  # of four channels, one of them annotations
    content[place : place + 8] = end.ljust(8)
    path.write_bytes(content)


#: Files of samples of which some of lead V1 are finite, but beyond float32 or float64 in millivolts.
BEYOND = {
    "a.npy": lambda path: np.save(path, with_largest(-1e39)),
    "c.npz": lambda path: np.savez(path, signal=with_largest(1e306, step=1e-6), unit="V", leads=LEADS, fs=250),
    "d.npz": lambda path: np.savez(path, signal=with_largest(3e38, "<f4", 1e-6), unit="V", leads=LEADS, fs=250),
    "e.h5": lambda path: write_hdf5(path, with_largest(1e300)),
    "f.mat": lambda path: savemat(path, {"val": with_largest(1e300)}),
    "g.csv": lambda path: write_csv(path, with_largest(1e300)),
    "h.csv": lambda path: path.write_text("I,II,V1\n" + "0.1,0.2,0.3\n0.2,0.1,0.5\n" * 9 + "0,0,1e400\n"),
    "i.edf": lambda path: scaled_edf(path, b"1e300"),
    "j.dcm": lambda path: write_dicom(path, [scaled_dicom("1e300")]),
    "k.hea": lambda path: write_wfdb(path.parent, digital(), "k", adc_gain=[1000, 1000, 1e-40]),
    "l.hea": lambda path: write_wfdb(path.parent, digital(), "l", adc_gain=[1000, 1000, 1e-310]),
    "m.xml": lambda path: path.write_text(hl7(with_largest(1e50) * 100, LEADS)),
    "n.xml": lambda path: path.write_text(muse(digital(), LEADS, scale="1e300")),
}  # fmt: skip


@pytest.mark.parametrize("name", BEYOND)
def test_samples_beyond_float32_are_noted_as_those_beyond_a_volt(tmp_path, name):
    path = tmp_path / name
    BEYOND[name](path)
    answers = {"sampling_rate": 250, "unit": "mV", "lead_names": LEADS} if name[0] in "aefgh" else {}
    recording = read_recording(path, ReadOptions(**answers))
    (note,) = recording.notes
    assert ("above 20 mV" if name == "n.xml" else "lead V1 has samples beyond 1 V") in note
    assert np.isfinite(recording.signal).all()  # no sample is taken for a gap


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_what_a_file_marks_as_no_number_is_a_gap(tmp_path, suffix):
    values = with_largest(np.nan)
    values[0, :2] = np.inf, -np.inf
    path = tmp_path / f"a{suffix}"
    (write_csv if suffix == ".csv" else np.save)(path, values)
    recording = read_recording(path, ReadOptions(sampling_rate=250, unit="mV", lead_names=LEADS))
    assert np.array_equal(np.argwhere(np.isnan(recording.signal)), [[0, 0], [0, 1], [2, 7]])
    assert recording.notes == ()
