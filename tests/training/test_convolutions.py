"""Convolutions in bf16 are those of float32 but for rounding, on every processor."""

import pytest
import torch
from torch import nn

from ecgtune.training.precision import autocast

CPU = torch.device("cpu")


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(
    ("channels", "groups", "taps", "padding"),
    [
        (192, 16, 32, 16),
        (12, 1, 16, "same"),
        (8, 1, 20, 0),
        (2, 1, 64, 0),
        (24, 2, 32, 0),
        (192, 4, 32, 16),
        (12, 1, 15, 7),
    ],
)
def test_a_convolution_in_bf16_is_that_of_float32(channels, groups, taps, padding, grad):
    torch.manual_seed(0)
    layer = nn.Conv1d(channels, channels, taps, padding=padding, groups=groups).requires_grad_(grad)
    signal = torch.randn(2, channels, 80, requires_grad=grad)
    results = []
    for precision in ("fp32", "bf16"):
        with autocast(CPU, precision):
            result = layer(signal)
        found = [result.detach()]
        if grad:
            layer.zero_grad()
            signal.grad = None
            result.float().square().sum().backward()
            found += [signal.grad, layer.weight.grad, layer.bias.grad]
        results.append(found)
    for exact, found in zip(*results, strict=True):
        assert (found.float() - exact).norm() < 0.02 * exact.norm()


def test_float64_stays():
    with autocast(CPU, "bf16"):
        assert nn.Conv1d(2, 2, 16).double()(torch.zeros(1, 2, 20, dtype=torch.float64)).dtype == torch.float64
