"""Peak memory of a training."""

from __future__ import annotations

import ctypes
import gc
import sys

import psutil
import torch


class MemoryMeter:
    """Largest memory seen: allocated on the device with CUDA or MPS, resident size of this process on a CPU.

    On a CPU it is read when called, so call it where memory is fullest: between the forward and the backward pass.
    """

    def __init__(self, device: torch.device, peak: int = 0) -> None:
        self._device = device
        self._process = psutil.Process()
        self.peak = peak
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif device.type == "cpu" and sys.platform == "linux":
            # What an earlier run in this process has freed would otherwise count as memory of this one.
            ctypes.CDLL(None).malloc_trim(0)

    def read(self) -> None:
        if self._device.type == "cuda":
            now = torch.cuda.max_memory_allocated(self._device)
        elif self._device.type == "mps":
            now = torch.mps.current_allocated_memory()
        else:
            now = self._process.memory_info().rss
        self.peak = max(self.peak, now)
