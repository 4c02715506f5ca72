"""Memory of a training: its peak, and keeping what is freed."""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import cache
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
