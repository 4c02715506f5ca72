"""Memory of a training: free memory, peak memory, and reuse of freed memory."""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import torch

from ecgtune.utils.machine import status_bytes

# Parameters of glibc's mallopt, and the largest int.
M_TRIM_THRESHOLD, M_MMAP_MAX, UNLIMITED = -1, -4, 2**31 - 1

#: How torch and the libraries under it say that memory has ended, beside MemoryError.
_NO_MEMORY = ("can't allocate memory", "out of memory", "could not allocate", "bad_alloc", "alloc_failed")


def out_of_memory(error: BaseException) -> bool:
    """Whether the error says that the memory of the machine or of its accelerator has ended."""
    said = isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _NO_MEMORY)
    return said or isinstance(error, MemoryError)


@cache
def retain_freed_memory() -> bool:
    """Let this process reuse the memory of freed arrays; return whether the C library supports it (glibc does).

    A training on a CPU frees and allocates the same large arrays in every step. By default glibc returns them to the
    kernel, which must clear and map thousands of new pages per step (`benchmarks/micro.py`). The peak does not change.
    """
    mallopt = _libc_function("mallopt")
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, UNLIMITED))


def release_freed_memory() -> bool:
    """Return freed memory to the kernel; return whether any was released (always False without glibc)."""
    trim = _libc_function("malloc_trim")
    return trim is not None and bool(trim(0))


def _libc_function(name: str) -> Any:
    """Return a function of the C library, or None if it has none of that name (musl)."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


class MemoryMeter:
    """Peak memory over calls of `read`: allocated on the device with CUDA or MPS, resident size of this process on CPU.

    On a CPU call `read` where memory use is highest, between forward and backward pass. Pages of files that were mapped
    since the start do not count where the system reports them (Linux), because it can evict those of the prefix cache
    at any time.
    """

    def __init__(self, device: torch.device, peak: int = 0) -> None:
        self._device = device
        self._process = psutil.Process()
        self.peak = peak
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif device.type == "cpu":
            release_freed_memory()  # else memory that an earlier run freed would count
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
    """Peak memory in bytes since construction: allocated on the device with CUDA, else resident size of this process.

    Unlike `MemoryMeter` it also sees peaks between calls, because the kernel records them. Only Linux can reset the
    peak of a process; elsewhere it covers the whole life of the process. Memory of an MPS device is not included.
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
            return status_bytes("VmHWM")  # not ru_maxrss, which a new process inherits from its parent
        info = psutil.Process().memory_info()
        return getattr(info, "peak_wset", info.rss)


def free_memory(device: torch.device) -> int:
    """Return the bytes available to a new process: of the device with CUDA, else of this machine."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
