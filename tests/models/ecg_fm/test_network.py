"""ECG-FM's properties beside its numbers: leads, padding, gradients, errors."""

from collections.abc import Sequence
from dataclasses import replace

import peft
import pytest
import torch
from torch import Tensor

from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.errors import DataError, SettingError
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.leads import select_leads


@pytest.fixture
def encoder(small_config: EcgFmConfig) -> EcgFM:
    torch.manual_seed(0)
    return EcgFM(small_config).eval()


def in_twelve_channels(signal: Tensor, leads: Sequence[str], mode: str) -> Tensor:
    """What the lead mode stands for, done by copying the signal."""
    if mode == "copy":
        return signal.expand(-1, 12, -1)
    placed = signal.new_zeros(len(signal), 12, signal.shape[2])
    for channel, lead in enumerate(leads):
        placed[:, STANDARD_LEADS.index(lead)] = signal[:, channel]
    return placed


@pytest.mark.parametrize(
    ("leads", "mode"),
    [
        (("II",), "place"),
        (("V6",), "place"),
        (("II", "I", "V3"), "place"),
        (("II",), "copy"),
        (STANDARD_LEADS, "place"),
    ],
)
def test_fewer_leads_are_exact(encoder: EcgFM, leads: tuple[str, ...], mode: str) -> None:
    signal = torch.randn(3, len(leads), 256)
    few = encoder.adapt_leads(leads, mode).eval()
    assert few.input_spec.leads == leads
    expected, _ = encoder(in_twelve_channels(signal, leads, mode))
    tokens, mask = few(signal)
    torch.testing.assert_close(tokens, expected, rtol=0, atol=2e-5)
    assert bool(mask.all())


def test_selected_leads_share_no_weights(encoder: EcgFM) -> None:
    few = encoder.adapt_leads(("II",))
    with torch.no_grad():
        for parameter in few.parameters():
            parameter.zero_()
    assert encoder.projection.weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("leads", "mode", "message"),
    [
        (("iii",), "place", r"lead 'iii' is not known; .*aVR"),
        (("II", "II"), "place", "twice"),
        (("I", "II"), "copy", "takes one lead"),
        ((), "place", "no lead"),
        (("II",), "repeat", r"lead mode 'repeat' .*place"),
    ],
)
def test_wrong_leads(leads: tuple[str, ...], mode: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        select_leads(torch.zeros(4, 12, 2), STANDARD_LEADS, leads, mode)


@pytest.mark.parametrize("mode", ["place", "copy"])
def test_a_one_lead_encoder_takes_any_one_lead(mode: str) -> None:
    kernel = torch.randn(4, 1, 2)
    assert torch.equal(select_leads(kernel, ("II",), ("V5",), mode), kernel)
    with pytest.raises(SettingError, match="reads one lead, but 2"):
        select_leads(kernel, ("II",), ("I", "II"), mode)


def test_padding_masks_of_both_shapes(encoder: EcgFM) -> None:
    signal = torch.randn(2, 12, 100)
    padding = torch.arange(100) >= torch.tensor([[100], [41]])
    tokens, mask = encoder(signal, padding)
    assert mask.sum(dim=1).tolist() == [12, 5]  # 8 samples per token
    same, _ = encoder(signal, padding[:, None].expand(-1, 12, -1))
    assert torch.equal(tokens, same)


def test_valid_tokens_do_not_see_padded_ones(encoder: EcgFM) -> None:
    mask = torch.tensor([[True] * 6 + [False] * 4])
    tokens = torch.randn(1, 10, 16)
    first = encoder.layers[0](tokens, mask)
    tokens[:, 6:] = torch.randn(1, 4, 16)
    torch.testing.assert_close(encoder.layers[0](tokens, mask)[:, :6], first[:, :6])


def uneven(padding: Tensor) -> Tensor:
    padding[0, 3, -5:] = True
    return padding


@pytest.mark.parametrize(
    ("signal", "padding", "message"),
    [
        (torch.zeros(2, 1, 64), None, r"shape \(2, 1, 64\); allowed: \(batch, 12, samples\) with the leads I, II"),
        (torch.zeros(12, 64), None, r"shape \(12, 64\)"),
        (torch.zeros(2, 12, 7), None, "7 samples are too few; allowed: 8 or more"),
        (torch.zeros(1, 12, 64), uneven(torch.zeros(1, 12, 64, dtype=torch.bool)), "differs between the leads"),
        (torch.zeros(1, 12, 64), torch.ones(1, 64, dtype=torch.bool), "fewer than 8 samples"),
    ],
)
def test_signals_that_do_not_fit(encoder: EcgFM, signal: Tensor, padding: Tensor | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        encoder(signal, padding)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5}, "not a multiple of 5 heads"),
        ({"pos_groups": 3}, "not a multiple of pos_groups 3"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"attention_dropout": -0.1}, "attention_dropout must be"),
        ({"feature_grad_mult": -1.0}, "feature_grad_mult"),
    ],
)
def test_settings_that_do_not_fit(small_config: EcgFmConfig, change: dict[str, float], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        replace(small_config, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("dropout", ["dropout", "attention_dropout", "activation_dropout"])
def test_dropout_acts_in_training_only(small_config: EcgFmConfig, dropout: str) -> None:
    torch.manual_seed(0)
    encoder = EcgFM(replace(small_config, **{dropout: 0.5}))  # type: ignore[arg-type]
    signal = torch.randn(2, 12, 128)
    assert not torch.equal(encoder(signal)[0], encoder(signal)[0])
    encoder.eval()
    assert torch.equal(encoder(signal)[0], encoder(signal)[0])


def test_every_parameter_gets_a_gradient_but_those_named_as_zero(encoder: EcgFM) -> None:
    tokens, _ = encoder(torch.randn(2, 12, 128))
    (tokens * torch.randn(16)).sum().backward()
    sizes = {name: float(parameter.grad.norm()) for name, parameter in encoder.named_parameters()}  # type: ignore[union-attr]
    zero = {name for name, size in sizes.items() if size < 1e-4}
    assert zero == {name for name in sizes if name.endswith(encoder.zero_gradient_parameters)}
    assert len(zero) == 2


def test_lora_acts_on_every_projection(encoder: EcgFM) -> None:
    signal = torch.randn(2, 12, 128)
    before, _ = encoder(signal)
    targets = list(encoder.target_modules("all"))
    wrapped = peft.get_peft_model(encoder, peft.LoraConfig(target_modules=targets, r=2, init_lora_weights=False))  # type: ignore[arg-type]
    tokens, _ = wrapped(signal)
    assert not torch.allclose(tokens, before)
    (tokens * torch.randn(16)).sum().backward()
    trained = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    assert len(trained) == 2 * len(targets)
    gradients = [parameter.grad for parameter in trained]
    assert all(gradient is not None and float(gradient.norm()) > 0 for gradient in gradients)
