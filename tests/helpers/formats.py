"""A small valid recording of every format: what fuzzing changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import savemat

from helpers.clinical_files import hl7, muse, philips, scp, xli
from helpers.recordings import LEADS, dicom_group, digital, write_csv, write_dicom, write_edf, write_hdf5, write_wfdb

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
