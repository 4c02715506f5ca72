"""NumPy, HDF5 and CSV recordings: what was written comes back, and what does not fit is one line."""

import numpy as np
import pytest

from ecgtune.errors import DataError
from ecgtune.io.readers import hdf5_files
from ecgtune.io.readers.base import LARGEST
from helpers.recordings import LEADS, digital, read, write_csv, write_hdf5

ANSWERS = {"sampling_rate": 250.0, "unit": "uV", "lead_names": LEADS}
MILLIVOLTS = (digital() / 1000).astype(np.float32)


def written(tmp_path, suffix, values=None, **facts):
    """A file of any of the formats, with the facts that the format can hold and are given."""
    values = digital() if values is None else values
    path = tmp_path / f"rec{suffix}"
    if suffix == ".npy":
        np.save(path, values)
    elif suffix == ".npz":
        np.savez(path, signal=values, **facts)
    elif suffix in (".h5", ".hdf5"):
        write_hdf5(path, values, **facts)
    else:
        write_csv(path, values, facts.get("leads", LEADS))
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".hdf5", ".csv"])
@pytest.mark.parametrize("kind", ["<i2", ">i4", "<f8", "<f4"])
def test_what_the_user_says(tmp_path, suffix, kind):
    path = written(tmp_path, suffix, digital().astype(kind))
    recording = read(path, **ANSWERS)
    np.testing.assert_allclose(recording.signal, MILLIVOLTS, rtol=1e-6)
    assert (recording.leads, recording.sampling_rate, recording.path) == (LEADS, 250.0, str(path))
    assert recording.signal.flags.c_contiguous
    assert recording.signal.dtype == np.float32


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("rate_key", ["sampling_rate", "fs"])
def test_what_the_file_says(tmp_path, suffix, rate_key):
    path = written(tmp_path, suffix, unit="uV", leads=["Lead I", "MLII", "v1"], **{rate_key: 250})
    recording = read(path)
    np.testing.assert_array_equal(recording.signal, (digital() * 1e-3).astype(np.float32))
    assert (recording.leads, recording.sampling_rate) == (LEADS, 250.0)
    assert read(path, **ANSWERS).leads == LEADS  # the same said twice


def test_facts_on_the_file_and_bytes_for_text(tmp_path):
    leads = np.array([b"I", b"II", b"V1"])
    path = write_hdf5(tmp_path / "r.h5", digital(), on_file=True, fs=500.0, unit=b"mV", leads=leads)
    recording = read(path)
    assert (recording.leads, recording.sampling_rate) == (LEADS, 500.0)
    np.testing.assert_array_equal(recording.signal, digital().astype(np.float32))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_one_lead_needs_no_name(tmp_path, suffix):
    path = written(tmp_path, suffix, digital()[0])
    recording = read(path, sampling_rate=100.0, unit="mV")
    assert (recording.leads, recording.signal.shape) == (("II",), (1, 40))
    assert read(path, sampling_rate=100.0, unit="mV", lead_names=("V5",)).leads == ("V5",)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".csv"])
def test_channels_left_out_and_values_that_are_none(tmp_path, suffix):
    values = digital().astype(np.float64)
    values[2, :4] = np.nan, np.inf, -np.inf, 1e300
    recording = read(written(tmp_path, suffix, values), sampling_rate=100.0, unit="mV", lead_names=("-", "II", "V1"))
    assert recording.leads == ("II", "V1")
    assert np.isnan(recording.signal[1, :3]).all()
    assert recording.signal[1, 3] == np.float32(LARGEST)
    np.testing.assert_allclose(recording.signal[:, 4:], values[1:, 4:], rtol=1e-6)


@pytest.mark.parametrize(
    ("unit", "factor"), [("mV", 1), ("millivolts", 1), ("µV", 1e-3), ("μV", 1e-3), ("Volt", 1e3), ("nv", 1e-6)]
)
def test_units(tmp_path, unit, factor):
    path = written(tmp_path, ".h5", unit=unit, leads=LEADS, fs=100)
    np.testing.assert_allclose(read(path).signal, digital() * factor, rtol=1e-6)


