"""Hostile files of signals: recordings, windows and pools that promise, repeat, recurse or unpack without end."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import savemat

from helpers.clinical_files import hl7, muse, philips, scp
from helpers.pretraining import write_recordings
from helpers.recordings import LEADS, dicom_group, digital, write_dicom, write_edf, write_hdf5, write_wfdb
from hostile.pickled import PAYLOAD

VALUES = digital(samples=40)
Write = Callable[[Path], Path]
ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "ha" * 50}">' for n in range(12))


def _npz(path: Path, **arrays: object) -> Path:
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


def _npy_header(shape: str, descr: str = "'<f4'", version: int = 1) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode()
    header += b" " * (118 - len(header) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header


def _member(path: Path, name: str, content: bytes, **others: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for key, value in {name: content, **others}.items():
            file.writestr(key, value)
    return path


def _text(name: str, content: str | bytes) -> Write:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder / name

    return write


def _wfdb(change: Callable[[str], str]) -> Write:
    def write(folder: Path) -> Path:
        path = write_wfdb(folder, VALUES)
        path.write_text(change(path.read_text()))
        return path

    return write


def _binary(write: Callable[[Path], Path], old: bytes, new: bytes) -> Write:
    def changed(folder: Path) -> Path:
        path = write(folder)
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new))
        return path

    return changed


def _edf(folder: Path) -> Path:
    return write_edf(folder / "rec.edf", VALUES)


def _dicom(folder: Path) -> Path:
    return write_dicom(folder / "rec.dcm", [dicom_group(VALUES)])


def _cut(write: Callable[[Path], Path], kept: float) -> Write:
    def changed(folder: Path) -> Path:
        path = write(folder)
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
        return path

    return changed


def _bad_edf(place: int, value: bytes) -> Write:
    """A field of the header at a place."""

    def changed(folder: Path) -> Path:
        path = _edf(folder)
        content = bytearray(path.read_bytes())
        content[place : place + len(value)] = value
        path.write_bytes(content)
        return path

    return changed


def _xml(content: str) -> Write:
    return _text("rec.xml", content)


def _segments(names: str) -> Write:
    return _text("rec.hea", f"rec/2 3 250 80\n{names}")


def _hdf5_bomb(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "rec.h5", "w") as file:
        data = file.create_dataset("signal", (3, 1 << 27), "f8", chunks=(1, 1 << 20), compression="gzip")
        data.attrs["fs"], data.attrs["unit"] = 250, "mV"
    return folder / "rec.h5"


def _hdf5_outside(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "rec.h5", "w") as file:
        file["signal"] = h5py.ExternalLink("/etc/passwd", "/signal")
    return folder / "rec.h5"


def _hdf5_unit_outside(folder: Path) -> Path:
    import h5py

    with h5py.File(write_hdf5(folder / "rec.h5", VALUES, fs=250, leads=LEADS), "a") as file:
        file.create_dataset("unit", (1,), "S9", external=[("/etc/passwd", 0, 9)])
    return folder / "rec.h5"


def _pickled_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([PAYLOAD, None], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def _pipe_of(path: Path) -> Path:
    os.mkfifo(path)
    return path


class _Runs:
    def __reduce__(self) -> tuple:
        return exec, (f"open({PAYLOAD!r}, 'w')",)


RECORDINGS: dict[str, Write] = {
    "NPZ: 1.5 GB of zeros": lambda folder: _zeros_npz(folder / "rec.npz"),
    "NPZ: a shape beyond the data": lambda folder: _member(
        folder / "rec.npz", "signal.npy", _npy_header("(3, 1000000000)")
    ),
    "NPZ: a negative shape": lambda folder: _member(
        folder / "rec.npz", "signal.npy", _npy_header("(-1, 8)") + bytes(32)
    ),
    "NPZ: a header to evaluate": lambda folder: _member(
        folder / "rec.npz", "signal.npy", _npy_header(f"exec('{PAYLOAD}')") + bytes(32)
    ),
    "NPZ: a deep header": lambda folder: _member(folder / "rec.npz", "signal.npy", _npy_header("(" * 3000) + bytes(32)),
    "NPZ: pickled objects": lambda folder: _member(folder / "rec.npz", "signal.npy", _pickled_array()),
    "NPZ: version 9": lambda folder: _member(folder / "rec.npz", "signal.npy", _npy_header("(8,)", version=9)),
    "NPZ: no signal": lambda folder: _npz(folder / "rec.npz", other=VALUES),
    "NPZ: an empty signal": lambda folder: _npz(
        folder / "rec.npz", signal=np.zeros((3, 0)), fs=250, unit="mV", leads=LEADS
    ),
    "NPZ: complex": lambda folder: _npz(folder / "rec.npz", signal=VALUES * 1j, fs=250, unit="mV", leads=LEADS),
    "NPZ: 16 axes": lambda folder: _npz(folder / "rec.npz", signal=np.zeros((1,) * 16), fs=250, unit="mV"),
    "NPZ: rate NaN": lambda folder: _npz(folder / "rec.npz", signal=VALUES, fs=np.nan, unit="mV", leads=LEADS),
    "NPZ: rate 0": lambda folder: _npz(folder / "rec.npz", signal=VALUES, fs=0, unit="mV", leads=LEADS),
    "NPZ: rate of 100 MB": lambda folder: _npz(folder / "rec.npz", signal=VALUES, fs=np.zeros(1 << 24), unit="mV"),
    "NPZ: 10^5 leads": lambda folder: _npz(folder / "rec.npz", signal=VALUES, fs=250, unit="mV", leads=["I"] * 100_000),
    "NPZ: lead with escapes": lambda folder: _npz(
        folder / "rec.npz", signal=VALUES[:1], fs=250, unit="\x1b[31mmV\n", leads=["I"]
    ),
    "NPZ: cut": _cut(lambda folder: _npz(folder / "rec.npz", signal=VALUES, fs=250, unit="mV", leads=LEADS), 0.5),
    "NPY: pickled objects": _text("rec.npy", _pickled_array()),
    "NPY: a shape beyond the file": _text("rec.npy", _npy_header(f"(3, {1 << 60})")),
    "NPY: a header to evaluate": _text("rec.npy", _npy_header("__import__('os')") + bytes(64)),
    "NPY: a negative shape": _text("rec.npy", _npy_header("(-3, -8)") + bytes(96)),
    "a pickle as NPZ": _text("rec.npz", pickle.dumps(_Runs())),
    "a pickle as MAT": _text("rec.mat", pickle.dumps(_Runs())),
    "WFDB: 10^12 samples": _wfdb(lambda text: text.replace(" 250 40", " 250 1000000000000")),
    "WFDB: rate 0": _wfdb(lambda text: text.replace(" 250 40", " 0 40")),
    "WFDB: rate 10^-300": _wfdb(lambda text: text.replace(" 250 40", " 1e-300 40")),
    "WFDB: rate NaN": _wfdb(lambda text: text.replace(" 250 40", " nan 40")),
    "WFDB: 10^9 channels": _wfdb(lambda text: text.replace("rec 3 ", "rec 1000000000 ")),
    "WFDB: -3 channels": _wfdb(lambda text: text.replace("rec 3 ", "rec -3 ")),
    "WFDB: format 999": _wfdb(lambda text: text.replace("rec.dat 16 ", "rec.dat 999 ")),
    "WFDB: frames of 10^9": _wfdb(lambda text: text.replace("rec.dat 16 ", "rec.dat 16x1000000000 ")),
    "WFDB: samples in /etc": _wfdb(lambda text: text.replace("rec.dat", "/etc/passwd")),
    "WFDB: samples above the folder": _wfdb(lambda text: text.replace("rec.dat", "../../../etc/passwd")),
    "WFDB: unit of escapes": _wfdb(lambda text: text.replace("/mV", "/\x1b[31m")),
    "WFDB: 2 MB of header": _wfdb(lambda text: text + "#" * (2 << 20)),
    "WFDB: not text": _text("rec.hea", bytes(range(256)) * 8),
    "WFDB: contains itself": _segments("rec 40\nrec 40\n"),
    "WFDB: no segment": _segments("nowhere 40\nelsewhere 40\n"),
    "WFDB: segment above": _segments("../rec 40\n/etc/passwd 40\n"),
    "WFDB: 10^9 segments": _text("rec.hea", "rec/1000000000 3 250 80\n"),
    "EDF: 10^8 records": _bad_edf(236, b"99999999"),
    "EDF: -1 records": _bad_edf(236, b"-5      "),
    "EDF: records of 0 s": _bad_edf(244, b"0       "),
    "EDF: records of 10^-300 s": _bad_edf(244, b"1e-300  "),
    "EDF: records of NaN s": _bad_edf(244, b"nan     "),
    "EDF: 9999 signals": _bad_edf(252, b"9999"),
    "EDF: -1 signals": _bad_edf(252, b"-1  "),
    "EDF: header of text": _bad_edf(184, b"ha!     "),
    "EDF: cut in the header": _cut(_edf, 0.1),
    "DICOM: cut": _cut(_dicom, 0.3),
    "DICOM: nothing": _text("rec.dcm", bytes(128) + b"DICM"),
    "DICOM: a length beyond the file": _text(
        "rec.dcm", bytes(128) + b"DICM" + struct.pack("<HH2sHI", 0x5400, 0x100, b"SQ", 0, 0xFFFFFFF0)
    ),
    "DICOM: 200,000 sequences": _text(
        "rec.dcm",
        bytes(128)
        + b"DICM"
        + struct.pack("<HH2sHIHHI", 0x5400, 0x100, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF) * 20_000,
    ),
    "HDF5: 3 GB of nothing": _hdf5_bomb,
    "HDF5: a link outside": _hdf5_outside,
    "HDF5: a unit outside": _hdf5_unit_outside,
    "HDF5: cut": _cut(lambda folder: write_hdf5(folder / "rec.h5", VALUES, fs=250, unit="mV"), 0.5),
    "HDF5: signature alone": _text("rec.h5", b"\x89HDF\r\n\x1a\n"),
    "MATLAB: 400 MB of zeros in 400 KB": lambda folder: (
        savemat(folder / "rec.mat", {"val": np.zeros((3, 16 << 20))}, do_compression=True) or folder / "rec.mat"
    ),
    "MATLAB: cut": _cut(lambda folder: savemat(folder / "rec.mat", {"val": VALUES}) or folder / "rec.mat", 0.5),
    "MATLAB: texts": lambda folder: savemat(folder / "rec.mat", {"val": "a" * 100}) or folder / "rec.mat",
    "XML: a billion laughs": _xml(f"<!DOCTYPE a [{ENTITIES}]><AnnotatedECG>&e11;</AnnotatedECG>"),
    "XML: a file of the machine": _xml(
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><AnnotatedECG>&x;</AnnotatedECG>'
    ),
    "XML: an address": _xml(f'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/{PAYLOAD}"><RestingECG/>'),
    "XML: 200,000 levels": _xml("<RestingECG>" + "<a>" * 200_000),
    "XML: 200,000 closed levels": _xml("<RestingECG>" + "<a>" * 200_000 + "</a>" * 200_000 + "</RestingECG>"),
    "XML: nothing": _xml("<RestingECG></RestingECG>"),
    "XML: HL7 of NaN": _xml(hl7(VALUES, LEADS, scale="NaN")),
    "XML: HL7 step 0": _xml(hl7(VALUES, LEADS, step_ms=0.0)),
    "XML: MUSE rate 0": _xml(muse(VALUES, LEADS, rate=0)),
    "XML: MUSE unit of escapes": _xml(muse(VALUES, LEADS, unit="&#x1b;")),
    "XML: Philips resolution as text": _xml(philips(VALUES, LEADS, resolution="ha")),
    "SCP: cut": _cut(lambda folder: _text("rec.scp", scp(VALUES, LEADS))(folder), 0.4),
    "SCP: zeros": _text("rec.scp", bytes(1 << 16)),
    "CSV: empty": _text("rec.csv", ""),
    "CSV: a gzip of 500 MB": lambda folder: _gzip(folder / "rec.csv.gz", b"1,2,3\n" * (80 << 20)),
    "CSV: a gzip of one line": lambda folder: _gzip(folder / "rec.csv.gz", b"1" * (200 << 20)),
    "CSV: 10^5 columns": _text("rec.csv", ",".join(f"c{n}" for n in range(100_000)) + "\n"),
    "CSV: binary": _text("rec.csv", bytes(range(256)) * 100),
    "CSV: an open quote": _text("rec.csv", 'I,II\n"' + "1,2\n" * 100_000),
    "CSV: infinite": _text("rec.csv", "I,II\n" + "inf,nan\n" * 100),
    "CSV: one number of a megabyte": _text("rec.csv", "I,II\n" + "9" * (1 << 20) + ",2\n"),
    **{
        f"a pipe {suffix}": lambda folder, suffix=suffix: _pipe_of(folder / f"rec{suffix}")
        for suffix in (".npy", ".npz", ".h5", ".mat", ".edf", ".dcm", ".xml", ".scp", ".csv", ".csv.gz", ".hea")
    },
    "no known type": _text("rec.exe", b"MZ" + bytes(100)),
    "empty": _text("rec.edf", b""),
}
DIGITS = "9" * 5000
RECORDINGS |= {
    f"WFDB: 5000 digits of {name}": _wfdb(lambda text, old=old, new=new: text.replace(old, new.replace("9", DIGITS), 1))
    for name, (old, new) in {
        "segments": ("rec ", "rec/9 "), "channels": ("rec 3 ", "rec 9 "), "samples": (" 250 40", " 250 9"),
        "samples in a frame": (" 16 ", " 16x9 "), "skew": (" 16 ", " 16:9 "), "offset": (" 16 ", " 16+9 "),
        "baseline": ("/mV ", "(9)/mV "), "the first value": ("/mV 16 0 ", "/mV 16 9 "),
    }.items()
} | {
    "WFDB: 5000 digits of a segment": _segments(f"a {DIGITS}\nb 40\n"),
    "WFDB: a segment in a pipe": lambda folder: (_pipe_of(folder / "a.hea"), _segments("a 40\nb 40\n")(folder))[1],
    "WFDB: a gain of 10^999": _wfdb(lambda text: text.replace("/mV", "e999/mV")),
}  # fmt: skip
TABLE = "record,label\nrec,1\na,0\nb,1\n"


def _records(table: str | bytes = TABLE, change: Callable[[Path], object] = lambda records: None) -> Write:
    """A table of labels and a folder of three WFDB records, of which one, `rec`, is changed."""

    def write(folder: Path) -> Path:
        (folder / "records").mkdir()
        for name in ("rec", "a", "b"):
            write_wfdb(folder / "records", digital(samples=3000), name=name)
        change(folder / "records")
        (folder / "t.csv").write_bytes(table.encode() if isinstance(table, str) else table)
        return folder

    return write


def _linked(name: str, target: str) -> Callable[[Path], object]:
    def change(records: Path) -> None:
        (records / name).unlink(missing_ok=True)
        (records / name).symlink_to(target)

    return change


def _pipe(name: str) -> Callable[[Path], object]:
    def change(records: Path) -> None:
        (records / name).unlink(missing_ok=True)
        os.mkfifo(records / name)

    return change


def _header(old: str, new: str) -> Callable[[Path], object]:
    def change(records: Path) -> None:
        path = records / "rec.hea"
        path.write_text(path.read_text().replace(old, new))

    return change


def _table(make: Callable[[Path], object]) -> Write:
    """The table itself is something else."""

    def write(folder: Path) -> Path:
        _records()(folder)
        (folder / "t.csv").unlink()
        make(folder / "t.csv")
        return folder

    return write


def _packed_table(folder: Path, rows: bytes) -> Path:
    return _records(gzip.compress(TABLE.encode() + rows, 1))(folder)


RECORDS: dict[str, Write] = {
    "samples without end": _records(change=_linked("rec.dat", "/dev/zero")),
    "samples in a pipe": _records(change=_pipe("rec.dat")),
    "a header without end": _records(change=_linked("rec.hea", "/dev/zero")),
    "a header in a pipe": _records(change=_pipe("rec.hea")),
    "a header that links to itself": _records(change=_linked("rec.hea", "rec.hea")),
    "a header of 5000 digits": _records(change=_header("rec 3", f"rec/{DIGITS} 3")),
    "a recording without end": _records(TABLE.replace("rec,", "zero,"), _linked("zero.npy", "/dev/zero")),
    "a recording in a pipe": _records(TABLE.replace("rec,", "pipe,"), _pipe("pipe.npy")),
    "samples in /dev/zero": _records(change=_header("rec.dat", "/dev/zero")),
    "a zero byte in the name of the samples": _records(change=_header("rec.dat", "rec\0.dat")),
    "a table in a pipe": _table(os.mkfifo),
    "a table without end": _table(lambda path: path.symlink_to("/dev/zero")),
    "a table that is a folder": _table(Path.mkdir),
    "a table that links to itself": _table(lambda path: path.symlink_to("t.csv")),
    "a table of 2 MB in a row": _records("a" * (2 << 20)),
    "a table of formats of spreadsheets": _table(lambda path: _member(path, "xl/worksheets/sheet1.xml", b"<a>" * 1000)),
    "a table of 20 million rows": lambda folder: _packed_table(folder, b",\n" * 20_000_000),
    "a table of 200,000 unknown records": lambda folder: _packed_table(
        folder, b"".join(b"%d,1\n" % n for n in range(200_000))
    ),
    "a table of 60 rows of 900,000 cells": lambda folder: _packed_table(folder, (b"," * 900_000 + b"\n") * 60),
    "a label of 199 letters in 500,000 rows": lambda folder: _packed_table(
        folder, b"x,%s\n" % (b"q" * 199) + b"".join(b"x%d,1\n" % n for n in range(500_000))
    ),
    "a name above the folder": _records("record,label\n../records/rec,1\na,0\nb,1\n"),
    "a name in /etc": _records("record,label\n/etc/passwd,1\na,0\nb,1\n"),
    "a zero byte in a name": _records("record,label\nre\0c,1\na,0\nb,1\n"),
    "a name of 5000 characters": _records("record,label\n" + "a" * 5000 + ",1\na,0\nb,1\n"),
    "a name of escapes and lines": _records('record,label\n"\x1b[31mred\nerror: fake",1\na,0\nb,1\n'),
}
WINDOWS: dict[str, Write] = {
    "CSV: a gzip of 500 MB": lambda folder: _gzip(
        folder / "w.csv.gz", b"signal_0,signal_1,label\n" + b"0,0,1\n" * (80 << 20)
    ),
    "CSV: a gzip of one line": lambda folder: _gzip(folder / "w.csv.gz", b"1" * (200 << 20)),
    "CSV: 10^5 columns": _text("w.csv", ",".join(f"signal_{n}" for n in range(100_000)) + ",label\n"),
    "CSV: an open quote": _text("w.csv", 'signal_0,signal_1,label\n"' + "1,2,0\n" * 100_000),
    "CSV: a label of a megabyte": _text("w.csv", "signal_0,signal_1,label\n1,2," + "a" * (1 << 20) + "\n2,1,0\n" * 3),
    "CSV: labels of measurements": _text(
        "w.csv", "signal_0,signal_1,label\n" + "".join(f"1,2,{n / 7}\n" for n in range(99))
    ),
    "CSV: zero bytes": _text("w.csv", b"signal_0,signal_1,label\n" + b"\0,\0,\0\n" * 100),
    "CSV: beyond float": _text("w.csv", "signal_0,signal_1,label\n1e60,2,0\n2,1,1\n"),
    "NPZ: 1.5 GB of zeros": lambda folder: _zeros_npz(folder / "w.npz", (750_000, 500)),
    "NPZ: a shape beyond the data": lambda folder: _member(
        folder / "w.npz", "signal.npy", _npy_header("(9, 1000000000)")
    ),
    "NPZ: pickled labels": lambda folder: _member(
        folder / "w.npz", "label.npy", _pickled_array(), **{"signal.npy": _npy_header("(2, 4)") + bytes(32)}
    ),
    "NPZ: labels of 10^9 letters": lambda folder: _npz(
        folder / "w.npz", signal=np.eye(4), label=np.array(["a" * 10_000_000, "b", "a", "b"])
    ),
    "NPZ: beyond float32": lambda folder: _npz(folder / "w.npz", signal=np.eye(4) * 1e39, label=[0, 1, 0, 1]),
    **{
        f"NPZ: a label {name}": lambda folder, label=label: _npz(
            folder / "w.npz", signal=np.eye(4), label=np.array([label, "b"] * 2)
        )
        for name, label in {
            "of half a character": "AF\ud800",
            "of bytes": "A\udce9F",
            "that nobody sees": "\u3164",
            "of marks": "\u0301" * 9,
        }.items()
    },
    "NPZ: NaN": lambda folder: _npz(folder / "w.npz", signal=np.full((4, 9), np.nan), label=[0, 1, 0, 1]),
    "NPZ: constant": lambda folder: _npz(folder / "w.npz", signal=np.ones((4, 9)), label=[0, 1, 0, 1]),
    "NPZ: a name twice": lambda folder: _twice(folder / "w.npz"),
    "NPZ: a pickle": _text("w.npz", pickle.dumps(_Runs())),
    "NPZ: 67 million classes": lambda folder: _packed_npz(
        folder / "w.npz", {"classes": (67_000_000, "?")}, signal=np.eye(4), label=np.eye(4, 2)
    ),
    "NPZ: 8 million classes": lambda folder: _packed_npz(
        folder / "w.npz", {"classes": (8_000_000, "f8")}, signal=np.eye(4), label=np.eye(4, 2)
    ),
    "NPZ: 30 million windows": lambda folder: _packed_npz(
        folder / "w.npz", {"signal": ((30_000_000, 2), "i1"), "label": (30_000_000, "?")}
    ),
    "CSV: a gzip of 10 million windows": lambda folder: _gzip(
        folder / "w.csv.gz", b"signal_0,signal_1,label\n" + b"0,1,1\n1,0,0\n" * (5 << 20)
    ),
    "CSV: a label of 199 letters": lambda folder: _gzip(
        folder / "w.csv.gz", b"signal_0,signal_1,label\n1,0,%s\n" % (b"q" * 199) + b"0,1,1\n1,0,0\n" * (2 << 20)
    ),
}
POOLS: dict[str, Write] = {
    "NPZ: 1.5 GB of zeros": lambda folder: _zeros_npz(
        folder / "p.npz", (375_000_000,), offset=[0, 375_000_000], record=["a"]
    ),
    "NPZ: offset beyond the signal": lambda folder: write_recordings(
        folder / "p.npz", offset=[0, 10**12], record=["a"]
    ),
    "NPZ: offset of 2^62": lambda folder: write_recordings(folder / "p.npz", offset=[0, 1 << 62], record=["a"]),
    "NPZ: offset falls": lambda folder: write_recordings(folder / "p.npz", offset=[0, 9, 5], record=["a", "b"]),
    "NPZ: offset NaN": lambda folder: write_recordings(folder / "p.npz", offset=[0, np.nan], record=["a"]),
    "NPZ: offset of two axes": lambda folder: write_recordings(folder / "p.npz", offset=[[0, 5]], record=["a"]),
    "NPZ: infinite": lambda folder: write_recordings(folder / "p.npz", [np.full(2000, np.inf)], ["a"]),
    "NPZ: 10^5 leads": lambda folder: write_recordings(
        folder / "p.npz", [np.ones((1000, 9))], ["a"], leads=["I"] * 1000
    ),
    "NPZ: rate 0": lambda folder: write_recordings(folder / "p.npz", sampling_rate=0),
    "NPZ: rate 10^-300": lambda folder: write_recordings(folder / "p.npz", sampling_rate=1e-300),
    "NPZ: 66 million records": lambda folder: _packed_npz(
        folder / "p.npz", {"offset": (66_000_001, "i1"), "record": (66_000_000, "?")}, signal=np.arange(2000.0), fs=100
    ),
    "NPZ: 66 million records, 3 offsets": lambda folder: _packed_npz(
        folder / "p.npz", {"record": (66_000_000, "?")}, offset=[0, 5, 9], signal=np.arange(9.0), fs=100
    ),
    "NPZ: 600,000 records": lambda folder: _packed_npz(
        folder / "p.npz", {"signal": (600_000, "i1")}, offset=np.arange(600_001), record=np.arange(600_000), fs=100
    ),
    "NPZ: offset of fractions": lambda folder: write_recordings(folder / "p.npz", offset=[0, 9.5], record=["a"]),
    "NPZ: a name twice": lambda folder: write_recordings(folder / "p.npz", record=["a"] * 12),
    "NPZ: two units": lambda folder: write_recordings(folder / "p.npz", unit=["mV", "uV"]),
    "NPZ: beyond float": lambda folder: write_recordings(folder / "p.npz", [np.full(2000, 1.7e308)], ["a"]),
    "NPZ: beyond double": lambda folder: write_recordings(
        folder / "p.npz", [np.full(2000, np.longdouble(10) ** 4000)], ["a"]
    ),
    "NPZ: pickled names": lambda folder: _member(
        folder / "p.npz", "record.npy", _pickled_array(), **{"offset.npy": _npy_header("(2,)", "'<i8'") + bytes(16)}
    ),
    "xz: 2 GB of zeros": lambda folder: _xz(folder, b"\0" * (256 << 20), 1 << 30),
    "xz: all zeros": lambda folder: _xz(folder, b"\0" * (256 << 20), 128 << 20),
    "xz: longer than offset": lambda folder: _xz(folder, bytes(range(256)) * 100, 99),
    "xz: shorter than offset": lambda folder: _xz(folder, bytes(range(256)) * 100, 99_999),
    "xz: cut": lambda folder: _xz(folder, bytes(range(256)) * 100, 12_800, kept=0.5),
    "xz: a dictionary of 1.5 GB": lambda folder: _xz(
        folder, bytes(range(256)) * 100, 12_800, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1536 << 20}]
    ),
    "xz: none": lambda folder: _xz(folder, b"", 10, raw=b"no xz"),
}


def _zeros_npz(path: Path, shape: tuple[int, ...] = (3, 125_000_000), **others: object) -> Path:
    """1.5 GB of float32 zeros in 1.5 MB, written without taking that memory."""
    piece = bytes(16 << 20)
    left = 4 * int(np.prod(shape))
    arrays: dict[str, object] = {"leads": LEADS, "fs": 250, "unit": "mV"} if len(shape) == 2 and shape[0] == 3 else {}
    arrays |= {"label": np.arange(shape[0]) % 2} if not others and not arrays else {}
    arrays |= {"sampling_rate": 100, **others} if others else {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open("signal.npy", "w", force_zip64=True) as member:
            member.write(_npy_header(str(shape)))
            while left:
                left -= member.write(piece[: min(left, len(piece))])
        for key, value in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, np.asarray(value))
            file.writestr(f"{key}.npy", buffer.getvalue())
    return path


def _packed_npz(path: Path, large: dict[str, tuple[object, str]], **others: object) -> Path:
    """An archive of zeros of shapes and types in little space, beside other arrays."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for key, (shape, kind) in large.items():
            with file.open(f"{key}.npy", "w") as member:
                np.save(member, np.zeros(shape, kind))  # type: ignore[arg-type]
        for key, value in others.items():
            with file.open(f"{key}.npy", "w") as member:
                np.save(member, np.asarray(value))
    return path


def _gzip(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, 1))
    return path


def _twice(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for value in (0, 1):
            buffer = io.BytesIO()
            np.save(buffer, np.full((4, 9), value))
            file.writestr("signal.npy", buffer.getvalue())
    return path


def _xz(
    folder: Path, content: bytes, samples: int, *, kept: float = 1.0, raw: bytes | None = None, filters=None
) -> Path:
    index = write_recordings(folder / "p_index.npz", signal=None, offset=[0, samples], record=["a"])
    packed = lzma.compress(content, preset=None if filters else 0, filters=filters) if raw is None else raw
    (folder / "p.delta16.xz").write_bytes(packed[: int(kept * len(packed))])
    return index
