"""EDF, DICOM, XML and array files that people reported, each built field by field, and what they expect to read.

The key of a case is the report, `owner/repository#number` on GitHub; its first value is the expectation.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from ecgtune.errors import DataError
from helpers import clinical_files
from helpers.recordings import dicom_group, digital, read, write_dicom

X = digital(2, 60)


@dataclass(frozen=True)
class Channel:
    """A signal of an EDF file: what its header says, and its steps."""

    label: str
    steps: np.ndarray
    unit: str = "mV"
    physical: tuple[str, str] = ("-32.768", "32.767")
    digital: tuple[str, str] = ("-32768", "32767")


@dataclass(frozen=True)
class Case:
    """write: the file in a folder. signal: millivolts (leads, samples), or `refused`: words of the error."""

    expects: str
    write: Callable[[Path], Path]
    signal: np.ndarray | None = None
    refused: tuple[str, ...] = ()
    rate: float = 20.0
    options: dict = field(default_factory=dict)


def edf(*channels: Channel, duration: str = "1", records: int = 3, date: str = "01.01.20", time: str = "10.00.00"):
    """EDF by the words of its standard: 256 bytes, then each field of all channels, then records of int16."""

    def write(folder: Path) -> Path:
        def text(value: object, width: int) -> bytes:
            return str(value).encode("latin-1").ljust(width)

        per_record = [channel.steps.size // records for channel in channels]
        size = 256 * (1 + len(channels))
        first = [("0", 8), ("X", 80), ("X", 80), (date, 8), (time, 8), (size, 8), ("", 44), (records, 8)]
        content = b"".join(text(*part) for part in (*first, (duration, 8), (len(channels), 4)))
        columns = [
            ([c.label for c in channels], 16),
            ([""] * len(channels), 80),
            ([c.unit for c in channels], 8),
            *(([c.physical[end] for c in channels], 8) for end in (0, 1)),
            *(([c.digital[end] for c in channels], 8) for end in (0, 1)),
            ([""] * len(channels), 80),
            (per_record, 8),
            ([""] * len(channels), 32),
        ]
        content += b"".join(text(value, width) for values, width in columns for value in values)
        for record in range(records):
            for channel, count in zip(channels, per_record, strict=True):
                content += channel.steps[record * count : (record + 1) * count].astype("<i2").tobytes()
        path = folder / "rec.edf"
        path.write_bytes(content)
        return path

    return write


def dicom(change: Callable, *others, values: np.ndarray = X, **fields):
    def write(folder: Path) -> Path:
        group = dicom_group(values, ("I", "II"), rate=20.0, **fields)
        change(group)
        return write_dicom(folder / "rec.dcm", [*others, group])

    return write


def bits(interpretation: str, kind: str, values: np.ndarray):
    """Samples of eight bits."""

    def change(group) -> None:
        group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 8, interpretation
        group.WaveformData = np.ascontiguousarray(values.T).astype(kind).tobytes()
        for channel in group.ChannelDefinitionSequence:
            channel.WaveformBitsStored = 8

    return change


def each_channel(**fields):
    def change(group) -> None:
        for channel in group.ChannelDefinitionSequence:
            for name, value in fields.items():
                setattr(channel, name, value)

    return change


def as_bytes(group) -> None:
    group["WaveformData"].VR = "OB"


def blood_pressure(group) -> None:
    channel = group.ChannelDefinitionSequence[1]
    channel.ChannelSourceSequence[0].CodeMeaning = "Femoral Artery"
    channel.ChannelSensitivityUnitsSequence[0].CodeValue = "mm[Hg]"


def xml(text: str):
    def write(folder: Path) -> Path:
        path = folder / "rec.xml"
        path.write_text(text)
        return path

    return write


def one_waveform(text: str) -> str:
    """MUSE without the median beat."""
    start, end = text.index("<Waveform>"), text.index("</Waveform>") + len("</Waveform>")
    return text[:start] + text[end:]


MV = X / 1000
II = Channel("ECG II", X[0])
FLAT = np.zeros(60, dtype=int)
SMALL = X % 100
CASES = {
    "holgern/pyedflib#14": Case(
        "A dummy channel whose digital maximum equals the minimum does not make the leads unreadable.",
        edf(II, Channel("-", FLAT, physical=("0", "1"), digital=("0", "0"))),
        MV[:1],
        options={"lead_names": ("II", "-")},
    ),
    "mne-tools/mne-python#5072": Case(
        "A dummy channel is no lead: it is left out by name, not by luck.",
        edf(II, Channel("-", FLAT, physical=("0", "1"), digital=("0", "0"))),
        refused=("channel 2 of 2", "--lead-names"),
    ),
    "holgern/pyedflib#113": Case(
        "A channel without a physical range does not make the leads unreadable.",
        edf(II, Channel("SpO2", FLAT, "%", physical=("0", "0"))),
        MV[:1],
        options={"lead_names": ("II", "-")},
    ),
    "holgern/pyedflib#76": Case(
        "A lead without a physical range has no unit step: the error names the lead.",
        edf(Channel("ECG II", X[0], physical=("0", "0"))),
        refused=("'ECG II'", "no scale"),
    ),
    "holgern/pyedflib#35": Case(
        "A start at 75 seconds past the minute says nothing about the samples.",
        edf(II, time="23.59.75"),
        MV[:1],
    ),
    "holgern/pyedflib#82": Case(
        "A start time with colons says nothing about the samples.",
        edf(II, time="10:00:00"),
        MV[:1],
    ),
    "mne-tools/mne-python#9186": Case(
        "The unit .V may have been uV or mV: it is asked for.",
        edf(Channel("ECG II", X[0], ".V")),
        refused=("'.V'", "--unit"),
    ),
    "mne-tools/mne-python#6584": Case(
        "Channels in different units are each scaled by their own.",
        edf(Channel("ECG I", X[0], "mV"), Channel("ECG II", X[1], "uV")),
        MV * [[1], [1e-3]],
    ),
    "mne-tools/mne-python#4305": Case(
        "Two channels of one name are asked about; neither is taken.",
        edf(II, Channel("ECG II", X[1])),
        refused=("both lead II", "--lead-names"),
    ),
    "ikarosilva/wfdb-app-toolbox#60": Case(
        "The ECG beside a channel of one sample a second keeps its own rate.",
        edf(II, Channel("SpO2", FLAT[:3], "%")),
        MV[:1],
        options={"lead_names": ("II", "-")},
    ),
    "holgern/pyedflib#199": Case(
        "Samples of a record are divided by its duration, which need not be a second.",
        edf(II, duration="0.5"),
        MV[:1],
        rate=40.0,
    ),
    "holgern/pyedflib#167": Case(
        "Records of a tenth of a second have ten times their samples per second.",
        edf(II, duration="0.1"),
        MV[:1],
        rate=200.0,
    ),
    "nsrr/edf-editor-translator#6": Case(
        "A physical minimum above the maximum is a negative gain: the signal is inverted, not refused.",
        edf(Channel("ECG II", X[0], physical=("32.768", "-32.767"))),
        -MV[:1],
    ),
    "pydicom/pydicom#1667": Case(
        "The baseline is in the unit of the channel, and a correction factor multiplies the sensitivity.",
        dicom(each_channel(ChannelSensitivityCorrectionFactor=2, ChannelBaseline=30)),
        (X * 5 + 30) / 1000,
    ),
    "ArturRod/ecg-dicom-web-viewer#17": Case(
        "Twelve bits stored in sixteen are read.",
        dicom(each_channel(WaveformBitsStored=12)),
        (X * 2.5 + 3) / 1000,
    ),
    "pydicom/pydicom#766": Case(
        "Signed samples of eight bits are signed.",
        dicom(bits("SB", "i1", SMALL - 50)),
        ((SMALL - 50) * 2.5 + 3) / 1000,
    ),
    "dcmfx/dcmfx#8": Case(
        "Samples in the mu-law are no linear steps: they are refused, not misread.",
        dicom(bits("MB", "u1", SMALL)),
        refused=("MB",),
    ),
    "pydicom/pydicom#646": Case(
        "Samples of sixteen bits that are declared as bytes are the same samples.",
        dicom(as_bytes),
        (X * 2.5 + 3) / 1000,
    ),
    "gerddie/ginkgocadx#17": Case(
        "A median beat before the rhythm is not the recording.",
        dicom(lambda group: None, dicom_group(X[:, :24], ("I", "II"), rate=20.0, originality="DERIVED")),
        (X * 2.5 + 3) / 1000,
    ),
    "ArturRod/ecg-dicom-web-viewer#19": Case(
        "A pressure beside the ECG is no lead, and leaving it out leaves the ECG.",
        dicom(blood_pressure),
        (X[:1] * 2.5 + 3) / 1000,
        options={"lead_names": ("I", "-")},
    ),
    "will2hew/ECGXMLReader#1": Case(
        "A MUSE file with one waveform only has that one read.",
        xml(one_waveform(clinical_files.muse(X, ("I", "II"), rate=20))),
        X * 4.88 / 1000,
    ),
    "will2hew/ECGXMLReader#2": Case(
        "A lead that no model knows, such as V3R, is named, and left out when told.",
        xml(clinical_files.muse(X, ("I", "V3R"), rate=20)),
        X[:1] * 4.88 / 1000,
        options={"lead_names": ("I", "-")},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_reported_files(case, tmp_path):
    path = case.write(tmp_path)
    if case.refused:
        with pytest.raises(DataError) as error:
            read(path, **case.options)
        assert "\n" not in str(error.value)
        for words in case.refused:
            assert words in str(error.value)
        return
    recording = read(path, **case.options)
    assert recording.sampling_rate == pytest.approx(case.rate)
    np.testing.assert_allclose(recording.signal, np.asarray(case.signal), rtol=1e-6, atol=1e-6)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 120128\n"


@pytest.mark.parametrize(
    "name", ["rec.npy", "rec.npz", "rec.h5", "rec.edf", "rec.dcm", "rec.xml", "rec.csv", "rec.dat"]
)
def test_a_git_lfs_pointer_is_called_one(name, tmp_path):
    """fdlm/listening-moods#2: a Git LFS pointer in the place of a file is called one, whatever the format."""
    (tmp_path / "rec.hea").write_text("rec 1 20 1000\nrec.dat 16 1000/mV 16 0 0 0 0 II\n")
    (tmp_path / name).write_text(POINTER)
    with pytest.raises(DataError, match=f"{name}: is a Git LFS pointer"):
        read(tmp_path / name.replace(".dat", ".hea"), sampling_rate=20, unit="mV")


def test_python_objects_are_refused(tmp_path):
    """paninski-lab/yass#296: an array of Python objects is refused and never unpickled."""

    class Loud:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    np.save(tmp_path / "rec.npy", np.array([Loud(), 1], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="pickled Python objects"):
        read(tmp_path / "rec.npy", sampling_rate=20, unit="mV")
    assert not (tmp_path / "ran").exists()


def test_samples_are_not_taken_for_leads(tmp_path):
    """cbrnr/mnelab#195: an array of samples in rows and leads in columns is not read as five thousand leads."""
    np.save(tmp_path / "rec.npy", digital(2, 500).T)
    with pytest.raises(DataError, match=r"500"):
        read(tmp_path / "rec.npy", sampling_rate=20, unit="mV", lead_names=("I", "II"))
