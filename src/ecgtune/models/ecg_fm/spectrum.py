"""A long frozen convolution by its spectrum: the kernel is transformed once, and a step costs next to nothing."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn


class FrozenSpectrum:
    """The kernel of a grouped `nn.Conv1d` (stride 1, padding taps // 2) in frequencies, for one length of signals.

    By the convolution theorem it gives what the convolution gives, rounded as float32 rounds, whatever autocast is in
    force. A parametrisation of the kernel, such as weight norm, is worked out once. `benchmarks/micro.py` measures
    what that is worth.
    """

    def __init__(self, conv: nn.Conv1d, length: int) -> None:
        self._length, self._groups = length, conv.groups
        self._sources = tuple(conv.parameters())
        self._state = self._now(conv)
        with torch.no_grad():
            kernel = conv.weight.float()
            taps = kernel.shape[-1]
            # Zeros behind the signal take up what reaches over either of its ends.
            reach = max(taps // 2, taps - 1 - taps // 2)
            self._points = cast(int, next_fast_len(length + reach, real=True))
            spectrum = torch.fft.rfft(kernel, n=self._points).conj()  # conjugate: torch's convolution is a correlation
            frequency = torch.arange(spectrum.shape[-1], device=kernel.device)
            spectrum = spectrum * torch.exp(-2j * math.pi * (taps // 2) / self._points * frequency)  # its padding
            outputs, inputs = kernel.shape[0] // conv.groups, kernel.shape[1]
            self._spectrum = spectrum.view(conv.groups, outputs, inputs, -1).permute(0, 3, 1, 2).contiguous()
            self._bias = None if conv.bias is None else conv.bias.detach().float()[:, None].clone()

    def holds(self, conv: nn.Conv1d, length: int) -> bool:
        """Whether this is the spectrum of `conv` as it is now, for signals of `length` samples."""
        now = tuple(conv.parameters())
        same = len(now) == len(self._sources) and all(a is b for a, b in zip(now, self._sources, strict=True))
        return same and self._length == length and self._state == self._now(conv)

    def __call__(self, signal: Tensor) -> Tensor:
        """(batch, channels, length) -> the same shape, float32; the gradient reaches the signal, not the kernel."""
        batch, channels, length = signal.shape
        bands = torch.fft.rfft(signal.float(), n=self._points).view(batch, self._groups, channels // self._groups, -1)
        mixed = self._spectrum @ bands.permute(1, 3, 2, 0)  # (groups, frequencies, channels of a group, batch)
        filtered = torch.fft.irfft(mixed.permute(3, 0, 2, 1).flatten(1, 2), n=self._points)[..., :length]
        return filtered if self._bias is None else filtered + self._bias

    @staticmethod
    def _now(conv: nn.Conv1d) -> tuple[Any, ...]:
        return tuple((parameter._version, parameter.data_ptr()) for parameter in conv.parameters())
