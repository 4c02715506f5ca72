"""The encoder contract, on encoders from outside the package: convolutions, and patches with a class token."""

import copy

import pytest
import torch

from ecgtune.errors import DataError, SettingError
from ecgtune.methods.attach import attach
from ecgtune.methods.own_weights.settings import Full, TopLayers
from ecgtune.models.classifier import Head
from ecgtune.models.input_spec import InputSpec
from ecgtune.models.pooling import pool
from ecgtune.testing.encoders import check_encoder
from helpers.encoders import ConvConfig, ConvNet, PatchConfig, PatchNet, classifier, conv_classifier, registered

LEADS = ("I", "II", "V1")
MODELS = {"conv": (ConvNet, ConvConfig(leads=LEADS)), "patches": (PatchNet, PatchConfig(leads=LEADS))}


def signal(leads: int = 3, windows: int = 4) -> torch.Tensor:
    return torch.randn(windows, leads, 160, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=MODELS)
def encoder(request):
    return classifier(*MODELS[request.param]).base_encoder.eval()


@pytest.mark.parametrize("name", MODELS)
def test_the_contract_is_kept(name):
    architecture, config = MODELS[name]
    with registered((name, architecture)):
        check_encoder(classifier(architecture, config).base_encoder)


@pytest.mark.parametrize("leads", [("II",), ("V1", "I"), LEADS], ids="-".join)
def test_fewer_leads_are_zeros_in_the_others(encoder, leads):
    whole = torch.zeros(4, 3, 160)
    whole[:, [LEADS.index(lead) for lead in leads]] = signal(len(leads))
    few = encoder.adapt_leads(leads).eval()
    with torch.no_grad():
        torch.testing.assert_close(few(signal(len(leads)))[0], encoder(whole)[0], rtol=0, atol=2e-6)
    assert few.input_spec.leads == leads


def test_copied_one_lead_is_that_lead_in_all(encoder):
    one = encoder.adapt_leads(("II",), "copy").eval()
    with torch.no_grad():
        torch.testing.assert_close(one(signal(1))[0], encoder(signal(1).expand(-1, 3, -1))[0], rtol=0, atol=2e-6)


def test_a_matrix_is_folded_into_the_first_layer(encoder):
    matrix = torch.randn(3, 2, generator=torch.Generator().manual_seed(2))
    folded = encoder.fold_leads(matrix, ("V5", "V6")).eval()
    with torch.no_grad():
        torch.testing.assert_close(folded(signal(2))[0], encoder(matrix @ signal(2))[0], rtol=1e-4, atol=1e-5)
    assert folded.input_spec.leads == ("V5", "V6")


def test_an_encoder_that_names_no_first_weight_keeps_its_leads(encoder, monkeypatch):
    monkeypatch.setattr(type(encoder), "lead_weight", None)
    with pytest.raises(
        SettingError, match=r"reads I, II, V1 and cannot be cut to other leads; give those \(--leads\)"
    ) as error:
        encoder.adapt_leads(("II",))
    assert "\n" not in str(error.value)


def test_the_head_reads_the_class_token_where_the_weights_expect_it():
    model = classifier(PatchNet, PatchConfig(leads=LEADS)).eval()
    mean = classifier(PatchNet, PatchConfig(leads=LEADS), head=Head(pooling="mean")).eval()
    with torch.no_grad():
        tokens, mask = model.encode(signal())
        assert torch.equal(model(signal()), model.head(tokens[:, 0]))
        assert torch.equal(mean(signal()), model.head(pool(tokens, mask)))


@pytest.mark.parametrize(
    ("spec", "samples", "message"),
    [
        (InputSpec(("I",), 100.0, samples=160), 161, "161 samples; allowed: 160"),
        (InputSpec(("I",), 100.0, minimum_samples=8), 7, "7 samples are too few; allowed: 8 or more"),
        (InputSpec(("I",), 100.0, maximum_samples=80), 81, "81 samples are too many; allowed: up to 80"),
        (InputSpec(("I",), 100.0, multiple_of=20), 50, "50 samples; allowed: a multiple of 20"),
    ],
)
def test_a_length_that_is_not_taken_is_one_line(spec, samples, message):
    with pytest.raises(DataError, match=message):
        spec.check(torch.zeros(2, 1, samples))


@pytest.mark.parametrize(
    ("kind", "message"),
    [("convs", "did you mean 'conv'"), ("qkv", "conv-net has no qkv modules; allowed targets: all, conv")],
)
def test_targets_that_are_not_there_are_one_line(kind, message):
    with registered(("conv-net", ConvNet)), pytest.raises(SettingError, match=message) as error:
        conv_classifier().base_encoder.target_modules(kind)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("kind", "count"), [("all", 12), ("attention", 8), ("mlp", 4), ("key", 2)])
def test_targets_are_counted_by_role(kind, count):
    found = classifier(PatchNet, PatchConfig()).base_encoder.target_modules(kind)
    assert len(found) == len(set(found)) == count


def test_a_frozen_prefix_ends_before_what_trains_or_is_drawn(encoder):
    encoder.requires_grad_(False)
    blocks = list(encoder.blocks.values())
    assert encoder.frozen_depth() == len(blocks)
    next(blocks[1].parameters()).requires_grad_(True)
    assert encoder.frozen_depth() == 1
    blocks[0].drop_path = 0.1
    assert encoder.frozen_depth() == 0
    encoder.get_parameter(encoder.lead_weight).requires_grad_(True)
    assert encoder.frozen_depth() is None


def test_a_norm_behind_the_last_block_trains_with_the_top_layers_and_is_no_prefix():
    method = TopLayers(layers=1)
    encoder = attach(classifier(PatchNet, PatchConfig()), method).base_encoder
    assert {name for name in method.trained_parameters(encoder) if "layers.1." not in name} == {
        "norm.weight",
        "norm.bias",
    }
    assert encoder.frozen_depth() == 1


def test_blocks_without_branches_to_skip_refuse_drop_path():
    with pytest.raises(SettingError, match=r"drop_path is 0\.2, but .* has no branches to skip; leave it out"):
        classifier(PatchNet, PatchConfig()).base_encoder.set_drop_path(0.2)


@pytest.mark.parametrize("act", [lambda e: e.set_drop_path(0.1), lambda e: e.set_gradient_checkpointing(True)])
def test_without_blocks_there_is_no_depth(encoder, act, monkeypatch):
    monkeypatch.setattr(type(encoder), "blocks", {})
    with pytest.raises(SettingError, match=r"has no blocks, so .* cannot act; leave it out"):
        act(encoder)


def test_gradient_checkpointing_counts_a_batch_once():
    plain = attach(conv_classifier(), Full()).train()
    again = copy.deepcopy(plain)
    again.base_encoder.set_gradient_checkpointing(True)
    start = {name: buffer.clone() for name, buffer in plain.named_buffers()}
    for model in (plain, again):
        model(signal(1)).square().sum().backward()
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, again.get_buffer(name)), name
        assert not torch.equal(buffer, start[name]), name
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(again.get_parameter(name).grad, parameter.grad, msg=name)
