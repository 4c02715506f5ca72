"""Frozen convolution with a long kernel by FFT; the kernel is transformed only once."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn


class FrozenSpectrum:
    """Spectrum of the kernel of a grouped `nn.Conv1d` (stride 1, padding taps // 2), for one signal length.

    The result is that of the convolution up to float32 rounding, independent of autocast. A parametrisation of the
    kernel, such as weight norm, is evaluated only once. `benchmarks/micro.py` measures the speed.
    """

    def __init__(self, conv: nn.Conv1d, length: int) -> None:
        from scipy.fft import next_fast_len

        self._length, self._groups = length, conv.groups
        self._sources = tuple(conv.parameters())
        self._state = self._state_of(conv)
        with torch.no_grad():
            kernel = conv.weight.float()
            taps = kernel.shape[-1]
            # Zero-padding prevents circular overlap at both ends.
            padding = max(taps // 2, taps - 1 - taps // 2)
            self._points = cast(int, next_fast_len(length + padding, real=True))
            spectrum = torch.fft.rfft(kernel, n=self._points).conj()  # conjugate: torch's convolution is a correlation
            frequency = torch.arange(spectrum.shape[-1], device=kernel.device)
            spectrum = spectrum * torch.exp(-2j * math.pi * (taps // 2) / self._points * frequency)  # shift by padding
            outputs, inputs = kernel.shape[0] // conv.groups, kernel.shape[1]
            self._spectrum = spectrum.view(conv.groups, outputs, inputs, -1).permute(0, 3, 1, 2).contiguous()
            self._bias = None if conv.bias is None else conv.bias.detach().float()[:, None].clone()

    def is_current(self, conv: nn.Conv1d, length: int) -> bool:
        """Whether this is the spectrum of the current weights of `conv` for signals of `length` samples."""
        now = tuple(conv.parameters())
        same = len(now) == len(self._sources) and all(a is b for a, b in zip(now, self._sources, strict=True))
        return same and self._length == length and self._state == self._state_of(conv)

    def __call__(self, signal: Tensor) -> Tensor:
        """Filter (batch, channels, length) to the same shape, float32; the signal has a gradient, the kernel none."""
        batch, channels, length = signal.shape
        bands = torch.fft.rfft(signal.float(), n=self._points).view(batch, self._groups, channels // self._groups, -1)
        mixed = self._spectrum @ bands.permute(1, 3, 2, 0)  # (groups, frequencies, channels of a group, batch)
        filtered = torch.fft.irfft(mixed.permute(3, 0, 2, 1).flatten(1, 2), n=self._points)[..., :length]
        return filtered if self._bias is None else filtered + self._bias

    @staticmethod
    def _state_of(conv: nn.Conv1d) -> tuple[Any, ...]:
        return tuple((parameter._version, parameter.data_ptr()) for parameter in conv.parameters())
