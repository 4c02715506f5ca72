"""EDF and DICOM, written with the library, read back and compared; and such files that lie."""

from pathlib import Path

import numpy as np
import pytest

from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.data.signal.path import SignalPath
from ecgtune.errors import DataError
from helpers.recordings import LEADS, dicom_group, digital, read, write_dicom, write_edf

VALUES = digital()


def test_edf_comes_back(tmp_path):
    recording = read(write_edf(tmp_path / "a.edf", VALUES, ("ECG I", "EKG II", "V1")))
    np.testing.assert_allclose(recording.signal, VALUES / 10_000, rtol=1e-6, atol=1e-9)
    assert (recording.leads, recording.sampling_rate, recording.signal.dtype) == (LEADS, 20.0, np.float32)
    millivolt = read(write_edf(tmp_path / "b.edf", VALUES, unit="mV"))
    np.testing.assert_allclose(millivolt.signal, VALUES / 10, rtol=1e-6, atol=1e-6)


def test_edf_with_a_channel_that_is_no_ecg(tmp_path):
    path = write_edf(tmp_path / "a.edf", VALUES, ("I", "Resp", "V1"))
    recording = read(path)
    assert recording.leads == read(path, lead_names=("I", "-", "V1")).leads == ("I", "V1")
    assert recording.notes == ("channels that are no standard lead were left out: 'Resp'",)
    assert read(write_edf(tmp_path / "b.edf", VALUES, ("Pleth", "ECG", "SpO2"))).leads == ("II",)


def test_an_unknown_channel_is_left_out_when_the_named_leads_are_there(tmp_path):
    path = write_edf(tmp_path / "a.edf", VALUES, ("I", "II", "ECG3"))
    for wanted in (None, ("V1",), ("I", "V1")):
        with pytest.raises(DataError, match=r"channel 3 of 3, 'ECG3', is no known lead.*--lead-names"):
            read(path, leads=wanted)
    assert read(path, leads=("I", "aVF")).leads == ("I", "II")


@pytest.mark.parametrize("kind", ["EDF", "EDFPLUS", "BDF", "BDFPLUS"])
def test_edf_is_what_the_library_reads(tmp_path, kind):
    import pyedflib

    generator = np.random.default_rng(1)
    path = str(tmp_path / f"a.{kind[:3].lower()}")
    writer = pyedflib.EdfWriter(path, 3, file_type=getattr(pyedflib, f"FILETYPE_{kind}"))
    top = 32767 if kind.startswith("EDF") else 8388607
    for channel, lead in enumerate(LEADS):
        header = {"label": lead, "dimension": "uV", "sample_frequency": 124, "transducer": "", "prefilter": ""}
        ends = {"physical_max": 3276.7, "physical_min": -1638.4, "digital_max": top, "digital_min": -top - 1}
        writer.setSignalHeader(channel, header | ends)
    writer.writeSamples([generator.integers(-top - 1, top, 248).astype(np.int32) for _ in LEADS], digital=True)
    writer.close()
    with pyedflib.EdfReader(path) as reader:
        expected = np.stack([reader.readSignal(channel) * 1e-3 for channel in range(3)]).astype(np.float32)
        rate = reader.getSampleFrequency(0)
    recording = read(Path(path))
    np.testing.assert_array_equal(recording.signal, expected)
    assert (recording.leads, recording.sampling_rate, rate) == (LEADS, 124.0, 124.0)


GAP = np.r_[0:20, 100:120]  # samples of two records of 20, of which the second starts at 5 s


@pytest.mark.parametrize(
    ("change", "place", "note"),
    [
        (lambda content: content[:236] + b"-1      " + content[244:], slice(40), "not state the number of records"),
        (lambda content: content + bytes(999), slice(40), "more records than its header promises"),
        (lambda content: content + b"\0", slice(40), None),
        (lambda content: content.replace(b"EDF+C", b"EDF+D"), slice(40), None),
        (lambda content: content.replace(b"EDF+C", b"EDF+D").replace(b"+1\x14", b"+5\x14"), GAP, "interrupted"),
        (lambda content: content[:8] + "J\xf6rg \xb5".encode("latin-1").ljust(160) + content[168:], slice(40), None),
        (lambda content: content[:168] + b" " * 16 + content[184:], slice(40), None),
        (lambda content: content.replace(b"uV", b"\xb5V"), slice(40), None),
        (lambda content: content.replace(b"uV ", b"\xc2\xb5V"), slice(40), None),
    ],
)
def test_edf_as_recorders_write_it(tmp_path, change, place, note):
    path = write_edf(tmp_path / "a.edf", VALUES)
    path.write_bytes(change(path.read_bytes()))
    recording = read(path)
    np.testing.assert_allclose(recording.signal[:, place], VALUES / 10_000, rtol=1e-6, atol=1e-9)
    assert np.isfinite(recording.signal).sum() == VALUES.size
    assert [text for text in recording.notes if note and note in text] == list(recording.notes)
    assert bool(recording.notes) == bool(note)


