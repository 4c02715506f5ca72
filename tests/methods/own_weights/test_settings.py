"""Weights that top-layers and norm-bias tuning choose."""

import pytest
import torch

from ecgtune.methods.attach import attach
from ecgtune.methods.own_weights.settings import NormBias, TopLayers
from helpers.models import tiny_classifier


def signal(windows: int = 4) -> torch.Tensor:
    return torch.randn(windows, 1, 200, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("layers", "expected"), [(1, {"layers.1"}), (2, {"layers.0", "layers.1"})])
def test_top_layers_are_counted_from_the_end(layers, expected):
    encoder = tiny_classifier().encoder
    chosen = TopLayers(layers=layers).trained_parameters(encoder)
    assert {".".join(name.split(".")[:2]) for name in chosen} == expected
    assert len(chosen) == 16 * layers


def test_no_gradient_enters_below_the_top_layers():
    model = attach(tiny_classifier(), TopLayers(layers=1))
    seen = []
    for layer in model.encoder.layers:
        layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].requires_grad))
    model(signal()).sum().backward()
    assert seen == [False, False]
    assert model.encoder.layers[1].feed_forward.fc1.weight.grad is not None


@pytest.mark.parametrize(
    ("method", "holds", "lacks"),
    [
        (NormBias(), ["layers.0.final_norm.weight", "stem.0.norm.weight", "layers.1.feed_forward.fc1.bias"], []),
        (NormBias(norms=False), ["layers.1.attention.q_proj.bias", "positional.conv.bias"], ["final_norm"]),
        (NormBias(biases=False), ["input_norm.weight", "input_norm.bias", "stem_norm.bias"], ["_proj", "fc1", "fc2"]),
    ],
    ids=str,
)
def test_norms_and_biases(method, holds, lacks):
    encoder = tiny_classifier().encoder
    chosen = method.trained_parameters(encoder)
    assert set(holds) <= chosen
    assert not [name for name in chosen if any(part in name for part in lacks)]
    assert all(encoder.get_parameter(name).dim() == 1 for name in chosen)  # no matrix, no kernel
    assert not [name for name in chosen if name.endswith("k_proj.bias")]  # its gradient is zero by algebra
    vectors = {n for n, p in encoder.named_parameters() if p.dim() == 1 and not n.endswith("k_proj.bias")}
    assert (chosen == vectors) == (method == NormBias())
