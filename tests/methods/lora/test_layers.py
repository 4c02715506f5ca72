"""LoRA's one product against peft's own layer, and its copies of frozen weights against what they are copies of."""

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from ecgtune.methods.attach import attach
from ecgtune.methods.lora.layers import LowRankLinear, LowRankProduct
from ecgtune.methods.lora.settings import LoRA
from helpers.layers import Two, answer_and_gradients
from helpers.models import tiny_classifier


def wrapped(ours: bool, **settings: object) -> PeftModel:
    """`Two` with LoRA whose B is not zero; the same weights whichever layer computes it."""
    torch.manual_seed(0)
    config = LoraConfig(r=3, lora_alpha=7, target_modules=["one", "two"], init_lora_weights=False, **settings)  # type: ignore[arg-type]
    if ours:
        config._register_custom_module({nn.Linear: LowRankLinear})
    return get_peft_model(Two(), config)  # type: ignore[arg-type]


def layers(model: nn.Module) -> list[LowRankLinear]:
    return [module for module in model.modules() if isinstance(module, LowRankLinear)]


@pytest.mark.parametrize(
    ("autocast", "tolerance"), [(False, 1e-5), (True, 3e-2)], ids=["float32", "bfloat16 within its rounding"]
)
@pytest.mark.parametrize(
    "settings", [{}, {"use_rslora": True}, {"use_dora": True}, {"bias": "all"}], ids=["plain", "rslora", "dora", "bias"]
)
def test_answers_and_gradients_are_those_of_peft(settings: dict, autocast: bool, tolerance: float) -> None:
    x = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(1))
    ours, theirs = (answer_and_gradients(wrapped(one, **settings), x, autocast) for one in (True, False))
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if "lora_" in name}
    for name, value in ours.items():
        torch.testing.assert_close(
            value, theirs[name], rtol=tolerance, atol=tolerance * float(theirs[name].abs().max())
        )


def test_a_layer_that_trains_beside_its_update_gets_its_gradient() -> None:
    found = []
    for ours in (True, False):
        model = wrapped(ours)
        layer = next(module for module in model.modules() if isinstance(module, LoraLinear))
        layer.get_base_layer().weight.requires_grad_(True)
        found.append(answer_and_gradients(model, torch.ones(4, 6)))
    assert any(name.endswith("base_layer.weight") for name in found[0])
    torch.testing.assert_close(*found)


def test_a_bias_in_the_update_is_added() -> None:
    found = []
    for ours in (True, False):
        torch.manual_seed(0)
        config = LoraConfig(r=3, target_modules=["one"], init_lora_weights=False, lora_bias=True)
        if ours:
            config._register_custom_module({nn.Linear: LowRankLinear})
        model = get_peft_model(Two(), config)  # type: ignore[arg-type]
        found.append(answer_and_gradients(model, torch.ones(4, 6)))
    assert any(name.endswith("lora_B.default.bias") for name in found[0])
    torch.testing.assert_close(*found)


def test_gradients_are_the_derivatives() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, a, b = (
        torch.randn(*shape, dtype=torch.float64, generator=generator)
        for shape in [(7, 6), (5, 6), (5,), (3, 6), (5, 3)]
    )

    def product(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return LowRankProduct.apply(x, weight, bias, a, b, 0.7)  # type: ignore[return-value]

    assert torch.autograd.gradcheck(product, tuple(tensor.requires_grad_() for tensor in (x, a, b)))


def test_no_gradient_is_computed_for_what_needs_none() -> None:
    model = wrapped(True)
    model(torch.randn(4, 6)).sum().backward()
    assert all(p.grad is None for name, p in model.named_parameters() if "lora_" not in name)


def test_dropout_falls_back_to_peft_while_training_only() -> None:
    model = wrapped(True, lora_dropout=0.5)
    x = torch.randn(64, 6)
    assert not torch.equal(model.train()(x), model(x))
    torch.testing.assert_close(model.eval()(x), wrapped(False, lora_dropout=0.5).eval()(x))


def _write(layer: LowRankLinear) -> None:
    with torch.no_grad():
        layer.get_base_layer().weight.mul_(2)  # type: ignore[union-attr, operator]


def _load(layer: LowRankLinear) -> None:
    base = layer.get_base_layer()
    base.load_state_dict({name: 2 * value for name, value in base.state_dict().items()})


def _assign(layer: LowRankLinear) -> None:
    base = layer.get_base_layer()
    base.load_state_dict({name: 2 * value for name, value in base.state_dict().items()}, assign=True)


def _merge_and_back(layer: LowRankLinear) -> None:
    layer.merge()
    with torch.no_grad():
        layer.get_base_layer().weight.data.mul_(2)  # type: ignore[union-attr, operator]  # as peft writes
    layer.unmerge()


@pytest.mark.parametrize("change", [_write, _load, _assign, _merge_and_back])
def test_copies_of_frozen_weights_follow_what_is_written_to_them(change: Callable[[LowRankLinear], None]) -> None:
    model, x = wrapped(True), torch.randn(4, 6)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = model(x)
        layer = layers(model)[0]
        change(layer)
        after = model(x)
        base = layer.get_base_layer()
        fresh = layer._frozen(torch.bfloat16)[0]
    assert torch.equal(fresh, base.weight.to(torch.bfloat16))  # type: ignore[union-attr, arg-type]
    assert not torch.equal(before, after)


def test_copies_are_made_once_and_are_not_part_of_the_model() -> None:
    model, x = wrapped(True), torch.randn(4, 6)
    names = set(model.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        model(x)
        first = [layer._copy for layer in layers(model)]
        model(x)
    assert all(one is layer._copy for one, layer in zip(first, layers(model), strict=True))
    assert set(model.state_dict()) == names


def test_merged_answers_are_the_same() -> None:
    model, x = wrapped(True).eval(), torch.randn(4, 6)
    apart = model(x)
    model.merge_adapter()
    torch.testing.assert_close(model(x), apart)


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
