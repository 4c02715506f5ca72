"""OFT's turned weights against peft's own layer, which turns activations."""

import pytest
import torch
from peft import OFTConfig, PeftModel, get_peft_model
from peft.tuners import oft

from ecgtune.methods.attach import attach
from ecgtune.methods.oft import rotated_weights
from ecgtune.methods.oft.rotated_weights import RotatedLinear
from ecgtune.methods.oft.settings import OFT
from helpers.layers import Two, answer_and_gradients
from helpers.models import tiny_classifier


def wrapped(ours: bool, **settings: object) -> PeftModel:
    """`Two` with rotations that turn; the same weights whichever layer computes it."""
    torch.manual_seed(0)
    config = OFTConfig(
        oft_block_size=4, target_modules=["one", "two"], init_weights=False, use_cayley_neumann=False, **settings
    )  # type: ignore[arg-type]
    model = get_peft_model(Two(inputs=12), config)  # type: ignore[arg-type]
    for module in model.modules():
        if ours and type(module) is oft.Linear:
            module.__class__ = RotatedLinear
    return model


@pytest.fixture(autouse=True)
def _always(monkeypatch):
    monkeypatch.setattr(rotated_weights, "_cheaper", lambda weight, x: True)


@pytest.mark.parametrize(
    ("shape", "autocast", "tolerance"),
    [((12,), False, 1e-5), ((7, 12), False, 1e-5), ((2, 5, 12), False, 1e-5), ((8, 9, 12), True, 3e-2)],
    ids=["one", "rows", "tokens", "bfloat16 within its rounding"],
)
def test_answers_and_gradients_are_those_of_peft(shape: tuple[int, ...], autocast: bool, tolerance: float) -> None:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    ours, theirs = (answer_and_gradients(wrapped(one), x, autocast) for one in (True, False))
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if "oft_R" in name}
    for name, value in ours.items():
        torch.testing.assert_close(
            value, theirs[name], rtol=tolerance, atol=tolerance * float(theirs[name].abs().max())
        )


@pytest.mark.parametrize("state", ["off", "merged", "merged and back"])
def test_other_states_are_pefts(state: str) -> None:
    x = torch.randn(3, 12, generator=torch.Generator().manual_seed(1))
    found = []
    for ours in (True, False):
        model = wrapped(ours).eval()
        if state.startswith("merged"):
            model.merge_adapter()
        if state.endswith("back"):
            model.unmerge_adapter()
        with torch.no_grad():
            if state == "off":
                with model.disable_adapter():
                    found.append(model(x))
            else:
                found.append(model(x))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_the_dropout_of_blocks_acts_in_training_alone() -> None:
    x = torch.randn(3, 12, generator=torch.Generator().manual_seed(1))
    model, whole = wrapped(True, module_dropout=0.5), wrapped(True).eval()
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), whole(x))
        model.train()
        torch.manual_seed(3)
        first = model(x)
        assert not torch.allclose(first, whole(x), atol=1e-3)
        torch.manual_seed(3)
        assert torch.equal(model(x), first)


def test_attached_layers_are_ours() -> None:
    model = attach(tiny_classifier(), OFT(block=8))
    layers = [module for module in model.encoder.modules() if isinstance(module, oft.Linear)]
    assert layers
    assert all(type(layer) is RotatedLinear for layer in layers)


def test_each_block_is_dropped_with_its_probability() -> None:
    layer = next(m for m in wrapped(True, module_dropout=0.3).train().modules() if isinstance(m, RotatedLinear))
    rotation, weight = layer.oft_R["default"], layer.get_base_layer().weight
    torch.manual_seed(0)
    drawn = torch.stack([rotated_weights._turned(weight, rotation, 0.3) for _ in range(400)])
    same = (drawn == weight).unflatten(2, (-1, 4)).all(dim=(1, 3)).float().mean(dim=0)  # of each of the three blocks
    torch.testing.assert_close(same, torch.full((3,), 0.3), rtol=0, atol=0.08)


def test_weights_of_another_format_keep_it() -> None:
    layer = next(m for m in wrapped(True).modules() if isinstance(m, RotatedLinear))
    layer.get_base_layer().to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(3, 12)).dtype == torch.bfloat16


@pytest.mark.parametrize("settings", [{"coft": True}, {"block_share": True}])
def test_what_a_recipe_has_not_is_left_to_peft(settings: dict) -> None:
    x = torch.randn(3, 12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(wrapped(True, **settings)(x), wrapped(False, **settings)(x))


@pytest.mark.parametrize(
    ("outputs", "tokens", "bf16", "turned"),
    [(64, 1024, True, True), (64, 1023, True, False), (64, 1024, False, False), (1 << 15, 1024, True, False)],
)
def test_weights_are_turned_where_that_is_cheaper(outputs, tokens, bf16, turned, monkeypatch) -> None:
    monkeypatch.undo()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        assert rotated_weights._cheaper(torch.empty(outputs, 16), torch.empty(tokens, 16)) == turned


def test_dropped_blocks_are_ours_whatever_is_cheaper(monkeypatch) -> None:
    monkeypatch.setattr(rotated_weights, "_cheaper", lambda weight, x: False)
    x = torch.randn(3, 12, generator=torch.Generator().manual_seed(1))
    model = wrapped(True, module_dropout=0.5).train()
    with torch.no_grad():
        assert not torch.allclose(model(x), wrapped(True).eval()(x), atol=1e-3)


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
