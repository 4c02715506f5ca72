"""The largest memory that a process has taken, reset in between: what the next step alone needs."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Bytes at the fullest moment since `reset`: allocated on the device with CUDA, resident in this process otherwise.

    Unlike `MemoryMeter` it needs no call at the right moment: the kernel keeps the mark. Only Linux lets a process
    reset its own; elsewhere the peak is that of its whole life, and on MPS it does not see the accelerator.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.reset()

    def reset(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif sys.platform == "linux":
            _CLEAR.write_text("5")

    def read(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        if sys.platform == "linux":
            return status_bytes("VmHWM")  # not ru_maxrss: a started process takes its parent's mark over
        info = psutil.Process().memory_info()
        return getattr(info, "peak_wset", info.rss)


def status_bytes(name: str) -> int:
    """What Linux says of this process under `name`, such as "VmRSS"."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def free_memory(device: torch.device) -> int:
    """Bytes that a new process may take now: of the device with CUDA, of this machine otherwise."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
