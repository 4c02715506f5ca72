"""Freed memory that is kept, counted in the kernel's page faults, and the peak that a meter sees."""

import resource
import subprocess
import sys

import pytest
import torch

from ecgtune.training import memory
from ecgtune.training.memory import MemoryMeter
from helpers.training import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what glibc does with freed memory")

# In a process of its own: the setting holds for a whole process.
FAULTS = """
import resource
import sys
import torch
from ecgtune.training.memory import retain_freed_memory

def faults():
    for _ in range(24):  # the first ones find no freed array that their alignment fits
        torch.ones(16, 2**20).sum()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(16, 2**20).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
assert retain_freed_memory()
print(given_back, faults())
"""


@pytest.mark.slow
def test_freed_memory_is_kept_for_the_next_arrays() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    given_back, kept = map(int, done.stdout.split())
    # 64 MiB are 16,384 pages of 4 KiB each time, unless the kernel gives larger ones.
    assert kept < given_back / 4


def test_a_meter_gives_back_what_is_free_and_sees_what_is_taken() -> None:
    taken = torch.ones(64, 2**20)
    size = taken.nbytes
    before = MemoryMeter(torch.device("cpu"))
    before.read()
    del taken
    after = MemoryMeter(torch.device("cpu"))
    after.read()
    assert before.peak - after.peak > 0.9 * size
    assert after.peak <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_c_library_without_those_functions_is_no_error(monkeypatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.release_freed_memory()
    assert not memory.retain_freed_memory.__wrapped__()
    meter = MemoryMeter(torch.device("cpu"))
    meter.read()
    assert meter.peak > 0


def test_a_finished_training_gives_back_what_is_free(tmp_path, monkeypatch) -> None:
    given = []
    monkeypatch.setattr("ecgtune.training.loop.release_freed_memory", lambda: given.append(True))
    run(tmp_path)
    assert given == [True]
