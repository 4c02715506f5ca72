"""Memory of a training: what is free, its peak, and keeping what is freed."""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import torch

# glibc's names for what mallopt sets, and the largest int.
M_TRIM_THRESHOLD, M_MMAP_MAX, UNLIMITED = -1, -4, 2**31 - 1


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed arrays for the next ones. Whether that could be asked for (glibc only).

    A training on a CPU frees and takes the same large arrays at every step. glibc gives each back to the kernel and
    gets new pages for the next, which the kernel clears and maps one by one, thousands a step
    (`benchmarks/micro.py`). The peak does not grow; `give_back_freed_memory` is for when a training is over.
    """
    mallopt = _of_libc("mallopt")
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, UNLIMITED))


def give_back_freed_memory() -> bool:
    """Hand what is free back to the kernel. Whether there was any (glibc; others do it unasked)."""
    trim = _of_libc("malloc_trim")
    return trim is not None and bool(trim(0))


def _of_libc(name: str) -> Any:
    """A function of the C library; None where there is none of that name, as in musl."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


class MemoryMeter:
    """Largest memory seen: allocated on the device with CUDA or MPS, resident size of this process on a CPU.

    On a CPU it is read when called, so call it where memory is fullest: between the forward and the backward pass.
    Pages of files that came in since the start do not count where the system tells them apart (Linux): it takes those
    of `training.prefix` back whenever something else needs the room.
    """

    def __init__(self, device: torch.device, peak: int = 0) -> None:
        self._device = device
        self._process = psutil.Process()
        self.peak = peak
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif device.type == "cpu":
            # What an earlier run in this process has freed would otherwise count as memory of this one.
            give_back_freed_memory()
        self._files = self._file_pages()

    def _file_pages(self) -> int:
        return getattr(self._process.memory_info(), "shared", 0)

    def read(self) -> None:
        if self._device.type == "cuda":
            now = torch.cuda.max_memory_allocated(self._device)
        elif self._device.type == "mps":
            now = torch.mps.current_allocated_memory()
        else:
            now = self._process.memory_info().rss - max(0, self._file_pages() - self._files)
        self.peak = max(self.peak, now)


class PeakMemory:
    """Peak in bytes since this was made: allocated on the device with CUDA, resident in this process otherwise.

    Unlike `MemoryMeter` it needs no call at the right time: the kernel keeps the mark. Only Linux lets a process reset
    its own; elsewhere the peak is that of its whole life, and on MPS it does not see the accelerator.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif sys.platform == "linux":
            Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        if sys.platform == "linux":
            return status_bytes("VmHWM")  # not ru_maxrss: a started process takes its parent's mark over
        info = psutil.Process().memory_info()
        return getattr(info, "peak_wset", info.rss)


def status_bytes(name: str) -> int:
    """An amount that Linux knows of this process, by its name, such as "VmRSS"."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def free_memory(device: torch.device) -> int:
    """Bytes that a new process may take now: of the device with CUDA, of this machine otherwise."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
