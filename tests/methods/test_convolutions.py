"""Methods on convolutions of one sample, grouped, dilated and with a stride."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ecgtune.errors import SettingError
from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.attach import attach
from ecgtune.methods.audits import count_parameters
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.oft.settings import OFT
from ecgtune.methods.own_weights.settings import Full, NormBias, TopLayers
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.methods.storage import load_weights, save_weights
from helpers.encoders import conv_classifier

MERGED = [
    LoRA(rank=4),
    LoRA(rank=8, rslora=True, dropout=0.2, targets="conv"),
    LoRA(rank=4, dora=True),
    LoRA(rank=4, lora_plus_ratio=4.0, targets=("blocks_.2.conv", "blocks_.3.conv")),
    OFT(block=4),
    OFT(block=2, dropout=0.3, targets="conv"),
]
ADDED = [*MERGED, Adapter(width=3, dropout=0.2), Adapter(width=3, placement="parallel"), SideTuning(width=8)]
OTHERS = [Full(), LinearProbe(), LinearProbe(layers="mix"), TopLayers(layers=2), NormBias()]
LABEL = torch.tensor([0, 1, 0, 1, 1, 0])


def signal(windows: int = 6, samples: int = 101) -> torch.Tensor:
    return torch.randn(windows, 1, samples, generator=torch.Generator().manual_seed(1))


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(signal())


def trained(method, seed: int = 3):
    """A model after two real steps."""
    model = attach(conv_classifier(), method, seed=seed).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        cross_entropy(model(signal()), LABEL).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("method", ADDED, ids=str)
def test_starts_as_the_identity(method):
    model = conv_classifier()
    before = logits(model)
    torch.testing.assert_close(logits(attach(model, method)), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", [*ADDED, *OTHERS], ids=str)
def test_trains_what_it_says_saves_and_reloads_to_the_bit(method, tmp_path):
    before = dict(attach(conv_classifier(), method, seed=3).state_dict())
    model = trained(method)
    count_parameters(model, method)
    own = {f"encoder.{name}" for name in method.trained_parameters(model.base_encoder)}
    for name, tensor in model.named_parameters():
        trains = name.startswith("head.") or name in own or any(part in name for part in method.added_parameters)
        assert tensor.requires_grad == trains, name
        still = name.endswith(("conv.bias", "stem.bias")) or method.name == "oft"  # see the two tests below
        assert still or torch.equal(tensor, before[name]) != trains, name
    expected = logits(model)
    save_weights(model, tmp_path)
    again = attach(conv_classifier(), method, seed=4)
    load_weights(again, tmp_path)
    assert torch.equal(logits(again), expected)


@pytest.mark.parametrize("method", MERGED, ids=str)
def test_merged_into_the_kernels_it_answers_the_same(method):
    model = trained(method)
    expected = logits(model)
    model.encoder = method.merged(model.encoder)
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-5)
    assert model.encoder.state_dict().keys() == conv_classifier().encoder.state_dict().keys()


@pytest.mark.parametrize("method", [Adapter(width=3), SideTuning(width=8), LinearProbe(layers="mix")], ids=str)
def test_a_method_that_adds_layers_cannot_be_merged(method):
    model = attach(conv_classifier(), method)
    with pytest.raises(SettingError, match=f"{method.name} cannot be merged into the encoder's weights"):
        method.merged(model.encoder)