def test_edf_with_two_rates(tmp_path):
    import pyedflib

    writer = pyedflib.EdfWriter(str(tmp_path / "a.edf"), 2, file_type=pyedflib.FILETYPE_EDF)
    for channel, rate in enumerate((100, 50)):
        writer.setSignalHeader(channel, pyedflib.highlevel.make_signal_header(LEADS[channel], "mV", rate))
    writer.writeSamples([np.zeros(200), np.zeros(100)])
    writer.close()
    with pytest.raises(DataError, match=r"2 rates: I at 100 Hz; II at 50 Hz; keep one rate: --lead-names I -$"):
        read(tmp_path / "a.edf")
    recording = read(tmp_path / "a.edf", lead_names=("-", "II"))
    assert (recording.sampling_rate, recording.signal.shape) == (50.0, (1, 100))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda content: content[:-10], "promises 2 records"),
        (lambda content: content[:236] + b"0       " + content[244:], "holds 0 records"),
        (lambda content: content[:100], "cannot be read as EDF"),
        (lambda content: b"", "the file is empty"),
        (lambda content: b"Dear colleague, " * 90, "is no EDF or BDF file"),
        (lambda content: content[:236] + b"9999999 " + content[244:], "promises 9,999,999 records"),
        (lambda content: content.replace(b"EDF+C", b"EDF+D").replace(b"+1\x14", b"+0\x14"), "before the one before"),
        (lambda content: content.replace(b"EDF+C", b"EDF+D").replace(b"+1\x14", b"\0\0\0"), "does not say when it"),
        (lambda content: content.replace(b"EDF+C", b"EDF+D").replace(b"EDF Annot", b"EDF annot"), "does not say when"),
        (lambda content: content.replace(b"EDF+C", b"EDF+D").replace(b"+1\x14", b"9e9\x14"), "at most"),
        (lambda content: content.replace(b"-3276   ", b"3276    "), "'I' has no scale; its ends are 3276, 3276"),
        (lambda content: content[:184] + b"512     " + content[192:], "states a header of 512 bytes for 4 channels"),
        (lambda content: content[:244] + b"-1      " + content[252:], "a record lasts -1 s"),
        (lambda content: content[:244] + b"0       " + content[252:], "--sampling-rate"),
        (lambda content: content.replace(b"uV", b"xx"), "unit 'xx' is unknown"),
    ],
)
def test_edf_that_lies(tmp_path, change, part):
    path = write_edf(tmp_path / "a.edf", VALUES)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError) as error:
        read(path)
    assert part in str(error.value)
    assert str(error.value).count(str(path)) == 1
    assert len(str(error.value).splitlines()) == 1


def test_a_missing_file(tmp_path):
    for name in ("a.edf", "a.dcm", "a.xml", "a.scp", "a.h5"):
        with pytest.raises(DataError, match="cannot be read \\(No such file"):
            read(tmp_path / name)


