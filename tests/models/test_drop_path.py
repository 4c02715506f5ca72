"""Stochastic depth of ECG-FM's layers."""

import pytest
import torch

from ecgtune.models.ecg_fm.network import EcgFM
from helpers.models import TINY

SIGNAL = torch.randn(64, 1, 80, generator=torch.Generator().manual_seed(0))


def encoder(rate: float | None = None) -> EcgFM:
    torch.manual_seed(0)
    made = EcgFM(TINY)
    if rate is not None:
        made.set_drop_path(rate)
    return made


def test_it_grows_with_depth():
    assert [layer.drop_path for layer in encoder(0.4).layers] == [0.2, 0.4]
    assert [layer.drop_path for layer in encoder().layers] == [0.0, 0.0]


@pytest.mark.parametrize(("rate", "mode"), [(0.0, True), (0.4, False)])
def test_off_or_in_evaluation_it_changes_no_bit_and_draws_nothing(rate, mode):
    dropping, plain = encoder(rate).train(mode), encoder().train(mode)
    torch.manual_seed(5)
    with torch.no_grad():
        assert torch.equal(dropping(SIGNAL)[0], plain(SIGNAL)[0])
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))


def test_a_block_is_skipped_or_scaled_up_for_each_record_by_itself():
    layer = encoder().layers[0].train()
    layer.drop_path = 0.25
    added = torch.ones(4000, 3, 2)
    found = layer._branch(added)
    torch.testing.assert_close(found.amax(dim=(1, 2)), found.amin(dim=(1, 2)))
    assert found.unique().tolist() == pytest.approx([0, 4 / 3])
    assert found.mean().item() == pytest.approx(1, abs=0.05)  # what is added on average is what evaluation adds


def test_both_blocks_of_a_layer_are_skipped_each_by_its_own_draw():
    model = encoder(0.4).train()
    model.layers[1].drop_path = 0.0
    layer = model.layers[0]
    with torch.no_grad():
        states, _ = model.forward_intermediates(SIGNAL)
        start = states[0]
        torch.manual_seed(2)
        found = layer(start, None)
        kinds = []
        for attends in (0.0, 1 / 0.8):
            for feeds in (0.0, 1 / 0.8):
                tokens = layer.attention_norm(start + attends * layer.attention(start, None))
                kinds.append(layer.final_norm(tokens + feeds * layer.feed_forward(tokens)))
    match = torch.stack([torch.isclose(found, kind, atol=1e-5).all(dim=(1, 2)) for kind in kinds])
    assert (match.sum(dim=0) == 1).all()
    assert match.any(dim=1).all()


def test_weights_of_skipped_blocks_have_a_gradient_of_zero_and_not_none():
    model = encoder(0.5).train()
    for layer in model.layers:
        layer.drop_path = 1 - 1e-6
    model(SIGNAL)[0].sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
    assert not model.layers[0].attention.q_proj.weight.grad.any()
