"""Methods on convolutions of one sample, grouped, dilated and with a stride."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ecgtune.errors import SettingError
from ecgtune.methods.adalora.settings import AdaLoRA
from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.attach import attach
from ecgtune.methods.audits import count_parameters
from ecgtune.methods.ia3.settings import IA3
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.oft.settings import OFT
from ecgtune.methods.own_weights.settings import Full, NormBias, TopLayers
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.methods.storage import load_weights, save_weights
from ecgtune.methods.vera.settings import VeRA
from helpers.encoders import ConvNet, conv_classifier, registered

UNGROUPED = tuple(f"blocks_.{index}.conv" for index in (0, 2, 3))
MERGED = [
    LoRA(rank=3, rslora=True, dropout=0.2, targets=UNGROUPED),
    LoRA(rank=3, dora=True, dropout=0.2, targets=UNGROUPED),
    OFT(block=4),
    OFT(block=2, dropout=0.3, targets="conv"),
]
GROUPED = [LoRA(rank=4, lora_plus_ratio=4.0), LoRA(rank=8, targets=("blocks_.1.conv",))]
ADDED = [*MERGED, *GROUPED, Adapter(width=3, dropout=0.2), Adapter(width=3, placement="parallel"), SideTuning(width=8)]
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
    own = {*method.trained_parameters(model.base_encoder), *model.added_parameters}
    own = {f"encoder.{name}" for name in own}
    for name, tensor in model.named_parameters():
        trains = name.startswith("head.") or name in own
        assert tensor.requires_grad == trains, name
        if not name.endswith(model.base_encoder.zero_gradient_parameters):
            assert torch.equal(tensor, before[name]) != trains, name
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


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        *((method, "layers with groups > 1") for method in GROUPED),
        (Adapter(width=3), ""),
        (SideTuning(width=8), ""),
        (LinearProbe(layers="mix"), ""),
    ],
    ids=str,
)
def test_an_update_that_is_no_kernel_of_the_encoder_cannot_be_merged(method, reason):
    model = attach(conv_classifier(), method)
    with pytest.raises(SettingError, match=f"{method.name} cannot be merged into the encoder's weights.*{reason}"):
        method.merged(model.encoder)


def kernel_update(layer) -> torch.Tensor:
    """scale * B A of a LoRA layer, as a kernel over all channels (outputs, inputs, taps)."""
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight[..., 0]
    groups = layer.get_base_layer().groups
    parts = zip(up.chunk(groups), down.chunk(groups), strict=True)
    return layer.scaling["default"] * torch.cat([torch.einsum("or,rit->oit", b, a) for b, a in parts])


@pytest.mark.parametrize("block", range(4))
def test_lora_adds_a_convolution_of_the_same_stride_and_dilation(block):
    layer = trained(LoRA(rank=4)).base_encoder.blocks_[block].conv
    conv, features = layer.get_base_layer(), torch.randn(2, 16, 33)
    with torch.no_grad():
        update = kernel_update(layer)
        added = nn.functional.conv1d(features, update, None, conv.stride, conv.padding, conv.dilation)
        torch.testing.assert_close(layer(features), conv(features) + added, rtol=0, atol=1e-5)
    assert update.abs().max() > 1e-3


@pytest.mark.parametrize("block", range(4))
def test_oft_rotates_channels_within_each_group(block):
    layer = trained(OFT(block=4)).base_encoder.blocks_[block].conv
    features = torch.randn(2, 16, 33)
    with torch.no_grad():
        layer.oft_R["default"].weight.normal_()
        rotation = layer.oft_R["default"].get_weight()
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(16), rtol=0, atol=1e-5)
        turned = torch.einsum("bkt,kc->bct", features, rotation)
        torch.testing.assert_close(layer(features), layer.base_layer(turned), rtol=0, atol=1e-5)


@pytest.mark.parametrize("placement", ["both", "parallel"])
def test_an_adapter_is_a_bottleneck_of_one_sample(placement):
    layer = trained(Adapter(width=3, placement=placement)).base_encoder.blocks_[3].conv
    features = torch.randn(2, 16, 33)
    with torch.no_grad():
        output = layer.base_layer(features)
        source = features[..., ::2] if placement == "parallel" else output
        down, up = layer.bottleneck_down["default"], layer.bottleneck_up["default"]
        hidden = nn.functional.gelu(torch.einsum("wc,bct->bwt", down.weight[..., 0], source) + down.bias[:, None])
        expected = output + torch.einsum("cw,bwt->bct", up.weight[..., 0], hidden) + up.bias[:, None]
        torch.testing.assert_close(layer(features), expected, rtol=0, atol=1e-5)


FITTING = "methods for this encoder: adapter, full, lora, norm-bias, probe, side, top-layers"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (LoRA(rank=6), r"rank of LoRA is 6, but blocks_\.1\.conv has 4 groups; allowed: a multiple of 4"),
        (LoRA(rank=4, init="pissa"), r"init of LoRA is 'pissa', but blocks_\.0\.conv is a convolution; allowed: def"),
        (LoRA(rank=4, dora=True), r"dora of LoRA is true, but blocks_\.1\.conv has 4 groups; allowed: dora = false"),
        (LoRA(targets="attention"), r"has no attention modules; allowed targets: all, conv; " + FITTING),
        (OFT(block=8), r"block of OFT is 8, .* the 4 inputs of blocks_\.1\.conv; allowed: 2, 4"),
        (VeRA(), FITTING),
        (VeRA(targets="conv"), r"is a Conv1d, but VeRA acts on linear layers only; " + FITTING),
        (AdaLoRA(targets="conv"), r"is a Conv1d, but AdaLoRA acts on linear layers only; " + FITTING),
        (IA3(), FITTING),
        (IA3(targets="conv"), r"is a Conv1d, but IA3 acts on linear layers only; " + FITTING),
        (TopLayers(layers=5), "layers of top-layers tuning is 5, but the encoder has 4; allowed: 1 to 4"),
    ],
    ids=str,
)
def test_a_method_without_a_place_is_refused_with_one_that_has(method, message):
    with registered(("conv-net", ConvNet)), pytest.raises(SettingError, match=message) as error:
        attach(conv_classifier(), method)
    assert "\n" not in str(error.value)


def test_dora_is_refused_where_a_convolution_pads_otherwise_than_with_zeros():
    model = conv_classifier()
    model.base_encoder.blocks_[0].conv.padding_mode = "circular"
    with pytest.raises(
        SettingError, match=r"dora .* but blocks_\.0\.conv has padding mode 'circular'; allowed: dora ="
    ):
        attach(model, LoRA(rank=3, dora=True, targets=UNGROUPED))


def test_a_convolution_that_shortens_the_signal_has_no_parallel_adapter():
    model = conv_classifier()
    model.base_encoder.blocks_[1].conv.padding = (0,)
    with pytest.raises(SettingError, match=r"shortens the signal.*; use placement 'both'"):
        attach(model, Adapter(width=3, placement="parallel"))