def test_dicom_comes_back(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", [dicom_group(VALUES)])
    recording = read(path)
    np.testing.assert_allclose(recording.signal, (VALUES * 2.5 + 3) / 1000, rtol=1e-6, atol=1e-9)
    assert (recording.leads, recording.sampling_rate) == (LEADS, 500.0)


def test_dicom_keeps_all_original_groups(tmp_path):
    beat = dicom_group(VALUES[:, :10], originality="DERIVED")
    short = dicom_group(VALUES[:1, :20], leads=("V2",))
    groups = [beat, short, dicom_group(VALUES[:2]), dicom_group(VALUES[2:], leads=("V1",))]
    recording = read(write_dicom(tmp_path / "a.dcm", groups))
    assert recording.leads == ("V2", *LEADS)
    np.testing.assert_allclose(recording.signal[1:], (VALUES * 2.5 + 3) / 1000, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(recording.signal[0, :20], (VALUES[0, :20] * 2.5 + 3) / 1000, rtol=1e-6, atol=1e-9)
    assert np.isnan(recording.signal[0, 20:]).all()
    assert recording.notes == (
        "the leads were not recorded together, the rest of each is missing: V2 from 0 to 0.04 s; I, II, V1 from 0 to "
        "0.08 s",
    )


PRINT = (("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6"))


@pytest.fixture
def print_layout(tmp_path):
    """Four groups of three leads, 2.5 s each, one after the other, and lead II over 10 s: path and values."""
    values = digital(leads=13, samples=5000)
    groups = [
        dicom_group(values[3 * column : 3 * column + 3, :1250], leads=leads, offset=2500 * column)
        for column, leads in enumerate(PRINT)
    ]
    strip = dicom_group(values[12:], leads=("II",), offset=0)
    return write_dicom(tmp_path / "a.dcm", [*groups, strip]), (values * 2.5 + 3) / 1000


def test_dicom_of_a_recorder_is_what_the_library_reads(tmp_path):
    """The example of pydicom: a rhythm of 10 s, and a median beat that is derived from it."""
    import pydicom
    from pydicom.data import get_testdata_file

    path = Path(str(get_testdata_file("waveform_ecg.dcm", download=False)))
    recording = read(path)
    np.testing.assert_allclose(recording.signal, pydicom.dcmread(path).waveform_array(0).T / 1000, rtol=1e-6, atol=1e-9)
    assert (recording.leads, recording.sampling_rate, recording.notes) == (STANDARD_LEADS, 1000.0, ())
    bare = tmp_path / "1.2.840"
    bare.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(read(bare).signal, recording.signal)


def test_dicom_groups_are_placed_by_their_offsets(print_layout):
    import pydicom

    path, values = print_layout
    recording = read(path)
    of_library = [pydicom.dcmread(path).waveform_array(group) / 1000 for group in range(5)]
    assert recording.signal.shape == (12, 5000)
    for column, leads in enumerate(PRINT):
        for row, lead in enumerate(leads):
            found = recording.signal[recording.leads.index(lead)]
            if lead == "II":
                np.testing.assert_allclose(found, of_library[4][:, 0], rtol=1e-6)
                continue
            span = slice(1250 * column, 1250 * (column + 1))
            np.testing.assert_allclose(found[span], of_library[column][:, row], rtol=1e-6)
            np.testing.assert_allclose(found[span], values[3 * column + row, :1250], rtol=1e-6, atol=1e-9)
            assert np.isfinite(found).sum() == 1250
    assert "taken from the longest: II" in recording.notes[0]
    assert "I, III from 0 to 2.5 s; aVR, aVL, aVF from 2.5 to 5 s;" in recording.notes[1]
    assert "V4, V5, V6 from 7.5 to 10 s; II from 0 to 10 s" in recording.notes[1]


def test_a_print_layout_gives_windows_of_the_leads_that_are_whole(print_layout):
    recording = read(print_layout[0])
    with pytest.raises(DataError, match=r"lead I has a gap of 7.50 s at 2.50 s"):
        SignalPath(500.0, ("I",))(recording.signal, recording.leads, 500.0)
    with pytest.raises(DataError, match=r"missing at any time; keep .*, such as leads I in windows of 2.5 s$"):
        SignalPath(500.0, ("I", "V1"), window=2.5)(recording.signal, recording.leads, 500.0)
    windows = SignalPath(500.0, ("II",))(recording.signal, recording.leads, 500.0).windows
    np.testing.assert_allclose(windows[0, 0], print_layout[1][12], rtol=1e-6, atol=1e-9)
    part = SignalPath(500.0, ("V5", "II"), window=2.5)(recording.signal, recording.leads, 500.0)
    rows = [recording.leads.index(lead) for lead in ("V5", "II")]
    np.testing.assert_array_equal(part.windows[0], recording.signal[rows, -1250:])
    assert (len(part.windows), part.interrupted) == (1, 7.5)


def test_a_lead_is_not_derived_from_leads_that_were_not_recorded_together(tmp_path):
    groups = [dicom_group(VALUES[:1], offset=0), dicom_group(VALUES[1:2], leads=("II",), offset=80)]
    recording = read(write_dicom(tmp_path / "a.dcm", groups))
    path = SignalPath(500.0, ("III",), longest_gap=1.0)
    with pytest.raises(DataError, match="III cannot be derived: I and II were not recorded together"):
        path(recording.signal, recording.leads, 500.0)


def test_dicom_groups_that_follow_each_other_are_one_recording(tmp_path):
    groups = [dicom_group(VALUES, offset=1000 + 80 * part) for part in range(3)]
    recording = read(write_dicom(tmp_path / "a.dcm", groups))
    np.testing.assert_allclose(recording.signal, np.tile((VALUES * 2.5 + 3) / 1000, 3), rtol=1e-6, atol=1e-9)
    assert recording.notes == ()


def test_dicom_waveforms_that_cannot_be_one_recording(tmp_path):
    twice = write_dicom(tmp_path / "a.dcm", [dicom_group(VALUES), dicom_group(VALUES)])
    with pytest.raises(DataError, match=r"hold lead I at one time; choose: --lead-names I II V1 - - -$"):
        read(twice)
    assert read(twice, lead_names=(*LEADS, "-", "-", "-")).leads == LEADS
    two_rates = write_dicom(tmp_path / "b.dcm", [dicom_group(VALUES), dicom_group(VALUES[:1], ("V2",), rate=250.0)])
    with pytest.raises(DataError, match=r"2 rates: I, II, V1 at 500 Hz; V2 at 250 Hz.*--lead-names I II V1 -$"):
        read(two_rates)
    assert read(two_rates, leads=("V2",)).sampling_rate == 250


@pytest.mark.parametrize("padding", [False, True])
def test_dicom_in_big_endian(tmp_path, padding):
    values = VALUES.copy()
    values[1, 4:9] = -32768
    fields = {"padding": -32768} if padding else {}
    expected = read(write_dicom(tmp_path / "a.dcm", [dicom_group(values, **fields)])).signal
    group = dicom_group(values, **fields)
    group.WaveformData = values.T.astype(">i2").tobytes()
    if padding:
        group.WaveformPaddingValue = (-32768).to_bytes(2, "big", signed=True)
    path = write_dicom(tmp_path / "b.dcm", [group], syntax="1.2.840.10008.1.2.2")
    np.testing.assert_array_equal(read(path).signal, expected)
    assert np.isnan(expected).any() == padding


def test_dicom_padding_is_a_gap(tmp_path):
    values = VALUES.copy()
    values[1, 4:9] = -32768
    signal = read(write_dicom(tmp_path / "a.dcm", [dicom_group(values, padding=-32768)])).signal
    assert np.isnan(signal[1, 4:9]).all()
    assert np.isnan(signal).sum() == 5


@pytest.mark.parametrize(
    ("scheme", "code", "meaning", "lead"),
    [
        ("MDC", "2:62", "aVR, augmented voltage, right", "aVR"),
        ("SCPECG", "5.6.3-9-8", "?", "V6"),
        ("SCPECG", "5.6.3-9-1", "Lead I (Einthoven)", "I"),
        ("99X", "2:62", "aVF, augmented voltage, foot", "aVF"),
    ],
)
def test_dicom_names_of_leads(tmp_path, scheme, code, meaning, lead):
    group = dicom_group(VALUES[:1])
    source = group.ChannelDefinitionSequence[0].ChannelSourceSequence[0]
    source.CodingSchemeDesignator, source.CodeValue, source.CodeMeaning = scheme, code, meaning
    assert read(write_dicom(tmp_path / "a.dcm", [group])).leads == (lead,)


def changed(**fields):
    group = dicom_group(VALUES)
    for name, value in fields.items():
        setattr(group, name, value)
    return [group]


def without_sensitivity():
    group = dicom_group(VALUES)
    for channel in group.ChannelDefinitionSequence:
        del channel.ChannelSensitivity, channel.ChannelSensitivityUnitsSequence
        del channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline
    return [group]


@pytest.mark.parametrize(
    ("groups", "part"),
    [
        ([], "holds no waveform"),
        (changed(NumberOfWaveformSamples=4_000_000_000), "promises 4000000000 samples"),
        (changed(NumberOfWaveformSamples=39), "promises 39 samples"),
        (changed(NumberOfWaveformChannels=12), "promises 12 channels, but describes 3"),
        (changed(NumberOfWaveformSamples=0, WaveformData=b""), "0 samples"),
        (changed(WaveformData=b"12"), "has 2"),
        (changed(SamplingFrequency=0), "has 0 Hz"),
        ([dicom_group(VALUES, unit="mm[Hg]")], "unit 'mm[Hg]' is unknown"),
        ([dicom_group(VALUES, leads=("I", "II", "C9"))], "'Lead C9', is no known lead"),
        (without_sensitivity(), "does not say its unit"),
    ],
)
def test_dicom_that_lies(tmp_path, groups, part):
    path = write_dicom(tmp_path / "a.dcm", groups)
    with pytest.raises(DataError) as error:
        read(path)
    assert part in str(error.value)
    assert str(path) in str(error.value)


def test_dicom_that_is_deflated_or_none(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", [dicom_group(VALUES)], syntax="1.2.840.10008.1.2.1.99")
    with pytest.raises(DataError, match="deflated"):
        read(path)
    path.write_bytes(b"no dicom at all")
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


def test_dicom_without_a_unit_takes_the_users(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", without_sensitivity())
    np.testing.assert_allclose(read(path, unit="uV").signal, VALUES / 1000, rtol=1e-6)
