"""Explicit attention against torch's own, forward and backward, which of them is taken, and modules without values."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from ecgtune.models import layers
from ecgtune.models.layers import PreNormLayer, attend, explicit_attention, without_values

SHAPE = (2, 3, 11, 8)
MASKS = {
    "all": None,
    "padding": (torch.arange(11) < torch.tensor([[11], [4]]))[:, None, None, :],
    "pairs": torch.rand(2, 3, 11, 11, generator=torch.Generator().manual_seed(9)) < 0.5,
}
MASKS["pairs"][..., 0] = True  # no query without a key


def inputs(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, key and value, of values that bfloat16 holds too."""
    drawn = [torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)).bfloat16() for seed in range(3)]
    query, key, value = (tensor.to(dtype).requires_grad_() for tensor in drawn)
    return query, key, value


def results(way, dtype: torch.dtype, mask: torch.Tensor | None) -> list[torch.Tensor]:
    """The output and the gradients of query, key and value."""
    given = inputs(dtype)
    output = way(*given, mask)
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    return [output.detach(), *(tensor.grad for tensor in given if tensor.grad is not None)]


def explicit(query, key, value, mask):
    return explicit_attention(query, key, value, mask, 0.0)


def torchs_own(query, key, value, mask):
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_explicit_products_are_torchs_attention(mask):
    ours = results(explicit, torch.float64, mask)
    for mine, theirs in zip(ours, results(torchs_own, torch.float64, mask), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_in_bfloat16_they_differ_by_its_rounding(mask):
    ours = results(explicit, torch.bfloat16, mask)
    for mine, exact in zip(ours, results(torchs_own, torch.float64, mask), strict=True):
        assert mine.dtype == torch.bfloat16
        largest = exact.abs().max().item()
        torch.testing.assert_close(mine.double(), exact, rtol=0, atol=2**-6 * largest)  # one rounding is 2^-8


@pytest.mark.parametrize(("dtype", "explicit"), [(torch.bfloat16, True), (torch.float32, False), (torch.half, False)])
def test_which_way_is_taken_on_a_cpu(dtype, explicit, monkeypatch):
    def taken(*arguments):
        raise KeyError

    monkeypatch.setattr(layers, "explicit_attention", taken)
    if explicit:
        with pytest.raises(KeyError):
            attend(*inputs(dtype), None, 0.0)
    else:
        assert torch.equal(attend(*inputs(dtype), None, 0.0), torchs_own(*inputs(dtype), None))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_that_share_of_the_weights_and_keeps_their_mean(dtype):
    query = key = torch.zeros(4, 4, 50, 8, dtype=dtype)
    value = torch.eye(50, dtype=dtype).expand(4, 4, 50, 50)  # so the output is the weights: 1/50 each
    torch.manual_seed(0)
    weights = attend(query, key, value, None, 0.25).float()
    assert (weights == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    kept = weights[weights > 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / 50 / 0.75), rtol=1e-2, atol=0)


def test_without_dropout_nothing_is_drawn():
    before = torch.get_rng_state()
    attend(*inputs(torch.bfloat16), None, 0.0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("padded", [False, True])
def test_a_pre_norm_layer_equals_torchs(padded: bool) -> None:
    theirs = nn.TransformerEncoderLayer(12, 3, 20, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    ours = PreNormLayer(12, 3, 20)
    names = {"qkv.": "in_proj_", "attention.": "self_attn.", "feed_forward_norm": "norm2", "attention_norm": "norm1"}
    names |= {"feed_forward.fc": "linear"}
    for name, tensor in ours.state_dict().items():
        for own, other in names.items():
            name = name.replace(own, other)
        tensor.copy_(theirs.state_dict()[name])
    tokens = torch.randn(2, 11, 12)
    valid = torch.arange(11) < torch.tensor([[11], [4]])
    expected = theirs(tokens, src_key_padding_mask=~valid if padded else None)
    found = ours(tokens, valid if padded else None)
    kept = valid if padded else torch.ones_like(valid)
    torch.testing.assert_close(found[kept], expected[kept])
    torch.testing.assert_close(ours(tokens, valid[:, None, None, :] if padded else None), found)


def test_a_wrapped_layer_acts_in_evaluation_mode_without_gradients() -> None:
    layer = PreNormLayer(12, 3, 20).eval()
    tokens = torch.randn(2, 5, 12)
    with torch.no_grad():
        before = layer(tokens)
        for name in ("attention.qkv", "attention.out_proj", "feed_forward.fc1", "feed_forward.fc2"):
            hook = layer.get_submodule(name).register_forward_hook(lambda module, inputs, output: output + 1)
            assert not torch.allclose(layer(tokens), before), name
            hook.remove()


class Drawn(nn.Module):
    """A module that initialises its parameters in several ways."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(3).normal_(std=0.1))
        self.shift = nn.Parameter(torch.empty(2, 3).uniform_(-1, 1))
        self.table = nn.Parameter(nn.init.trunc_normal_(torch.empty(4, 5), std=0.02))
        nn.init.normal_(tensor=self.scale)


@pytest.mark.parametrize(
    "make",
    [
        Drawn,
        lambda: nn.LSTM(3, 4),
        *(lambda dim=dim: weight_norm(nn.Conv1d(4, 6, 5), dim=dim) for dim in (0, 1, 2, None)),
    ],
    ids=["draws", "LSTM", "norm over 0", "norm over 1", "norm over 2", "norm over all"],
)
def test_modules_without_values_have_the_names_and_shapes_of_others(make):
    state = torch.get_rng_state()
    with without_values():
        hollow = make().state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(tensor.is_meta for tensor in hollow.values())
    assert {name: tensor.shape for name, tensor in hollow.items()} == {
        name: tensor.shape for name, tensor in make().state_dict().items()
    }