@pytest.mark.parametrize(
    ("suffix", "facts", "options", "parts"),
    [
        (".npy", {}, {"unit": "mV", "lead_names": LEADS}, ["sampling rate", "--sampling-rate"]),
        (".npy", {}, {"sampling_rate": 100.0, "lead_names": LEADS}, ["does not say its unit", "--unit"]),
        (".npy", {}, {"sampling_rate": 100.0, "unit": "mV"}, ["channel 1 of 3 has no name", "--lead-names"]),
        (".npy", {}, ANSWERS | {"lead_names": ("I",)}, ["3 channels", "--lead-names has 1"]),
        (".npy", {}, ANSWERS | {"lead_names": ("-",) * 3}, ["none of its 3 channels"]),
        (".npy", {"values": digital().astype(complex)}, ANSWERS, ["complex128", "numbers"]),
        (".npy", {"values": np.zeros((2, 2, 2))}, ANSWERS, ["shape (2, 2, 2)"]),
        (".npy", {"values": np.zeros((3, 0))}, ANSWERS, ["holds 0 samples"]),
        (".npy", {"values": np.array([None, 1])}, ANSWERS, ["pickled"]),
        (".npy", {}, ANSWERS | {"max_values": 119}, ["120 values", "at most 119"]),
        (".npz", {"values": np.zeros((3, 0))}, ANSWERS, ["holds 0 samples"]),
        (".npz", {"fs": 100, "sampling_rate": 200}, ANSWERS, ["'sampling_rate' 200 Hz but 'fs' 100 Hz"]),
        (".npz", {"fs": 100}, ANSWERS, ["100 Hz, but --sampling-rate says 250"]),
        (".npz", {"fs": -5}, {"unit": "mV", "lead_names": LEADS}, ["-5 Hz"]),
        (".npz", {"fs": np.nan}, {"unit": "mV", "lead_names": LEADS}, ["nan Hz"]),
        (".npz", {"fs": [1, 2]}, ANSWERS, ["'fs'", "one number"]),
        (".npz", {"fs": "fast"}, ANSWERS, ["'fs'", "one number"]),
        (".npz", {"unit": "mV"}, ANSWERS, ["its unit is mV, but --unit says uV"]),
        (".npz", {"unit": "furlong"}, {"sampling_rate": 100.0, "lead_names": LEADS}, ["unit 'furlong' is unknown"]),
        (".npz", {"unit": 5}, ANSWERS, ["'unit'", "text"]),
        (".npz", {"leads": ["I", "V1", "II"]}, ANSWERS, ["channel 2 is lead V1, but --lead-names says II"]),
        (".npz", {"leads": ["I", "II"]}, ANSWERS, ["names 2 leads", "(3, 40)"]),
        (".npz", {"leads": ["I"] * 40}, ANSWERS, ["transposed", "--layout NTC"]),
        (".npz", {"leads": ["I", "I", "V1"]}, {}, ["channels 1 and 2 are both lead I"]),
        (".npz", {"leads": ["I", "II", "X1"]}, {}, ["channel 3 of 3, 'X1', is no known lead"]),
        (".npz", {"leads": ["I", "II", "V" * 40000]}, {}, ["'leads'", "a few short values"]),
        (".h5", {"leads": ["I"] * 1001}, {}, ["'leads' has over 1000 values"]),
        (".h5", {"values": np.zeros((3, 0))}, ANSWERS, ["0 samples"]),
        (".h5", {"values": np.array([b"a", b"b"])}, ANSWERS, ["numbers"]),
        (".h5", {"fs": "fast"}, ANSWERS, ["'fs'"]),
        (".csv", {"leads": ("gain", "II", "V1")}, {"sampling_rate": 100.0, "unit": "mV"}, ["'gain'", "--lead-names"]),
        (".csv", {}, ANSWERS | {"max_values": 119}, ["at most 119"]),
    ],
)
def test_what_does_not_fit(tmp_path, suffix, facts, options, parts):
    path = written(tmp_path, suffix, **facts)
    with pytest.raises(DataError) as error:
        read(path, **options)
    message = str(error.value)
    assert all(part in message for part in [str(path), *parts]), message
    assert "\n" not in message


