"""HDF5 and MATLAB files as databases publish them."""

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from ecgtune.cli.main import main
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.errors import DataError
from ecgtune.io.readers.registry import find_recordings
from helpers.recordings import digital, read
from helpers.records import heartbeats

FACTS = {"sampling_rate": 500.0, "unit": "mV", "lead_names": STANDARD_LEADS}
VALUES = digital(12, 40) / 1000


def exams(path, count=8, rows=800):
    """Tracings as of CODE-15: 400 Hz, filled up with zeros at both ends, and an empty last row."""
    beats = heartbeats(count, rate=400, seconds=2)
    with h5py.File(path, "w") as file:
        file["exam_id"] = np.array([*range(1000, 1000 + count), 0])
        tracings = np.zeros((count + 1, rows + 100, 12), np.float32)
        tracings[:-1, 50:-50] = beats[:, :, None] * np.arange(1, 13)
        file["tracings"] = tracings
    return tracings


def test_one_file_of_many_recordings(tmp_path):
    tracings = exams(tmp_path / "exams_part0.hdf5")
    found = find_recordings(tmp_path)
    assert list(found) == [f"exams_part0/{name}" for name in [0, *range(1000, 1008)]]
    assert list(find_recordings(tmp_path / "exams_part0.hdf5")) == [f"exams_part0/{n}" for n in [*range(1000, 1008), 0]]
    with pytest.raises(DataError, match=r"looks transposed.*--layout NTC"):
        read(found["exams_part0/1003"], **FACTS)
    recording = read(found["exams_part0/1003"], layout="NTC", **FACTS | {"sampling_rate": 400.0})
    np.testing.assert_array_equal(recording.signal, tracings[3, 50:-50].T)
    assert any("filled up with zeros" in note for note in recording.notes)
    with pytest.raises(DataError, match="zeros only"):
        read(found["exams_part0/0"], layout="NTC", **FACTS)
    with pytest.raises(DataError, match="holds 0 recordings of this name"):
        read(tmp_path / "exams_part0.hdf5" / "77", layout="NTC", **FACTS)


def test_a_table_of_labels_names_recordings_inside_of_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exams(tmp_path / "exams_part0.hdf5")
    (tmp_path / "exams.csv").write_text(
        "exam_id,trace_file,AF\n" + "".join(f"{1000 + i},exams_part0.hdf5,{i % 2}\n" for i in range(8))
    )
    tokens = ["data", "check", "exams.csv", "--records", "exams_part0.hdf5", "--recording-column", "exam_id"]
    tokens += ["--label", "AF", "--sampling-rate", "400", "--unit", "mV", "--layout", "NTC", "--quiet"]
    main([*tokens, "--lead-names", *STANDARD_LEADS])
    out = capsys.readouterr().out
    assert "8 of 8 with a label can be read" in out
    assert "400 Hz (8)" in out
    assert "8 of 12 leads and 800 samples" in out


def matlab_73(path, **arrays):
    """As MATLAB writes it: HDF5 behind 512 bytes of text, axes reversed, characters as numbers."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            stored = file.create_dataset(name.replace(".", "/"), data=np.asarray(values).T)
            stored.attrs["MATLAB_class"] = np.bytes_("char" if stored.dtype == np.uint16 else "double")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")


@pytest.mark.parametrize("version", ["4", "5", "7.3"])
@pytest.mark.parametrize("name", ["ECG.data", "val"])
def test_matlab_files_without_a_header(version, name, tmp_path):
    path = tmp_path / "A0001.mat"
    if version == "7.3":
        matlab_73(path, **{name: VALUES, "ECG.sex": np.array([[77, 97]], np.uint16), "ECG.age": [[74.0]]})
    elif "." in name:
        if version == "4":
            pytest.skip("version 4 has no structures")
        savemat(path, {"ECG": {"sex": "Male", "age": 74.0, "data": VALUES}})
    else:
        savemat(path, {name: VALUES}, format=version)
    recording = read(path, **FACTS)
    np.testing.assert_array_equal(recording.signal, VALUES.astype(np.float32))


def test_the_array_is_the_only_one_or_has_a_usual_name_or_is_named(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["ecg"] = VALUES
        file["fs"] = 500
    assert read(path, unit="mV", lead_names=STANDARD_LEADS).sampling_rate == 500
    with h5py.File(path, "a") as file:
        file["ppg"] = VALUES[:1]
        file["waves/one"] = VALUES + 1
    assert read(path, unit="mV", lead_names=STANDARD_LEADS).signal[0, 0] == np.float32(VALUES[0, 0])
    with h5py.File(path, "a") as file:
        file.move("ecg", "x")
    with pytest.raises(DataError, match=r"may be the signal.*--dataset"):
        read(path, unit="mV", lead_names=STANDARD_LEADS)
    for name in ("waves/one", "waves.one"):
        recording = read(path, unit="mV", lead_names=STANDARD_LEADS, dataset=name)
        np.testing.assert_array_equal(recording.signal, (VALUES + 1).astype(np.float32))
    with pytest.raises(DataError, match="no array of numbers 'y'"):
        read(path, dataset="y")


def test_samples_of_a_header_are_no_recording_of_their_own(tmp_path):
    header = "E1 1 500 20\nE1.mat 16+24 1000/mV 16 0 0 0 0 II\n"
    (tmp_path / "E1.hea").write_text(header)
    savemat(tmp_path / "E1.mat", {"val": np.arange(20, dtype=np.int16)[None]}, format="4")
    found = find_recordings(tmp_path)
    assert list(found) == ["E1"]
    assert read(found["E1"]).signal[0, 5] == np.float32(0.005)
