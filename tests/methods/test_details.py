"""What each method promises beyond the table: its equation, its places, its bits."""

import pytest
import torch

from ecgtune.methods.attach import attach
from ecgtune.methods.ia3.settings import IA3
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.oft.settings import OFT
from ecgtune.methods.own_weights.settings import NormBias, TopLayers
from ecgtune.methods.vera.settings import VeRA
from helpers.models import tiny_classifier


def signal(windows: int = 4) -> torch.Tensor:
    return torch.randn(windows, 1, 200, generator=torch.Generator().manual_seed(1))


def test_pissa_holds_the_largest_singular_values():
    original = tiny_classifier().encoder.layers[0].feed_forward.fc1.weight.detach()
    fc1 = attach(tiny_classifier(), LoRA(rank=3, init="pissa")).base_encoder.layers[0].feed_forward.fc1
    with torch.no_grad():
        update = fc1.scaling["default"] * fc1.lora_B["default"].weight @ fc1.lora_A["default"].weight
        left, values, right = torch.linalg.svd(original.double(), full_matrices=False)
        largest = (left[:, :3] * values[:3]) @ right[:3]
        torch.testing.assert_close(update.double(), largest, atol=1e-6, rtol=0)
        torch.testing.assert_close(fc1.base_layer.weight + update, original, atol=1e-6, rtol=0)


@pytest.mark.parametrize("threads", [1, 2])
def test_pissa_has_the_same_bits_on_any_number_of_threads(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model = attach(tiny_classifier(), LoRA(rank=3, init="pissa"))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    again = dict(attach(tiny_classifier(), LoRA(rank=3, init="pissa")).named_parameters())
    assert all(torch.equal(parameter, again[name]) for name, parameter in model.named_parameters())


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


def test_ia3_scales_outputs_of_attention_and_the_input_of_fc2():
    model = attach(tiny_classifier(), IA3())
    layer = model.base_encoder.layers[0]
    tokens, hidden = torch.randn(2, 5, 32), torch.randn(2, 5, 64)
    with torch.no_grad():
        for module in (layer.attention.v_proj, layer.feed_forward.fc2):
            module.ia3_l["default"].uniform_(0.5, 2)
        value, factor = layer.attention.v_proj, layer.attention.v_proj.ia3_l["default"].flatten()
        torch.testing.assert_close(value(tokens), value.base_layer(tokens) * factor)
        fc2, factor = layer.feed_forward.fc2, layer.feed_forward.fc2.ia3_l["default"].flatten()
        torch.testing.assert_close(fc2(hidden), fc2.base_layer(hidden * factor))


def test_vera_scales_a_pair_that_all_projections_share():
    model = attach(tiny_classifier(), VeRA(rank=4))
    shared_a, shared_b = model.encoder.base_model.vera_A["default"], model.encoder.base_model.vera_B["default"]
    tokens = torch.randn(2, 5, 32)
    for layer in model.base_encoder.layers:
        fc1 = layer.feed_forward.fc1
        with torch.no_grad():
            outer, inner = fc1.vera_lambda_b["default"].normal_(), fc1.vera_lambda_d["default"].normal_()
            expected = fc1.base_layer(tokens) + outer * ((inner * (tokens @ shared_a[:, :32].T)) @ shared_b[:64].T)
            torch.testing.assert_close(fc1(tokens), expected, rtol=1e-4, atol=1e-5)
    assert not shared_a.requires_grad


def test_oft_turns_without_stretching():
    model = attach(tiny_classifier(), OFT(block=8))
    query = model.base_encoder.layers[0].attention.q_proj
    with torch.no_grad():
        query.oft_R["default"].weight.normal_()
        rotation = query.oft_R["default"].get_weight()
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(32), atol=1e-5, rtol=0)
        assert not torch.allclose(rotation, torch.eye(32), atol=0.1)
        assert not rotation[:8, 8:].any()
        tokens = torch.randn(2, 5, 32)
        torch.testing.assert_close(query(tokens), query.base_layer(tokens @ rotation), rtol=1e-4, atol=1e-5)
