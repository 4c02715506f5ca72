"""Whatever is in a file, a reader gives a recording or our error: never another one, 1 GB of memory, or 10 seconds."""

import resource
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from ecgtune.errors import DataError
from ecgtune.io.readers.base import ReadOptions, Recording
from ecgtune.io.readers.registry import BUILT_IN, read_recording
from helpers.clinical_files import hl7, muse, philips, scp, xli
from helpers.recordings import LEADS, dicom_group, digital, write_csv, write_dicom, write_edf, write_hdf5, write_wfdb

#: Without answers, and with some; rate and unit of the files below are left to them, or they say other ones.
OPTIONS = [
    ReadOptions(),
    ReadOptions(lead_names=LEADS, ignore_checksums=True),
    ReadOptions(sampling_rate=250.0, unit="mV", lead_names=LEADS),
]
GIGABYTE_KIB = 1 << 20


VALUES = digital(samples=8)


def _philips_xli(folder: Path) -> None:
    (folder / "rec.xml").write_text(philips(VALUES, LEADS, packed=xli(VALUES, LEADS)))


def _npy(folder: Path) -> None:
    np.save(folder / "rec.npy", VALUES.astype(np.float32))


def _npz(folder: Path) -> None:
    np.savez(folder / "rec.npz", signal=VALUES, leads=LEADS, fs=250, unit="mV")


def _segments(folder: Path) -> None:
    write_wfdb(folder, VALUES, name="rec_1")
    channels = "".join(f"~ 0 200/mV 12 0 0 0 0 {lead}\n" for lead in LEADS)
    (folder / "rec_layout.hea").write_text(f"rec_layout 3 250 0\n{channels}")
    (folder / "rec.hea").write_text("rec/3 3 250 20\nrec_layout 0\n~ 12\nrec_1 8\n")


def _interrupted_edf(folder: Path) -> None:
    path = write_edf(folder / "rec.edf", digital(samples=40))
    path.write_bytes(path.read_bytes().replace(b"EDF+C", b"EDF+D").replace(b"+1\x14", b"+5\x14"))


def _dicom_parts(folder: Path) -> None:
    parts = [dicom_group(VALUES[:1], offset=0), dicom_group(VALUES[1:], leads=("II", "V1"), offset=16)]
    write_dicom(folder / "rec.dcm", parts)


#: Per format a name, what writes a valid recording `rec` into a folder, and which of the files is fuzzed.
FORMATS: dict[str, tuple[Callable[[Path], object], str]] = {
    "WFDB header": (lambda folder: write_wfdb(folder, VALUES), "rec.hea"),
    "WFDB header, 212": (lambda folder: write_wfdb(folder, digital(samples=9), fmt="212"), "rec.hea"),
    "WFDB samples": (lambda folder: write_wfdb(folder, VALUES), "rec.dat"),
    "WFDB segments": (_segments, "rec.hea"),
    "WFDB layout": (_segments, "rec_layout.hea"),
    "WFDB FLAC": (lambda folder: write_wfdb(folder, digital(samples=40), fmt="516"), "rec.dat"),
    "NPY": (_npy, "rec.npy"),
    "NPZ": (_npz, "rec.npz"),
    "HDF5": (lambda folder: write_hdf5(folder / "rec.h5", VALUES, fs=250, unit="mV"), "rec.h5"),
    "MATLAB": (lambda folder: savemat(folder / "rec.mat", {"val": VALUES}), "rec.mat"),
    "EDF": (lambda folder: write_edf(folder / "rec.edf", digital(samples=20)), "rec.edf"),
    "DICOM": (lambda folder: write_dicom(folder / "rec.dcm", [dicom_group(VALUES)]), "rec.dcm"),
    "EDF, interrupted": (_interrupted_edf, "rec.edf"),
    "DICOM, parts": (_dicom_parts, "rec.dcm"),
    "HL7": (lambda folder: (folder / "rec.xml").write_text(hl7(VALUES, LEADS)), "rec.xml"),
    "MUSE": (lambda folder: (folder / "rec.xml").write_text(muse(VALUES, LEADS)), "rec.xml"),
    "Philips": (lambda folder: (folder / "rec.xml").write_text(philips(VALUES, LEADS)), "rec.xml"),
    "Philips XLI": (_philips_xli, "rec.xml"),
    "SCP": (lambda folder: (folder / "rec.scp").write_bytes(scp(VALUES, LEADS)), "rec.scp"),
    "SCP Huffman": (lambda folder: (folder / "rec.scp").write_bytes(scp(VALUES, LEADS, differences=1)), "rec.scp"),
    "CSV": (lambda folder: write_csv(folder / "rec.csv", VALUES), "rec.csv"),
}


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch):
    monkeypatch.setattr("ecgtune.io.readers.hdf5_files.SECONDS", 1.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, tuple[Path, bytes]]:
    """The file to be fuzzed of each format, and its valid content."""
    made = {}
    for name, (write, file) in FORMATS.items():
        folder = tmp_path_factory.mktemp("valid")
        write(folder)
        made[name] = (folder / file, (folder / file).read_bytes())
    return made


def outcome(path: Path, options: ReadOptions) -> Recording | str:
    try:
        return read_recording(path, options)
    except DataError as error:
        return str(error)


def check(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    main = next(p for p in sorted(path.parent.iterdir()) if p.suffix in [s for r in BUILT_IN for s in r.suffixes])
    for options in OPTIONS:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        read = outcome(main, options)
        if isinstance(read, str):
            assert str(main) in read
            assert len(read.splitlines()) == 1
        else:
            assert read.signal.dtype == np.float32
            assert read.signal.shape[0] == len(read.leads) >= 1
            assert read.signal.shape[1] >= 1
            assert 0 < read.sampling_rate < np.inf
            assert not np.isinf(read.signal).any()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GIGABYTE_KIB


def fuzz(examples: int):
    return settings(
        max_examples=examples,
        deadline=timedelta(seconds=10),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        derandomize=True,
        database=None,
    )


#: Where (as a share of the file), how many bytes go, and what comes in their place.
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1), st.integers(0, 4), st.one_of(st.binary(max_size=4), st.sampled_from([b"9" * 12, b"-1"]))
    ),
    min_size=1,
    max_size=6,
)


def edited(content: bytes, edits: list[tuple[float, int, bytes]], cut: float) -> bytes:
    for share, length, new in edits:
        place = int(share * len(content))
        content = content[:place] + new + content[place + length :]
    return content[: int(cut * len(content)) + 1]


@pytest.mark.parametrize("name", FORMATS)
@fuzz(25)
@given(content=st.binary(max_size=300))
def test_any_bytes(folders, name, content):
    check(folders[name][0], content)


@pytest.mark.parametrize("name", FORMATS)
@fuzz(40)
@given(edits=EDITS, cut=st.one_of(st.just(1.0), st.just(1.0), st.floats(0, 1)))
def test_valid_files_with_changes(folders, name, edits, cut):
    path, content = folders[name]
    check(path, edited(content, edits, cut))


@pytest.mark.parametrize("name", FORMATS)
def test_the_files_that_are_changed_are_valid(folders, name):
    path, content = folders[name]
    path.write_bytes(content)
    main = next(p for p in sorted(path.parent.iterdir()) if p.suffix in [s for r in BUILT_IN for s in r.suffixes])
    assert any(isinstance(outcome(main, options), Recording) for options in OPTIONS)