def npy_header(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.npy", b"", "cannot be read"),
        ("a.npy", npy_header("(3, 40)") + bytes(8), "cut short"),
        ("a.npy", npy_header("(3, 99999999999999)"), "cut short"),
        ("a.npy", npy_header("(-3, -40)") + bytes(960), "another length"),
        ("a.npz", b"PK\x05\x06" + bytes(18), "no array 'signal'"),
        ("a.npz", b"PK", "cannot be read"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "cannot be read"),
        ("a.h5", b"", "cannot be read"),
        ("a.csv", b"", "first row is empty"),
        ("a.csv", b"," * 70_000, "its first row has 70000 bytes"),
        ("a.csv", b"I,II,V1\n", "0 samples"),
        ("a.csv", b"I,II,V1\n1,2\n", "row 2: 2 columns, but the first row has 3"),
        ("a.csv", b"I,II,V1\n1,2,x\n", "row 2, column 'V1': got 'x'"),
        ("a.csv", b"\xff\xfe\x00,\n1,2,3\n", "damaged"),
        ("a.csv", b"\x00,\xff\n1,2,3\n", "is not text in UTF-8"),
        ("a.csv", b"I,II,V1,\n" + b"1,2,3,\n" * 20_000 + b"1,2,3,4\n", "column 4 has no name, but holds '4'"),
    ],
)
def test_damaged_files(tmp_path, name, content, part):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        read(tmp_path / name, **ANSWERS)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_an_archive_whose_array_is_shorter_than_its_header_says(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("signal.npy", npy_header("(3, 99999999999999)") + bytes(24))
    with pytest.raises(DataError, match="another length"):
        read(tmp_path / "a.npz", **ANSWERS)


def test_hdf5_whose_values_lie_elsewhere(tmp_path):
    import h5py

    write_hdf5(tmp_path / "other.h5", digital())
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["signal"] = h5py.ExternalLink("other.h5", "signal")
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("signal", (3, 40), "f8", external=[("/etc/passwd", 0, 960)])
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((3, 40), "i8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "signal", (3, 40))
        file.create_virtual_dataset("signal", layout)
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file.create_group("signal")
    facts = {"unit": (1,), "leads": (3,), "fs": (1,), "exam_id": (2,)}
    (tmp_path / "secret").write_bytes(b"SECRET" * 4)
    for fact, shape in facts.items():
        with h5py.File(write_hdf5(tmp_path / f"{fact}.h5", np.stack([digital()] * 2)), "a") as file:
            kind = "f4" if fact == "fs" else "S4"
            file.create_dataset(fact, shape, kind, external=[(str(tmp_path / "secret"), 0, 24)])
    for name, part in [
        ("link", "no dataset 'signal'"),
        ("raw", "other files"),
        ("virtual", "other files"),
        ("group", "nor another array of numbers"),
        *((fact, f"the values of '{fact}' lie in other files") for fact in facts),
    ]:
        with pytest.raises(DataError, match=part):
            read(tmp_path / f"{name}.h5", **ANSWERS)
    assert hdf5_files.members(tmp_path / "exam_id.h5") is None


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    path = write_hdf5(tmp_path / "a.h5", digital())
    monkeypatch.setattr(hdf5_files, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"needs the library h5py.*pip install 'ecgtune\[hdf5\]'"):
        read(path, **ANSWERS)


def test_hdf5_that_keeps_or_crashes_the_library(tmp_path, monkeypatch):
    """An object of almost 2^64 bytes on the heap of texts: the library adds it up to 0 and goes round for ever."""
    path = write_hdf5(tmp_path / "a.h5", digital(), fs=250, leads=LEADS, unit="mV")
    content = bytearray(path.read_bytes())
    size = content.index(b"GCOL") + 16 + 8
    content[size : size + 8] = (2**64 - 16).to_bytes(8, "little")
    (tmp_path / "loop.h5").write_bytes(content)
    monkeypatch.setattr(hdf5_files, "SECONDS", 0.3)
    for _ in range(2):
        with pytest.raises(DataError, match="crashed the library, or occupied it"):
            read(tmp_path / "loop.h5")
        monkeypatch.setattr(hdf5_files, "_Worker", None)  # the same file is not tried again
    monkeypatch.undo()
    assert read(path).leads == LEADS  # by the next process
    hdf5_files._worker.end()
    assert read(path).leads == LEADS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I,II\n1,2\n3,4\n", [[1, 3], [2, 4]]),
        ("\ufeffI,II\r\n1,2\r\n3,4\r\n", [[1, 3], [2, 4]]),
        ("I,II\r1,2\r3,4", [[1, 3], [2, 4]]),
        ("I,II\n1,\nNA,4\n\n5,6\n", [[1, np.nan, 5], [np.nan, 4, 6]]),
        ("II\n1\n\n3\n", [[1, np.nan, 3]]),
        ('"lead I","lead II"\n1e-1,-.5\n', [[0.1], [-0.5]]),
    ],
)
def test_csv_dialects(tmp_path, text, expected):
    (tmp_path / "a.csv").write_bytes(text.encode())
    signal = read(tmp_path / "a.csv", sampling_rate=100.0, unit="mV").signal
    np.testing.assert_array_equal(signal, np.array(expected, np.float32))


