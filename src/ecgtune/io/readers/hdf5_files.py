"""One recording in an HDF5 file, through h5py.

HDF5 has no standard layout for ECG. Read are a dataset `signal`, (leads, samples) or (samples,), and the attributes
`sampling_rate` or `fs` (Hz), `leads` (names in the order of the rows) and `unit` of the dataset or of the file.

A damaged file can crash the HDF5 library or send it into an endless loop. It therefore runs in a process of its own
(`hdf5_worker`), one for each process that reads, which is ended after `SECONDS` of processor time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.readers.base import FileReader, ReadOptions, Recording, missing_library
from ecgtune.io.readers.npz_archive import ArrayFacts
from ecgtune.io.readers.numpy_files import array_recording

SECONDS = 9.0  # for one file
_WORKER = Path(__file__).with_name("hdf5_worker.py")


class _Worker:
    """The process and its owner: after a fork the pipes are still the parent's."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, str(_WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def ask(self, path: Path, max_values: int) -> tuple[dict[str, Any], bytes] | None:
        """The answer, or None when the process was ended or ended itself."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps([os.path.abspath(path), max_values, SECONDS]).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            return None
        if not line.endswith(b"\n"):
            return None
        response = json.loads(line)
        data = self.process.stdout.read(response["bytes"])
        return (response, data) if len(data) == response["bytes"] else None

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


_lock = threading.Lock()
_worker: _Worker | None = None


def _ask(path: Path, max_values: int) -> tuple[dict[str, Any], bytes] | None:
    global _worker
    with _lock:
        if _worker is None or _worker.owner != os.getpid() or _worker.process.poll() is not None:
            _worker = _Worker()
        answer = _worker.ask(path, max_values)
        if answer is None:
            _worker.end()
            _worker = None
        return answer


def read_hdf5(path: Path, options: ReadOptions) -> Recording:
    """Read a file. Data in another file (links, virtual datasets) are refused."""
    if find_spec("h5py") is None:
        raise missing_library("h5py", "hdf5", path)
    with path.open("rb"):  # a missing file has another error than a damaged one
        pass
    answer = _ask(path, options.max_values)
    if answer is None:
        raise DataError(
            f"{path}: crashed the HDF5 library, or occupied it for {SECONDS:g} s; it is damaged, copy it again"
        )
    response, data = answer
    if "refused" in response:
        raise DataError(f"{path}: {response['refused']}")
    values: NDArray[Any] = np.frombuffer(data, response["dtype"]).reshape(response["shape"])
    facts = ArrayFacts(
        response["rate"], response["unit"] and response["unit"][0], response["leads"] and tuple(response["leads"])
    )
    return array_recording(path, values.shape, values.dtype, lambda: values, facts, options)


HDF5 = FileReader("HDF5", (".h5", ".hdf5"), read_hdf5, signatures=((0, b"\x89HDF\r\n\x1a\n"),))
