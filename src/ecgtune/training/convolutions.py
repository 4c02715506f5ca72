"""Convolutions under autocast on processors with AMX, where oneDNN computes some shapes wrongly.

With bf16 inputs, `conv1d` with 2 to 15 channels per group and a kernel of 16 samples or more, whose product is a
multiple of 32, returned numbers without relation to the convolution (PyTorch 2.13, oneDNN with AMX tiles; forward and
backward).
The bundled encoder has such a layer. These shapes are computed in float32; others stay in bf16.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

#: Kernels of PyTorch are replaced as long as this object exists.
_LIBRARY: list[torch.library.Library] = []
_CHANNELS, _TAPS, _MULTIPLE = 16, 16, 32


@cache
def repair_convolutions() -> bool:
    """Compute the shapes above in float32 from now on, if this machine computes one of them wrongly; return whether."""
    if not torch.cpu.get_capabilities().get("amx_bf16") or not _is_wrong():
        return False
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a kernel is replaced
        for name in ("conv1d", "conv1d.padding"):
            library.impl(name, _conv1d, "AutocastCPU", allow_override=True)
    _LIBRARY.append(library)
    return True


def _is_wrong() -> bool:
    generator = torch.Generator().manual_seed(0)
    signal, weight = (torch.randn(shape, generator=generator) for shape in ((1, 12, 64), (12, 12, 32)))
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        exact = torch.conv1d(signal, weight)
        found = torch.conv1d(signal.bfloat16(), weight.bfloat16()).float()
    return bool((found - exact).norm() > 0.1 * exact.norm())


def _conv1d(
    signal: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """`conv1d` under autocast: in the format of autocast, but for shapes that would be wrong, and for float64."""
    _, channels, taps = weight.shape
    wrong = 1 < channels < _CHANNELS and taps >= _TAPS and channels * taps % _MULTIPLE == 0
    dtype = torch.float32 if wrong else torch.get_autocast_dtype("cpu")
    bias = None if bias is None else _cast(bias, dtype)
    with torch.autocast("cpu", enabled=False):
        return torch.conv1d(_cast(signal, dtype), _cast(weight, dtype), bias, stride, padding, dilation, groups)


def _cast(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype) if values.is_floating_point() and values.dtype != torch.float64 else values