def test_csv_with_a_column_of_time_and_one_without_names(tmp_path):
    (tmp_path / "a.csv").write_text("time,I\n12:00:00.01,5\n12:00:00.02,6\n")
    recording = read(tmp_path / "a.csv", sampling_rate=100.0, unit="mV", lead_names=("-", "I"))
    assert (recording.leads, recording.signal.tolist()) == (("I",), [[5, 6]])
    assert read(tmp_path / "a.csv", sampling_rate=100.0, unit="mV").leads == ("I",)
    (tmp_path / "b.csv").write_text("1,2\n3,4\n")
    signal = read(tmp_path / "b.csv", sampling_rate=100.0, unit="mV", lead_names=("I", "II")).signal
    assert signal.tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("name", "times", "rate", "said"),
    [
        ("time", [0.0, 0.002, 0.004], 500, None),
        ("time", [0.0, 2.0, 4.0], 500, None),
        ("time", [round(n / 360, 3) for n in range(40)], 360, None),
        ("time", [0, 1, 2], 500, None),
        ("Time (s)", [0, 1, 2], 500, r"'Time \(s\)' rises by 1 a sample, which means 1 Hz \(times in s\)"),
        ("time_ms", [0.0, 4.0, 8.0], 500, r"means 250 Hz \(times in ms\), but --sampling-rate says 500"),
        ("time", [0.0, 0.004, 0.008], 500, r"means 250 Hz \(times in s\), but"),
        ("time", [0.0, 0.004, 9.0, 9.004], 500, None),
    ],
)
def test_times_of_a_csv_recording_agree_with_its_rate(tmp_path, name, times, rate, said):
    rows = "".join(f"{time},0.1\n" for time in times)
    (tmp_path / "a.csv").write_text(f"{name},II\n{rows}")
    if said is None:
        assert read(tmp_path / "a.csv", sampling_rate=rate, unit="mV").signal.shape == (1, len(times))
    else:
        with pytest.raises(DataError, match=said):
            read(tmp_path / "a.csv", sampling_rate=rate, unit="mV")


def test_a_lead_beyond_1_v_is_named_whatever_the_median_is(tmp_path):
    values = digital(samples=2000) / 1000
    values[1] *= 1e17
    notes = read(written(tmp_path, ".npz", values), **ANSWERS | {"unit": "mV"}).notes
    assert [note for note in notes if note.startswith(f"lead {LEADS[1]} has samples beyond 1 V")]
