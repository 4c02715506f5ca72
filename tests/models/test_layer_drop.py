"""LayerDrop: whole layers are skipped in training."""

import pytest
import torch

from ecgtune.errors import SettingError
from ecgtune.methods.depth import check_depth
from ecgtune.methods.own_weights.settings import Full
from ecgtune.models.ecg_fm.network import EcgFM
from helpers.encoders import conv_classifier
from helpers.models import TINY

SIGNAL = torch.randn(64, 1, 80, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def encoder() -> EcgFM:
    torch.manual_seed(0)
    return EcgFM(TINY)


def test_each_record_has_its_own_layers(encoder):
    encoder.set_layer_drop(0.5)
    first, second = encoder.layers
    with torch.no_grad():
        start = encoder.embed(SIGNAL)[0]
        ways = [start, first(start, None), second(start, None), second(first(start, None), None)]
        tokens = encoder.train()(SIGNAL)[0]
    match = torch.stack([torch.isclose(tokens, way, atol=1e-6).all(dim=(1, 2)) for way in ways])
    assert (match.sum(dim=0) == 1).all()
    assert match.any(dim=1).all()


def test_in_evaluation_it_changes_no_bit(encoder):
    plain = encoder.eval()(SIGNAL)[0]
    encoder.set_layer_drop(0.5)
    assert torch.equal(encoder(SIGNAL)[0], plain)


def test_skipped_layers_have_a_gradient_of_zero_and_not_none(encoder):
    encoder.set_layer_drop(1 - 1e-6)
    encoder.train()(SIGNAL)[0].sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert not encoder.layers[0].attention.q_proj.weight.grad.any()


def test_an_encoder_of_other_blocks_is_refused():
    with pytest.raises(SettingError, match=r"layer_drop is 0.1, but .* use drop_path"):
        check_depth(conv_classifier(), Full(), layer_drop=0.1)
