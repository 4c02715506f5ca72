"""Time and memory of every reader on the largest and on malicious files, with limits of 10 s and 1 GB per file.

    python benchmarks/reader_limits.py [CASE ...]

writes each file to a temporary folder and reads it in a separate process. Seconds are processor time of the reader and
its finished child processes; memory is the peak of its process, libraries included, and of its child process. The
helpers of the tests write the files. Results of all cases are in benchmarks/results/reader_limits.json; the exit status
is 1 if a case exceeds a limit.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from ecgtune.data.leads import STANDARD_LEADS  # noqa: E402
from ecgtune.errors import DataError  # noqa: E402
from ecgtune.io.readers.base import ReadOptions  # noqa: E402
from ecgtune.io.readers.registry import read_recording  # noqa: E402
from helpers.clinical_files import SCP_CODES, hl7, muse, philips, scp, xli  # noqa: E402
from helpers.recordings import dicom_group, write_csv, write_dicom, write_edf, write_hdf5, write_wfdb  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "reader_limits.json"
SECONDS, BYTES = 10.0, 1 << 30
LEADS = STANDARD_LEADS[:12]
LARGEST = ReadOptions().max_values // len(LEADS)  # samples of twelve leads
OPTIONS = {"sampling_rate": 500.0, "unit": "uV"}  # for files without rate and unit
Made = tuple[Path, dict[str, Any]]


def values(samples: int) -> np.ndarray:
    """Return random integers (12, samples), which compress poorly."""
    return np.random.default_rng(0).integers(-2000, 2000, (len(LEADS), samples), dtype=np.int16)


def wfdb(folder: Path, fmt: str) -> Made:
    return write_wfdb(folder, values(LARGEST), leads=LEADS, fmt=fmt), {}


def edf(folder: Path) -> Made:
    whole = values(LARGEST // 500 * 500)
    return write_edf(folder / "rec.edf", whole, leads=LEADS, rate=500), {}


def dicom(folder: Path) -> Made:
    write_dicom(folder / "rec.dcm", [dicom_group(values(LARGEST), leads=LEADS)])
    return folder / "rec.dcm", {}


def npy(folder: Path) -> Made:
    np.save(folder / "rec.npy", values(LARGEST).astype(np.float64))
    return folder / "rec.npy", {**OPTIONS, "lead_names": LEADS}


def npz(folder: Path) -> Made:
    arrays = {"signal": np.zeros((len(LEADS), LARGEST)), "leads": LEADS, "fs": 500, "unit": "uV"}
    np.savez_compressed(folder / "rec.npz", **arrays)
    return folder / "rec.npz", {}


def npz_of_many_members(folder: Path) -> Made:
    with zipfile.ZipFile(folder / "rec.npz", "w") as archive:
        for number in range(60_000):
            archive.writestr(f"a{number}.npy", b"")
    return folder / "rec.npz", {}


def hdf5(folder: Path, **dataset: Any) -> Made:
    import h5py

    path = write_hdf5(folder / "rec.h5", np.zeros((1, 2)))
    with h5py.File(path, "w") as file:
        file.create_dataset("signal", data=np.zeros((len(LEADS), LARGEST)), **dataset)
        file.attrs.update({"fs": 500, "unit": "uV", "leads": list(LEADS)})
    return path, {}


def csv(folder: Path) -> Made:
    return write_csv(folder / "rec.csv", values(LARGEST), LEADS), OPTIONS


def text(folder: Path, name: str, content: str | bytes, **options: Any) -> Made:
    """Write a file with this content."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path, options


def longest_xml(write: Callable[..., str]) -> Callable[[Path], Made]:
    """Return a writer of the longest recording whose document is smaller than 16 MB."""

    def make(folder: Path) -> Made:
        per_sample = len(write(values(2000), LEADS)) / 2000
        return text(folder, "rec.xml", write(values(int(0.97 * (1 << 24) / per_sample)), LEADS))

    return make


def longest_scp(folder: Path, differences: int) -> Made:
    """Write the longest recording for the format's 65,535 bytes per lead."""
    leads, samples = tuple(SCP_CODES), 12_000 if differences else 30_000  # codes of noise are longer than two bytes
    return text(folder, "rec.scp", scp(values(samples)[: len(leads)], leads, differences=differences))


