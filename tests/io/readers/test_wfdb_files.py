"""WFDB records: against the real files, through the library's writer and back, and headers that lie."""

import numpy as np
import pytest
import wfdb
from wfdb.io.header import rx_signal

from ecgtune.errors import DataError
from ecgtune.io.readers.registry import files_of
from ecgtune.io.readers.wfdb_header import _channel
from helpers.recordings import LEADS, digital, read, write_wfdb


def test_ptb_xl_is_the_reference_arrays(shared):
    with np.load(shared / "data" / "ptbxl500_500hz.npz") as archive:
        microvolts, leads = archive["X"][:500:4], tuple(archive["leads"].tolist())
    headers = sorted((shared / "data" / "records" / "ptbxl").glob("*.hea"))
    compared = 0
    for header in headers:
        number = int(header.stem[:5]) - 1
        recording = read(header)
        assert (recording.leads, recording.sampling_rate) == (leads, 500.0)
        if number % 4 == 0:
            expected = (microvolts[number // 4] / 1000.0).astype(np.float32)
            np.testing.assert_array_equal(recording.signal, expected)
            compared += 1
    assert len(headers) == 40
    assert compared >= 5


def test_cinc2017_is_what_its_matlab_files_hold(shared):
    from scipy.io import loadmat

    for header in sorted((shared / "data" / "records" / "cinc2017").glob("*.hea"))[::6]:
        recording = read(header)
        expected = (loadmat(header.with_suffix(".mat"))["val"] / 1000.0).astype(np.float32)
        np.testing.assert_array_equal(recording.signal, expected)
        assert (recording.leads, recording.sampling_rate) == (("II",), 300.0)
        assert read(header, lead_names=("I",)).leads == ("I",)


def assert_library_agrees(header, leads=LEADS):
    """The same samples, and the same gaps, as the library reads of the record."""
    expected = wfdb.rdrecord(str(header.with_suffix("")))
    order = [expected.sig_name.index(lead) for lead in leads]
    np.testing.assert_array_equal(read(header).signal, expected.p_signal.T[order].astype(np.float32))


def test_a_record_of_segments(tmp_path):
    values = digital(samples=100)
    write_wfdb(tmp_path, values[:, :60], name="rec_1")
    write_wfdb(tmp_path, values[:, 60:], name="rec_2", adc_gain=[500.0] * 3)
    header = tmp_path / "rec.hea"
    header.write_text("rec/2 3 250 100\nrec_1 60\nrec_2 40\n")
    recording = read(header)
    np.testing.assert_array_equal(recording.signal[:, :60], (values[:, :60] / 1000).astype(np.float32))
    np.testing.assert_array_equal(recording.signal[:, 60:], (values[:, 60:] / 500).astype(np.float32))
    assert (recording.leads, recording.notes) == (LEADS, ())
    assert_library_agrees(header)
    parts = [header, *(tmp_path / f"rec_{part}.{suffix}" for part in (1, 2) for suffix in ("hea", "dat"))]
    assert list(files_of(header)) == parts


def test_a_record_of_segments_with_a_gap_and_a_variable_layout(tmp_path):
    values = digital(samples=100)
    write_wfdb(tmp_path, values[:, :30], name="rec_1")
    write_wfdb(tmp_path, values[[2, 0], 50:], leads=("V1", "I"), name="rec_2", adc_gain=[200.0] * 2)
    channels = "".join(f"~ 0 200/mV 12 0 0 0 0 {lead}\n" for lead in LEADS)
    (tmp_path / "rec_layout.hea").write_text(f"rec_layout 3 250 0\n{channels}")
    header = tmp_path / "rec.hea"
    header.write_text("rec/4 3 250 100\nrec_layout 0\nrec_1 30\n~ 20\nrec_2 50\n")
    recording = read(header)
    expected = np.full((3, 100), np.nan)
    expected[:, :30] = values[:, :30] / 1000
    expected[[2, 0], 50:] = values[[2, 0], 50:] / 200
    np.testing.assert_array_equal(recording.signal, expected.astype(np.float32))
    assert recording.notes == ("segments of the record in which a lead was not recorded are missing samples",)
    assert_library_agrees(header)
    assert np.isfinite(read(header, lead_names=("I", "-", "-")).signal[:, 50:]).all()


@pytest.mark.parametrize("folder", [".", "medians"])
def test_headers_that_name_folders(tmp_path, folder):
    values = digital()
    (tmp_path / folder).mkdir(exist_ok=True)
    made = write_wfdb(tmp_path / folder, values, name="00001")
    text = made.read_text().replace("00001 ", "medians/00001 ").replace("00001.dat", "medians/00001.dat")
    made.unlink()
    header = tmp_path / "00001.hea"
    header.write_text(text)
    np.testing.assert_array_equal(read(header).signal, (values / 1000).astype(np.float32))
    assert files_of(header) == (header, tmp_path / folder / "00001.dat")
    header.write_text(text.replace("medians/", "medians\\"))
    assert read(header).leads == LEADS


def test_a_record_whose_name_has_a_suffix(tmp_path):
    values = digital()
    header = write_wfdb(tmp_path, values, name="E00001")
    header.write_text(header.read_text().replace("E00001 ", "E00001.mat ").replace("E00001.dat", "E00001.v2.mat"))
    (tmp_path / "E00001.dat").rename(tmp_path / "E00001.v2.mat")
    expected = (values / 1000).astype(np.float32)
    np.testing.assert_array_equal(read(header).signal, expected)
    header.rename(tmp_path / "E00001.mat.hea")
    for name in ("E00001.mat", "E00001.mat.hea"):
        np.testing.assert_array_equal(read(tmp_path / name).signal, expected)


@pytest.mark.parametrize(
    "line",
    ["16:4 1000/mV 16 0 0 0 0 II", "8 1000/mV 8 0 5 0 0 II", "16x3 1000/mV 16 0 0 0 0 II"],
    ids=["skew", "differences", "three samples in a frame"],
)
def test_a_part_of_time_of_each_layout(line, tmp_path):
    per_frame = 3 if "x3" in line else 1
    kind = "i1" if line.startswith("8") else "<i2"
    np.random.default_rng(0).integers(-100, 100, 100 * per_frame).astype(kind).tofile(tmp_path / "rec.dat")
    (tmp_path / "rec.hea").write_text(f"rec 1 100 100\nrec.dat {line}\n")
    whole = read(tmp_path / "rec.hea").signal
    for start, stop in ((10, 50), (0, 70), (95, 100)):
        part = read(tmp_path / "rec.hea", start=start / 100, stop=stop / 100).signal
        np.testing.assert_array_equal(part, whole[:, start * per_frame : stop * per_frame])


def packed_310(values: np.ndarray) -> bytes:
    """Three samples of 10 bits in four bytes, as the signal(5) page of WFDB tells it."""
    first, second, third = (values[i::3].astype(np.int64) & 1023 for i in range(3))
    words = (first << 1 | (third & 31) << 11, second << 1 | (third >> 5) << 11)
    return np.stack(words, axis=1).astype("<u2").tobytes()


def packed_311(values: np.ndarray) -> bytes:
    first, second, third = (values[i::3].astype(np.int64) & 1023 for i in range(3))
    return (first | second << 10 | third << 20).astype("<u4").tobytes()


def packed_8(values: np.ndarray) -> bytes:
    return np.diff(values.reshape(-1, 3), axis=0, prepend=values[None, :3]).astype("i1").tobytes()


UNWRITTEN = {  # formats that the library reads and does not write
    "8": packed_8,
    "61": lambda values: values.astype(">i2").tobytes(),
    "160": lambda values: (values + 32768).astype("<u2").tobytes(),
    "310": packed_310,
    "311": packed_311,
}


@pytest.mark.parametrize("fmt", ["8", "16", "24", "32", "61", "80", "160", "212", "310", "311"])
def test_every_format_of_samples(tmp_path, fmt):
    values = digital(samples=41) if fmt in ("16", "24", "32", "61", "160", "212") else digital(samples=41) // 40
    header = write_wfdb(tmp_path, values, fmt="16" if fmt in UNWRITTEN else fmt)
    if fmt in UNWRITTEN:
        (tmp_path / "rec.dat").write_bytes(UNWRITTEN[fmt](values.T.ravel()))
        header.write_text(header.read_text().replace(".dat 16 ", f".dat {fmt} "))
    recording = read(header)
    np.testing.assert_array_equal(recording.signal, (values / 1000).astype(np.float32))
    assert recording.leads == LEADS
    assert recording.sampling_rate == 250
    assert recording.signal.dtype == np.float32
    assert recording.seconds == pytest.approx(41 / 250)


def test_flac(tmp_path):
    values = digital(samples=300)
    np.testing.assert_array_equal(
        read(write_wfdb(tmp_path, values, fmt="516")).signal, (values / 1000).astype(np.float32)
    )


def test_gain_baseline_unit_and_invalid_samples(tmp_path):
    values = digital()
    values[1, 5:8] = -32768
    header = write_wfdb(tmp_path, values, units=["uV", "mV", "V"], adc_gain=[2.0, 200.0, 1e6], baseline=[10, -20, 0])
    expected = np.stack([(values[0] - 10) / 2 * 1e-3, (values[1] + 20) / 200, values[2] / 1e6 * 1e3])
    expected[1, 5:8] = np.nan
    np.testing.assert_allclose(read(header).signal, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "told",
    [
        "200.5(-3)/mV 16 0 12",  # gain and baseline
        "0/mV 16 0 12",  # 0 stands for the usual gain
        "16 0 12",  # nothing: WFDB's defaults
        "1000/mV 12 1024 12",  # the zero of the converter is the baseline where none is stated
        "1000(7)/mV 12 1024 12",
        "2.5e2/mV",
    ],
)
def test_gain_and_baseline_are_what_the_library_takes_them_for(tmp_path, told):
    values = digital(samples=60)[:1]
    header = write_wfdb(tmp_path, values, leads=("II",))
    first, second = header.read_text().splitlines()[:2]
    file, fmt = second.split()[:2]
    header.write_text(f"{first}\n{file} {fmt} {told}\n")
    expected = wfdb.rdrecord(str(header.with_suffix(""))).p_signal.T.astype(np.float32)
    np.testing.assert_array_equal(read(header, lead_names=("II",)).signal, expected)


def test_the_name_of_a_record_and_its_files(tmp_path):
    write_wfdb(tmp_path, digital(), name="a-1")
    (tmp_path / "a-1.hea").rename(tmp_path / "v1.a-1.hea")
    recording = read(tmp_path / "v1.a-1")
    assert recording.path == str(tmp_path / "v1.a-1.hea")
    assert files_of(tmp_path / "v1.a-1.hea") == (tmp_path / "v1.a-1.hea", tmp_path / "a-1.dat")


def test_two_files_two_rates_and_channels_that_are_left_out(tmp_path):
    (tmp_path / "two.dat").write_bytes(np.arange(60, dtype="<i2").tobytes())
    (tmp_path / "one.dat").write_bytes(np.arange(10, dtype="<i2").tobytes())
    header = tmp_path / "rec.hea"
    header.write_text(
        "rec 4 100 10\ntwo.dat 16x2 1000/mV 16 0 0 0 0 II\ntwo.dat 16x2 1000/mV 16 0 0 0 0 V1\n"
        "two.dat 16x2 1000/mmHg 16 0 0 0 0 ABP\none.dat 16 1000/mV 16 0 0 0 0 V5\n"
    )
    with pytest.raises(DataError, match=r"II, V1 at 200 Hz; V5 at 100 Hz; keep one rate: --lead-names II V1 - -$"):
        read(header)
    recording = read(header, lead_names=("II", "V1", "-", "-"))
    chosen = read(header, leads=("V1",))
    assert chosen.leads == ("II", "V1")
    np.testing.assert_array_equal(chosen.signal, recording.signal)
    assert [note.rpartition(": ")[2] for note in chosen.notes][:2] == ["'ABP'", "V5"]
    assert (recording.leads, recording.sampling_rate) == (("II", "V1"), 200.0)
    frames = np.arange(60).reshape(10, 6)
    np.testing.assert_allclose(recording.signal[1], frames[:, 2:4].ravel() / 1000, rtol=1e-6)
    slow = read(header, lead_names=("-", "-", "-", "V5"))
    assert (slow.leads, slow.sampling_rate, slow.signal.shape) == (("V5",), 100.0, (1, 10))


def test_a_header_without_a_length_takes_what_the_file_holds(tmp_path):
    header = write_wfdb(tmp_path, digital(samples=40))
    header.write_text(header.read_text().replace("250 40", "250"))
    assert read(header).signal.shape == (3, 40)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-8-sig"])
@pytest.mark.parametrize("unit", ["\N{MICRO SIGN}V", "\N{GREEK SMALL LETTER MU}V", "uV", "1.0E0/\N{MICRO SIGN}V"])
def test_microvolts_in_any_spelling(tmp_path, unit, encoding):
    if encoding == "latin-1":
        unit = unit.replace("\N{GREEK SMALL LETTER MU}", "\N{MICRO SIGN}")
    values = digital()
    header = write_wfdb(tmp_path, values, leads=("I", "II", "V1"))
    text = header.read_text().replace("1000.0(0)/mV", unit if "/" in unit else f"1/{unit}")
    header.write_bytes(
        f"{text}# Gr\N{LATIN SMALL LETTER O WITH DIAERESIS}\N{LATIN SMALL LETTER SHARP S}e\r\n".encode(encoding)
    )
    recording = read(header)
    np.testing.assert_allclose(recording.signal, values / 1000, rtol=1e-6)
    assert recording.notes == ()
    if unit == "uV" and encoding == "utf-8":
        np.testing.assert_allclose(wfdb.rdrecord(str(header.with_suffix(""))).p_signal.T, values, rtol=1e-9)


@pytest.mark.parametrize(
    ("unit", "options", "parts"),
    [
        ("V", {}, ["above 20 mV", "V (stated by the file)"]),
        ("nV", {}, ["below 0.01 mV", "nV (stated by the file)"]),
        ("?", {"unit": "V"}, ["above 20 mV", "V (--unit)"]),
        ("mV", {}, []),
    ],
)
def test_an_implausible_amplitude_is_noted_with_its_unit(tmp_path, unit, options, parts):
    header = write_wfdb(tmp_path, digital(), units=[unit] * 3)
    notes = [note for note in read(header, **options).notes if "beyond 1 V" not in note]
    assert len(notes) == bool(parts)
    assert all(part in note for note in notes for part in parts), notes


def test_checksums(tmp_path):
    values = digital()
    header = write_wfdb(tmp_path, values)
    samples = np.fromfile(tmp_path / "rec.dat", "<i2")
    samples[4] += 1
    samples.tofile(tmp_path / "rec.dat")
    with pytest.raises(DataError, match=r"lead II do not have the checksum.*--ignore-checksums"):
        read(header)
    assert read(header, lead_names=("I", "-", "V1")).leads == ("I", "V1")
    assert read(header, ignore_checksums=True).signal[1, 1] == np.float32((values[1, 1] + 1) / 1000)


FIRST = "rec 1 250 40"
LINE = "rec.dat 16 1000/mV 16 0 0 0 0 II"


@pytest.mark.parametrize(
    ("first", "line", "parts"),
    [
        ("", "", ["is empty"]),
        ("rec 1 250 4000", LINE, ["promises 4000 samples of 1 channel,", "80 bytes", "cut short"]),
        ("rec 1 250 99999999999999", LINE, ["cut short"]),
        ("rec 2 250 40", LINE, ["promises 2 channels, but describes 1"]),
        ("rec 0 250 40", "", ["promises 0 channels"]),
        ("rec/2 1 250 40", LINE, ["promises 2 segments, but describes 1"]),
        ("rec 1", LINE, ["sampling rate", "--sampling-rate"]),
        ("rec 1 0 40", LINE, ["0 Hz"]),
        ("no header", LINE, ["first line 'no header'"]),
        (FIRST, "nothere.dat 16 1000/mV 16 0 0 0 0 II", ["nothere.dat is not beside it"]),
        (FIRST, "../rec.dat 16 1000/mV 16 0 0 0 0 II", ["'../rec.dat'", "own folder only"]),
        (FIRST, "/etc/passwd 16 1000/mV 16 0 0 0 0 II", ["'/etc/passwd'", "own folder only"]),
        (FIRST, "..\\rec.dat 16 1000/mV 16 0 0 0 0 II", ["own folder only"]),
        (FIRST, "C:rec.dat 16 1000/mV 16 0 0 0 0 II", ["own folder only"]),
        (FIRST, "http://host/rec.dat 16 1000/mV 16 0 0 0 0 II", ["own folder only"]),
        (FIRST, "~ 0 1000/mV 16 0 0 0 0 II", ["describes no channel"]),
        ("rec/2 1 250 80", "seg 40\nseg 39", ["promises 39 samples of segment seg, which has 40"]),
        ("rec/2 1 250 80", "seg 40\n~ 39", ["promises 80 samples, but its segments have another sum"]),
        ("rec/2 1 250 80", "seg 40\nnowhere 40", ["its segment 'nowhere' is not beside it"]),
        ("rec/2 1 250 80", "~ 40\n~ 40", ["none of its 2 segments holds samples"]),
        ("rec/2 2 250 80", "seg 40\n~ 40", ["promises 2 channels, but seg.hea has 1"]),
        ("rec/2 1 100 80", "seg 40\nseg 40", ["has 100 Hz, but its segment seg has 250 Hz"]),
        ("rec/2 1 250 80", "rec 40\nrec 40", ["describes no channel"]),
        ("rec/2 1 250 80", "../seg 40\nseg 40", ["'../seg.hea'", "own folder only"]),
        (FIRST, "rec.dat 17 1000/mV 16 0 0 0 0 II", ["describes no channel", "212"]),
        (FIRST, "rec.dat 16x0 1000/mV 16 0 0 0 0 II", ["no sample in a frame"]),
        (FIRST, "rec.dat 16x99999999 1000/mV 16 0 0 0 0 II", ["cut short"]),
        (FIRST, "rec.dat 16:99999999 1000/mV 16 0 0 0 0 II", ["starts after the end"]),
        (FIRST, "rec.dat 16+79 1000/mV 16 0 0 0 0 II", ["1 bytes", "cut short"]),
        (FIRST, "rec.dat 16 1000/mmHg 16 0 0 0 0 II", ["unit 'mmHg' is unknown", "--unit"]),
        (FIRST, "rec.dat 16 1000/\N{DEGREE SIGN}C 16 0 0 0 0 II", ["unit '\N{DEGREE SIGN}C' is unknown", "--unit"]),
        (FIRST, "rec.dat 16 1000,5/mV 16 0 0 0 0 II", ["describes no channel"]),
        (FIRST, "rec.dat 16 1000/mV 16 0 0 0 0 PLETH", ["none of its 1 channel ", "'PLETH'", "--lead-names"]),
        (FIRST, "rec.dat 16 1000/mV 16 0 0 0 0 ECG1", ["'ECG1', is no known lead", "--lead-names"]),
        ("rec 2 250 20", f"{LINE}\n{LINE}", ["channels 1 and 2 are both lead II", "--lead-names"]),
        ("rec 2 250 20", "rec.dat 16 1000 16 0 0 0 0\nrec.dat 16 1000 16 0 0 0 0 V1", ["channel 1 of 2 has no name"]),
        ("rec 2 250 9", f"{LINE}\nrec.dat 16+8 1000/mV 16 0 0 0 0 I", ["two formats"]),
        ("rec 1 250 40", f"{LINE} \n#" + "x" * (1 << 20), ["a header of at most"]),
    ],
)
def test_headers_that_lie(tmp_path, first, line, parts):
    np.arange(40, dtype="<i2").tofile(tmp_path / "rec.dat")
    (tmp_path / "seg.hea").write_text(f"seg 1 250 40\n{LINE}\n")
    (tmp_path / "rec.hea").write_text(f"{first}\n{line}\n")
    with pytest.raises(DataError) as error:
        read(tmp_path / "rec.hea")
    message = str(error.value)
    assert all(part in message for part in [str(tmp_path / "rec.hea"), *parts]), message
    assert "\n" not in message


def test_nothing_outside_is_opened(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    np.arange(40, dtype="<i2").tofile(tmp_path / "rec.dat")
    (tmp_path / "in" / "rec.hea").write_text(f"{FIRST}\n../{LINE}\n")
    opened = []
    monkeypatch.setattr("fsspec.open", lambda *args, **kwargs: opened.append(args))
    with pytest.raises(DataError, match="own folder only"):
        read(tmp_path / "in" / "rec.hea")
    with pytest.raises(DataError, match="own folder only"):
        files_of(tmp_path / "in" / "rec.hea")
    assert opened == []


def test_a_missing_record(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.*No such file"):
        read(tmp_path / "nowhere")


LINES = [
    "a.dat 16 200 11 1024 995 -22131 0 MLII",
    "a.dat 16 1000.0(0)/mV 16 0 -119 1508 0 I",
    "a.dat 212x2:3+24 200(-5)/uV 12 -7 3 4 0 lead with spaces",
    "a.dat 16",
    "a.dat 16 0.5e2/mV",
    "a.dat 16 200 V1",
    "a.dat 16 200 16 12 lead",
    "a.dat 80 -3.5 8 - 0 0 0 ECG 1",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_a_channel_is_read_as_the_library_reads_it(line, tmp_path):
    found, expected = _channel(tmp_path / "a.hea", line, False), rx_signal.match(line)

    def number(field, absent=0):
        return int(expected[field]) if expected[field] not in ("", "-") else absent

    assert (found.format, found.per_frame) == (expected["fmt"], number("samps_per_frame", 1))
    assert (found.skew, found.offset) == (number("skew"), number("byte_offset"))
    assert found.gain == (float(expected["adc_gain"] or 0) or 200)
    assert (found.baseline, found.unit) == (number("baseline", number("adc_zero")), expected["units"] or None)
    assert (found.first, found.checksum) == (number("init_value"), number("checksum"))
    assert found.name == (expected["sig_name"].strip() or None)
