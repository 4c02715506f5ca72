"""A frozen convolution by its spectrum, against torch's own convolution."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.post_norm import LONG_KERNEL, PositionalConv
from ecgtune.models.spectrum import FrozenSpectrum


@pytest.mark.parametrize("length", [1, 7, 40, 156])
@pytest.mark.parametrize(("taps", "groups", "bias"), [(128, 4, True), (64, 1, True), (9, 2, False), (1, 8, True)])
def test_it_is_the_convolution_and_its_gradient(taps, groups, bias, length):
    torch.manual_seed(0)
    conv = nn.Conv1d(8, 8, taps, padding=taps // 2, groups=groups, bias=bias)
    signal = torch.randn(3, 8, length, requires_grad=True)
    whole = conv(signal)[..., :length]
    ours = FrozenSpectrum(conv, length)(signal)
    torch.testing.assert_close(ours, whole, rtol=0, atol=2e-5)
    weight = torch.randn_like(whole)
    (expected,) = torch.autograd.grad((whole * weight).sum(), signal)
    (found,) = torch.autograd.grad((ours * weight).sum(), signal)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def test_a_positional_convolution_is_transformed_once_while_it_is_frozen():
    torch.manual_seed(0)
    positional = PositionalConv(16, LONG_KERNEL, 4)
    tokens = torch.randn(2, 20, 16)
    trained = positional(tokens)
    assert positional._spectrum is None  # its gradient is wanted
    positional.requires_grad_(False)
    torch.testing.assert_close(positional(tokens), trained, rtol=0, atol=2e-5)
    first = positional._spectrum
    positional(tokens)
    assert positional._spectrum is first


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.conv.parametrizations.weight.original0.mul_(2.0),
        lambda p: p.conv.parametrizations.weight.original1.copy_(torch.randn(16, 4, LONG_KERNEL)),
        lambda p: p.conv.bias.add_(1.0),
        lambda p: p.load_state_dict(PositionalConv(16, LONG_KERNEL, 4).state_dict()),
        lambda p: p.load_state_dict(PositionalConv(16, LONG_KERNEL, 4).state_dict(), assign=True),
    ],
)
def test_written_weights_are_transformed_anew(change):
    torch.manual_seed(0)
    positional = PositionalConv(16, LONG_KERNEL, 4).requires_grad_(False)
    tokens = torch.randn(2, 20, 16)
    before = positional(tokens)
    with torch.no_grad():
        change(positional)
    after = positional(tokens)
    assert not torch.allclose(before, after, atol=1e-3)
    positional.requires_grad_(True)
    torch.testing.assert_close(after, positional(tokens).detach(), rtol=0, atol=2e-5)


def test_other_lengths_and_other_formats_have_their_own_answer():
    torch.manual_seed(0)
    positional = PositionalConv(16, LONG_KERNEL, 4).requires_grad_(False)
    for length in (5, 90, 5):
        tokens = torch.randn(2, length, 16)
        found, half = positional(tokens), positional(tokens.bfloat16())
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), found, rtol=0, atol=0.02)
        positional.requires_grad_(True)
        torch.testing.assert_close(found, positional(tokens).detach(), rtol=0, atol=2e-5)
        positional.requires_grad_(False)


def test_an_encoder_answers_the_same_frozen_and_not():
    torch.manual_seed(0)
    small = EcgFmConfig(
        leads=("II",), width=32, depth=1, heads=2, feed_forward=64, conv_channels=8, pos_taps=LONG_KERNEL, pos_groups=4
    )
    signal = torch.randn(2, 1, 800)
    for config in (small, replace(small, pos_taps=LONG_KERNEL + 1)):
        encoder = EcgFM(config).eval()
        open_, _ = encoder(signal)
        frozen, _ = encoder.requires_grad_(False)(signal)
        torch.testing.assert_close(frozen, open_.detach(), rtol=0, atol=1e-5)


def test_weight_norm_is_worked_out_in_the_kernel():
    torch.manual_seed(0)
    conv = weight_norm(nn.Conv1d(4, 4, 8, padding=4, groups=2), dim=2)
    with torch.no_grad():
        conv.parametrizations.weight.original0.mul_(torch.rand(1, 1, 8) + 0.5)
    signal = torch.randn(2, 4, 12)
    torch.testing.assert_close(FrozenSpectrum(conv, 12)(signal), conv(signal)[..., :12].detach(), rtol=0, atol=2e-5)