def entities(folder: Path) -> Made:
    """Write nine levels of nested entities with ten references each."""
    names = "abcdefghij"
    pairs = zip(names[1:], names, strict=False)
    lines = "".join(f'<!ENTITY {name} "{10 * f"&{before};"}">' for name, before in pairs)
    return text(folder, "rec.xml", f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">{lines}]><x>&j;</x>')


def header_of_many_channels(folder: Path) -> Made:
    line = "rec.dat 16 1000(0)/mV 16 0 0 0 0 II\n"
    count = ((1 << 20) - 100) // len(line)
    (folder / "rec.dat").write_bytes(bytes(2 * count))
    wanted = ("II", *("-",) * (count - 1))
    return text(folder, "rec.hea", f"rec {count} 500 1\n" + count * line, lead_names=wanted)


def truncated_flac(folder: Path) -> Made:
    (folder / "rec.dat").write_bytes(b"fLaC" + bytes(1000))
    return text(folder, "rec.hea", "rec 1 500 16777216\nrec.dat 516 1000(0)/mV 16 0 0 0 0 II\n")


#: Title -> function that writes the file into a folder and returns its path and the read options.
CASES: dict[str, Callable[[Path], Made]] = {
    "WFDB, format 16, largest": lambda folder: wfdb(folder, "16"),
    "WFDB, format 212, largest": lambda folder: wfdb(folder, "212"),
    "WFDB, FLAC, largest": lambda folder: wfdb(folder, "516"),
    "WFDB, header of 28,000 channels": header_of_many_channels,
    "WFDB, FLAC that holds nothing": truncated_flac,
    "EDF+, largest": edf,
    "DICOM, largest": dicom,
    "NPY, float64, largest": npy,
    "NPZ, float64, zeros, compressed, largest": npz,
    "NPZ, 60,000 members": npz_of_many_members,
    "HDF5, float64, compressed, largest": lambda folder: hdf5(folder, compression="gzip"),
    "HDF5, float64, chunks of 64 samples": lambda folder: hdf5(folder, chunks=(12, 64)),
    "CSV, largest": csv,
    "CSV, 128 MB of commas": lambda folder: text(folder, "rec.csv", b"," * ((1 << 27) - 1), **OPTIONS),
    "CSV, 128 MB of line feeds": lambda folder: text(folder, "rec.csv", b"II\n" + b"\n" * ((1 << 27) - 8), **OPTIONS),
    "HL7 aECG, longest of 16 MB": longest_xml(hl7),
    "MUSE, longest of 16 MB": longest_xml(muse),
    "Philips, longest of 16 MB": longest_xml(philips),
    "Philips XLI, longest of 16 MB": longest_xml(lambda data, leads: philips(data, leads, packed=xli(data, leads))),
    "XML, entities of entities": entities,
    "XML, 16 MB of open elements": lambda folder: text(folder, "rec.xml", b"<a>" * ((1 << 24) // 3 - 1)),
    "SCP-ECG, longest": lambda folder: longest_scp(folder, 0),
    "SCP-ECG, differences, longest": lambda folder: longest_scp(folder, 1),
}


def read_one(path: str) -> None:
    """Read a file with the options from standard input and print the outcome as one line of JSON."""
    try:
        read = read_recording(Path(path), ReadOptions(**json.load(sys.stdin, object_hook=_tuples)))
        outcome = f"{read.signal.shape[0]} leads of {read.signal.shape[1]} samples"
    except DataError as error:
        outcome = "refused: " + str(error).removeprefix(f"{path}: ")[:140]
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    print(json.dumps({"outcome": outcome, "seconds": seconds, "peak_bytes": 1024 * peak()}))


def peak() -> int:
    """Return the peak memory (KiB) of this process and its running child processes, such as that of HDF5.

    `ru_maxrss` is not used, because a new process inherits it from its parent.
    """
    own, found = str(os.getpid()), 0
    for folder in (folder for folder in Path("/proc").iterdir() if folder.name.isdigit()):
        try:
            lines = (folder / "status").read_text().splitlines()
        except OSError:
            continue
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        if own in (folder.name, facts["PPid"].strip()):
            found += int(facts["VmHWM"].split()[0])
    return found


def _tuples(options: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}


def measured(name: str) -> dict[str, Any]:
    """Write the file of a case and read it."""
    with tempfile.TemporaryDirectory() as folder:
        path, options = CASES[name](Path(folder))
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        command = [sys.executable, __file__, "--read", str(path)]
        done = subprocess.run(command, input=json.dumps(options), capture_output=True, text=True, timeout=1200)
    found = json.loads(done.stdout) if done.returncode == 0 else {"outcome": done.stderr[-300:]}
    kept = found.get("seconds", SECONDS + 1) <= SECONDS and found.get("peak_bytes", BYTES + 1) <= BYTES
    return {"case": name, "file_bytes": size, **found, "kept": kept}


def main() -> None:
    if sys.argv[1:2] == ["--read"]:
        read_one(sys.argv[2])
        return
    rows = []
    for name in sys.argv[1:] or CASES:
        rows.append(measured(name))
        row = rows[-1]
        print(f"{'' if row['kept'] else 'ABOVE THE LIMIT  '}{json.dumps(row)}", flush=True)
    if not sys.argv[1:]:
        from machines import write_result  # imported here, because it imports torch

        write_result(RESULT, {"limits": {"seconds": SECONDS, "bytes": BYTES}, "rows": rows})
    sys.exit(0 if all(row["kept"] for row in rows) else 1)


if __name__ == "__main__":
    main()
