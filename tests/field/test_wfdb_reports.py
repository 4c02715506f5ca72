"""WFDB records that people reported: the header and the samples of each as bytes, and what they expect to read.

The key of a case is the report, `owner/repository#number` on GitHub; its first value is the expectation.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from ecgtune.data.leads import STANDARD_LEADS, arrange_leads
from ecgtune.errors import DataError
from helpers.recordings import digital, read

X = digital(2, 21)  # steps; 1000 are a millivolt
MV = X / 1000


def packed(values: np.ndarray, dtype: str = "<i2") -> bytes:
    """Samples (channels, samples), the channels of each moment after each other."""
    return np.ascontiguousarray(values.T).astype(dtype).tobytes()


def packed_24(values: np.ndarray) -> bytes:
    return np.frombuffer(packed(values, "<i4"), np.uint8).reshape(-1, 4)[:, :3].tobytes()


def packed_212(values: np.ndarray) -> bytes:
    flat = np.append(values.T.ravel(), 0) if values.size % 2 else values.T.ravel()
    first, second = flat[::2], flat[1::2]
    triples = np.stack([first & 255, (first >> 8 & 15) | (second >> 8 & 15) << 4, second & 255], axis=1)
    return triples.astype(np.uint8).tobytes()[: -(-values.size * 3 // 2)]


def header(*channels: str, first: str = "rec 2 250 21", after: str = "") -> str:
    return "\n".join([first, *(f"rec.dat {channel}" for channel in channels), after]) + "\n"


TWO = ("16 1000/mV 16 0 0 0 0 I", "16 1000/mV 16 0 0 0 0 II")
ONE = "rec 1 250 21"


@dataclass(frozen=True)
class Case:
    """files: by name. signal: millivolts (leads, samples), or `refused`: words of the error."""

    expects: str
    header: str
    samples: bytes = packed(X)
    signal: np.ndarray | None = field(default_factory=lambda: MV)
    refused: tuple[str, ...] = ()
    rate: float = 250.0
    options: dict = field(default_factory=dict)
    name: str = "rec"
    opened: str = "rec.hea"


WIDE = X * 1000 + 7
MARKED = np.where(np.arange(21) == 4, -32768, X)
GAIN, BASE = 6344117.125, -1842966025
LARGE = np.array([[1775087638, -1995224836, -1842966025, 2147483647]])
CASES = {
    "MIT-LCP/wfdb-python#317": Case(
        "All 24 bits of a sample count.",
        header("24 1000000/mV 24 0 0 0 0 I", "24 1000000/mV 24 0 0 0 0 II"),
        packed_24(WIDE),
        WIDE / 1e6,
    ),
    "MIT-LCP/wfdb-python#11": Case(
        "Negative samples of 12 bits are negative, in an odd number of samples too.",
        header("212 1000/mV 12 0 0 0 0 II", first=ONE),
        packed_212(X[:1]),
        MV[:1],
    ),
    "MIT-LCP/wfdb-python#160": Case(
        "A file that lacks its last byte is reported as cut short.",
        header("212 1000/mV 12 0 0 0 0 II", first=ONE),
        packed_212(X[:1])[:-1],
        refused=("rec.dat", "cut short"),
    ),
    "MIT-LCP/wfdb-python#351": Case(
        "The date of the 2020 and 2021 challenges, before the time and with hyphens, stops nothing.",
        header(*(f"16+24{channel[2:]}" for channel in TWO), first="rec 2 250 21 05-May-2020 09:49:17", after="#Dx: 1"),
        bytes(24) + packed(X),
    ),
    "MIT-LCP/wfdb-python#307": Case(
        "A year in the place of the time stops nothing.",
        header(*TWO, first="rec 2 250 21 2006"),
    ),
    "MIT-LCP/wfdb-python#231": Case(
        "A unit with a slash beside the ECG does not disturb its leads.",
        header(*TWO, "16 505.31578574(1)/l/min 15 0 0 0 0 CPAP Flow", first="rec 3 250 21"),
        packed(np.vstack([X, X[:1]])),
        options={"lead_names": ("I", "II", "-")},
    ),
    "MIT-LCP/wfdb-python#86": Case(
        "Hyphens belong to the name of a record.",
        "0b61746e-c5f4-4b54 2 250 21\n" + "".join(f"0b61746e-c5f4-4b54.dat {channel}\n" for channel in TWO),
        name="0b61746e-c5f4-4b54",
        opened="0b61746e-c5f4-4b54.hea",
    ),
    "MIT-LCP/wfdb-python#146": Case(
        "The path of the samples names the record as the path of its header does.",
        header(*TWO),
        opened="rec.dat",
    ),
    "kvnlng/Murmur#360": Case(
        "The number in parentheses is the step of zero, and the unit follows the slash.",
        header("16 1000(-150)/mV 16 0 0 0 0 I", "16 2000(40)/uV 16 0 0 0 0 II"),
        signal=np.stack([(X[0] + 150) / 1e3, (X[1] - 40) / 2e6]),
    ),
    "MIT-LCP/mimic-code#791": Case(
        "A record that promises more segments than it lists is refused.",
        "rec/3 2 250 42\nseg1 21\nseg2 21\n",
        refused=("segments",),
    ),
    "MIT-LCP/physionet#84": Case(
        "Zero samples in a header mean that the file says how many there are.",
        header(*TWO, first="rec 2 250 0"),
    ),
    "wfdb-python 4.1.0, csv.py": Case(
        "A rate may be written as any number, 2.5e2 as well as 250.",
        header(*TWO, first="rec 2 2.5e2/1000(5) 21"),
    ),
    "MIT-LCP/wfdb-python#7": Case(
        "The lowest step marks an invalid sample, which is missing and not -33 mV.",
        header(*TWO),
        packed(MARKED),
        np.where(np.arange(21) == 4, np.nan, MV),
    ),
    "MIT-LCP/wfdb-python#528": Case(
        "Steps and baselines of 32 bits are subtracted without overflow.",
        header(f"32 {GAIN}({BASE})/mV 32 0 0 0 0 II", first="rec 1 250 4"),
        packed(LARGE, "<i4"),
        (LARGE - float(BASE)) / GAIN,
    ),
    "MIT-LCP/mimic-code#907": Case(
        "The monitor's V and MCL may be several leads: their names are asked for.",
        header("16 1000/mV 16 0 0 0 0 V", "16 1000/mV 16 0 0 0 0 MCL"),
        refused=("'V'", "--lead-names"),
    ),
    "MIT-LCP/physionet#55": Case(
        "ECG1 and ECG2 of a Holter are no named leads: their names are asked for.",
        header("16 1000/mV 16 0 0 0 0 ECG1", "16 1000/mV 16 0 0 0 0 ECG2"),
        refused=("'ECG1'", "--lead-names"),
    ),
    "MIT-LCP/physionet#112": Case(
        "Names given for ECG1 and ECG2 are taken.",
        header("16 1000/mV 16 0 0 0 0 ECG1", "16 1000/mV 16 0 0 0 0 ECG2"),
        options={"lead_names": ("II", "V1")},
    ),
    "MIT-LCP/waveform-annotation#49": Case(
        "An ECG sampled more often than its neighbour keeps all its samples and its rate.",
        header("16x4 1000/mV 16 0 0 0 0 II", "16 100/Ohm 16 0 0 0 0 RESP", first="rec 2 62.5 5"),
        packed(np.vstack([X[0, :20].reshape(5, 4).T, X[1:, :5]])),
        MV[:1, :20],
        options={"lead_names": ("II", "-")},
    ),
}


def write(folder: Path, case: Case) -> Path:
    (folder / f"{case.name}.hea").write_text(case.header)
    (folder / f"{case.name}.dat").write_bytes(case.samples)
    return folder / case.opened


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_reported_records(case, tmp_path):
    path = write(tmp_path, case)
    if case.refused:
        with pytest.raises(DataError) as error:
            read(path, **case.options)
        assert "\n" not in str(error.value)
        for words in case.refused:
            assert words in str(error.value)
        return
    recording = read(path, **case.options)
    assert recording.sampling_rate == case.rate
    np.testing.assert_array_equal(recording.signal, np.asarray(case.signal).astype(np.float32))


def test_a_skewed_channel_is_shifted(tmp_path):
    """MIT-LCP/wfdb-python#54: a skewed channel is shifted against the others, as the library shifts it."""
    import wfdb

    case = Case("", header("16:2 1000/mV 16 0 0 0 0 I", TWO[1]))
    expected = wfdb.rdrecord(str(write(tmp_path, case).with_suffix(""))).p_signal.T
    np.testing.assert_array_equal(read(tmp_path / "rec.hea").signal, expected.astype(np.float32))
    assert not np.array_equal(expected[0], MV[0])


def test_leads_are_found_by_name(tmp_path):
    """OpenTSLM/OpenTSLM#45: MIMIC-IV-ECG writes aVF before aVL: leads are found by name, never by position."""
    order = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
    steps = digital(12, 21)
    lines = header(*(f"16 1000/mV 16 0 0 0 0 {lead}" for lead in order), first="rec 12 250 21")
    recording = read(write(tmp_path, Case("", lines, packed(steps))))
    arranged, derived, zeroed = arrange_leads(recording.signal, recording.leads, STANDARD_LEADS)
    assert (derived, zeroed) == ((), ())
    np.testing.assert_array_equal(arranged[4:6], (steps[[5, 4]] / 1000).astype(np.float32))
