"""HDF5 and MATLAB files of one recording, and HDF5 files of many, through h5py and scipy.

HDF5 has no standard layout for ECG. Read is the only array of numbers, the only one with a usual name (`signal`, `ecg`,
`tracings`, `val`, ...), or the one that the user names. Its shape is (leads, samples) or (samples,), or (recordings,
leads, samples) with the recordings' names in an array such as `exam_id`. Optional: `sampling_rate` or `fs` (Hz),
`leads` (names in order) and `unit`, as attributes of the array or of the file, or as arrays beside it.

A damaged file can crash the HDF5 library or send it into an endless loop. It therefore runs in a process of its own
(`hdf5_worker`), one for each process that reads, which is ended after `SECONDS` of processor time and a further second
for each `BYTES` of the file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.readers.base import FileReader, ReadOptions, Recording, missing_library, note
from ecgtune.io.readers.npz_archive import ArrayFacts
from ecgtune.io.readers.numpy_files import array_recording
from ecgtune.utils.files import open_file

SECONDS, BYTES = 2.0, 5_000_000
_WORKER = Path(__file__).with_name("hdf5_worker.py")


class _Worker:
    """The process and its owner: after a fork the pipes are still the parent's."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        command = [sys.executable, str(_WORKER), str(self.owner)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes] | None:
        """The answer, or None when the process was ended or ended itself."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            return None
        if not line.endswith(b"\n"):
            return None
        response = json.loads(line)
        data = self.process.stdout.read(response["bytes"])
        return (response, data) if len(data) == response["bytes"] else None

    def end(self) -> int:
        """End the process; return its exit status, negative for the signal that ended it before."""
        self.process.kill()
        self.process.communicate()
        return self.process.returncode


_lock = threading.Lock()
_worker: _Worker | None = None
#: Files at which the library crashed or was ended: path, size and time of change. They are not tried again.
_crashed: set[tuple[str, int, int]] = set()


def _ask(path: Path, **request: Any) -> tuple[dict[str, Any], bytes]:
    """Ask the worker about a file. Raises DataError."""
    global _worker
    if find_spec("h5py") is None:
        raise missing_library("h5py", "hdf5", path)
    nothing = {"dataset": None, "member": None, "members": False, "index": None}
    with open_file(path) as file:  # a missing file, or a pipe, has another error than a damaged one
        facts = os.fstat(file.fileno())
    seconds, known = SECONDS + facts.st_size / BYTES, (os.path.abspath(path), facts.st_size, facts.st_mtime_ns)
    answer = None
    with _lock:
        for _ in range(2 if known not in _crashed else 0):
            if _worker is None or _worker.owner != os.getpid() or _worker.process.poll() is not None:
                _worker = _Worker()
            answer = _worker.ask({**nothing, "path": known[0], "seconds": seconds, **request})
            if answer is not None:
                break
            status, _worker = _worker.end(), None
            if status != -9:  # SIGKILL: the thread that started it has ended; ask one that this thread starts
                _crashed.add(known)
                break
    if answer is None:
        raise DataError(
            f"{path}: crashed the library, or occupied it for {seconds:.0f} s; it is damaged, copy it again"
        )
    response, data = answer
    if "refused" in response:
        raise DataError(f"{path}: {response['refused']}")
    return response, data


def read_hdf5(path: Path, options: ReadOptions) -> Recording:
    """Read a file, or the recording `path.name` of the file `path.parent`, without the zeros that fill its row.

    Data in another file (links, virtual datasets) are refused.
    """
    (file,), member = _files(path), None if path.is_file() else path.name
    asked = {"dataset": options.dataset, "member": member}
    response, _ = _ask(file, **asked)
    dtype = np.dtype(response["dtype"])

    def load(index: tuple[slice, ...]) -> NDArray[Any]:
        ends = [part.indices(length)[:2] for part, length in zip(index, response["shape"], strict=True)]
        answer, data = _ask(file, **asked, index=ends)
        return np.frombuffer(data, dtype).reshape(answer["shape"])

    facts = ArrayFacts(
        response["rate"], response["unit"] and response["unit"][0], response["leads"] and tuple(response["leads"])
    )
    recording = array_recording(path, tuple(response["shape"]), dtype, load, facts, options)
    return recording if member is None else _without_padding(recording)


def _without_padding(recording: Recording) -> Recording:
    """Remove the samples at start and end that are zero in all leads: rows of an array are equally long."""
    used = np.flatnonzero((recording.signal != 0).any(axis=0))
    if not len(used):
        raise DataError(f"{recording.path}: holds zeros only; it is an empty row")
    first, last = int(used[0]), int(used[-1]) + 1
    if (first, last) == (0, recording.signal.shape[1]):
        return recording
    note("recordings filled up with zeros in their file were cut to their own length")
    return replace(recording, signal=recording.signal[:, first:last])


def members(path: Path) -> tuple[str, ...] | None:
    """Return the names of the recordings in a file, None for a file of one, and for one that cannot be read."""
    try:
        found = _ask(path, members=True)[0]["members"]
    except (DataError, OSError):  # reading it reports the reason
        return None
    return None if found is None or any("/" in name for name in found) else tuple(found)


def _files(path: Path) -> tuple[Path, ...]:
    return (path if path.is_file() or not path.parent.is_file() else path.parent,)


HDF5 = FileReader(
    "HDF5",
    (".h5", ".hdf5"),
    read_hdf5,
    signatures=((0, b"\x89HDF\r\n\x1a\n"),),
    files=_files,
    members=members,
    parts_of_time=True,
)
MATLAB = FileReader(
    "a MATLAB file", (".mat",), read_hdf5, signatures=((0, b"MATLAB "),), files=_files, parts_of_time=True
)
