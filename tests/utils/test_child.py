"""Processes end soon after the one that started them, also when that was killed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from helpers.recordings import LEADS, digital, write_hdf5

pytestmark = pytest.mark.skipif(os.name != "posix", reason="an orphan keeps its parent's number here")

WAITING = """
import subprocess, sys, os, time
code = f"from ecgtune.utils.child import end_with_parent; end_with_parent({os.getpid()}); {sys.argv[1]}"
child = subprocess.Popen([sys.executable, "-c", code])
print(child.pid, flush=True)
time.sleep(99)
"""
#: As a library in C that does not let Python run: `sleep` keeps the lock of the interpreter.
BUSY = "import ctypes; ctypes.PyDLL(None).sleep(99)"
BUSY_LIBRARY = f"""
def is_hdf5(path):
    open(path, "w").write("busy")
    {BUSY}
"""
READING = """
import sys
from pathlib import Path
from ecgtune.io.readers.hdf5_files import members
members(Path(sys.argv[1]))
"""
THREADS = """
import sys, threading
from pathlib import Path
from ecgtune.io.readers.registry import read_recording
path, found = Path(sys.argv[1]), []
for _ in range(4):
    thread = threading.Thread(target=lambda: found.append(read_recording(path).leads))
    thread.start()
    thread.join()
print(len(found))
"""
POOL = """
import sys
from ecgtune import ReadOptions, RecordSettings, read_records
if __name__ == "__main__":
    options = ReadOptions(sampling_rate=200.0, unit="mV")
    read_records(sys.argv[1], sys.argv[2], options=options, settings=RecordSettings(workers=2),
                 progress=lambda done, of: print(done, flush=True) or sys.stdin.read())
"""


def alive(processes):
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def wait_until_gone(processes, seconds=5.0):
    end = time.monotonic() + seconds
    while alive(processes) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(processes)


@pytest.mark.parametrize(
    "work",
    [
        "import time; time.sleep(99)",
        pytest.param(BUSY, marks=pytest.mark.skipif(sys.platform != "linux", reason="needs a signal of Linux")),
    ],
)
def test_a_child_ends_with_a_killed_parent(work):
    with subprocess.Popen([sys.executable, "-c", WAITING, work], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(parent.stdout.readline()))]
        time.sleep(0.3)  # the start of Python
        assert alive(children)
        parent.send_signal(signal.SIGKILL)
    wait_until_gone(children)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a signal of Linux")
def test_a_busy_worker_of_hdf5_ends_with_a_killed_command(tmp_path):
    (tmp_path / "h5py.py").write_text(BUSY_LIBRARY)
    file = tmp_path / "rec.h5"
    file.write_bytes(b"\x89HDF\r\n\x1a\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", READING, str(file)], env=environment) as parent:
        end = time.monotonic() + 60
        while file.read_bytes() != b"busy" and time.monotonic() < end:
            time.sleep(0.02)
        children = psutil.Process(parent.pid).children()
        assert len(alive(children)) == 1
        parent.send_signal(signal.SIGKILL)
    wait_until_gone(children)


def test_a_worker_of_hdf5_whose_thread_has_ended_is_replaced(tmp_path):
    file = write_hdf5(tmp_path / "rec.h5", digital(samples=40), fs=250, unit="mV", leads=LEADS)
    found = subprocess.run([sys.executable, "-c", THREADS, str(file)], capture_output=True, text=True)
    assert found.stdout == "4\n", found.stderr


@pytest.mark.slow
def test_processes_of_the_first_pass_end_with_a_killed_command_and_leave_nothing_for_the_next(tmp_path):
    table, records, cache = tmp_path / "labels.csv", tmp_path / "records", tmp_path / "cache"
    records.mkdir()
    for index in range(34):
        np.save(records / f"{index}.npy", np.random.default_rng(index).normal(size=1000).astype(np.float32))
    table.write_text("record,label\n" + "".join(f"{index},{index % 2}\n" for index in range(34)))
    (tmp_path / "script.py").write_text(POOL)
    command = [sys.executable, str(tmp_path / "script.py"), str(table), str(records)]
    settings = {"env": os.environ | {"ECGTUNE_CACHE": str(cache)}, "stdin": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, stdout=subprocess.PIPE, **settings) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "16\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(alive(children)) >= 2
        parent.send_signal(signal.SIGKILL)
    wait_until_gone(children)
    assert [path.name for path in cache.iterdir() if path.name.startswith("unfinished-")]
    assert (
        subprocess.run(command, stdout=subprocess.DEVNULL, **{**settings, "stdin": subprocess.DEVNULL}).returncode == 0
    )
    assert not [path.name for path in cache.iterdir() if path.name.startswith("unfinished-")]
