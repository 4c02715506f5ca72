"""Trainings of a convolutional encoder: each method by its prefix and by its whole model, depth, batch norms."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.attach import attach
from ecgtune.methods.depth import layer_rates
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.oft.settings import OFT
from ecgtune.methods.own_weights.settings import Full, NormBias, TopLayers
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.methods.split import SplitPoint, split_point
from ecgtune.models.resnet_1d.network import ResNet1d, ResNet1dConfig
from ecgtune.training.batches import TrainingInputs
from ecgtune.training.classification import Classification
from ecgtune.training.inference import logits_of
from ecgtune.training.loop import train
from ecgtune.training.prefix import precompute_inputs
from ecgtune.training.run_folder import RunFolder
from helpers.encoders import classifier
from helpers.methods import slow
from helpers.settings import loop
from helpers.training import SETTINGS, TRAINING, VALIDATION, Interrupted, numbers

#: Four blocks; the third halves the time axis and doubles the channels.
SIZES = ResNet1dConfig(channels=(8, 16))
OFF, ON = (loop(SETTINGS, epochs=2, prefix_cache=setting) for setting in ("off", "on"))
#: Methods, and where their frozen prefix ends.
SPLITS = {
    LinearProbe(): SplitPoint("features"),
    LinearProbe(layers="mix"): SplitPoint("pooled intermediates"),
    SideTuning(width=8): None,  # tokens of its depths differ in width and number
    TopLayers(layers=1): SplitPoint("block", 3),
    TopLayers(layers=3): SplitPoint("block", 1),
    LoRA(rank=2, targets=("layers.3.conv2",)): SplitPoint("block", 3),
    LoRA(rank=2): SplitPoint("block", 0),
    OFT(block=8): SplitPoint("block", 0),
    Adapter(width=2): SplitPoint("block", 0),
    NormBias(): None,
    Full(): None,
}
QUICK = [LinearProbe(layers="mix"), TopLayers(layers=3), LoRA(rank=2), NormBias()]


def resnet(method):
    return attach(classifier(ResNet1d, SIZES), method)


def fit(folder, method, settings=OFF, stop_after=None):
    """The model, logits on validation and the log."""
    model = resnet(method)
    inputs = precompute_inputs(model, method, TrainingInputs(TRAINING, VALIDATION), *settings)
    objective = Classification(model, method, inputs, *settings)
    train(objective, *settings, seed=0, folder=RunFolder(folder), callbacks=[Interrupted(stop_after)])
    return model, logits_of(model, VALIDATION.inputs), numbers(RunFolder(folder))


def frozen_and_trained_norms(model) -> tuple[set[str], set[str]]:
    norms = {name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm1d)}
    trained = {name for name in norms if all(p.requires_grad for p in model.get_submodule(name).parameters())}
    return norms - trained, trained


@pytest.mark.parametrize(("method", "split"), SPLITS.items(), ids=str)
def test_the_prefix_is_as_long_as_the_method_allows(method, split):
    assert split_point(resnet(method), method) == split


@pytest.mark.parametrize("method", [*QUICK, *slow(*(method for method in SPLITS if method not in QUICK))], ids=str)
def test_it_trains_the_same_on_a_prefix_and_leaves_frozen_batch_norms_alone(method, tmp_path):
    start = resnet(method).state_dict()
    model, logits, log = fit(tmp_path / "whole", method)
    frozen, trained = frozen_and_trained_norms(model)
    for norms, moves in ((frozen, False), (trained, True)):
        for name in norms:
            for part in ("running_mean", "running_var"):
                assert torch.equal(model.state_dict()[f"{name}.{part}"], start[f"{name}.{part}"]) != moves, name
    assert bool(trained) == bool(method.trained_parameters(model.base_encoder))
    if SPLITS[method] is not None:
        _, again, again_log = fit(tmp_path / "prefix", method, ON)
        np.testing.assert_allclose(again, logits, rtol=0, atol=1e-5)
        for one, other in zip(again_log, log, strict=True):
            assert one == pytest.approx(other, abs=1e-5)


EVERYTHING = loop(OFF, drop_path=0.3, gradient_checkpointing=True, save_minutes=1e-9)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (NormBias(), loop(EVERYTHING, layer_decay=0.5)),
        (SideTuning(width=8, dropout=0.2), OFF),
        *slow(
            (Full(), loop(EVERYTHING, layer_decay=0.5)),
            (LoRA(rank=2, dropout=0.2), EVERYTHING),
            (LinearProbe(layers="mix"), OFF),
        ),
    ],
    ids=str,
)
def test_stopped_and_resumed_it_ends_on_the_same_bits(method, settings, tmp_path):
    _, logits, log = fit(tmp_path / "whole", method, settings)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "stopped", method, settings, stop_after=8)
    _, resumed, resumed_log = fit(tmp_path / "stopped", method, settings)
    assert np.array_equal(resumed, logits)
    assert resumed_log == log


@pytest.mark.parametrize("method", [TopLayers(layers=2), *slow(Full(), LoRA(rank=2, dropout=0.2))], ids=str)
def test_gradient_checkpointing_keeps_the_numbers_and_counts_batches_once(method, tmp_path):
    model, logits, log = fit(tmp_path / "kept", method, loop(OFF, drop_path=0.3))
    other, again, again_log = fit(tmp_path / "again", method, loop(OFF, drop_path=0.3, gradient_checkpointing=True))
    assert np.array_equal(again, logits)
    assert again_log == log
    for name, buffer in model.named_buffers():
        assert torch.equal(other.get_buffer(name), buffer), name


def test_drop_path_changes_the_training(tmp_path):
    _, plain, _ = fit(tmp_path / "plain", Full())
    _, dropping, _ = fit(tmp_path / "dropping", Full(), loop(OFF, drop_path=0.3))
    assert not np.array_equal(plain, dropping)


def test_rates_fall_from_the_last_block_to_the_stem():
    rates = layer_rates(resnet(Full()), Full(), 0.5)
    assert {name.split(".")[1]: rate for name, rate in rates.items() if ".stem." in name} == {"stem": 0.5**4}
    for block in range(4):
        found = {rate for name, rate in rates.items() if f".layers.{block}." in name}
        assert found == {0.5 ** (3 - block)}


def test_top_layers_are_the_last_blocks():
    encoder = classifier(ResNet1d, SIZES).base_encoder
    chosen = TopLayers(layers=2).trained_parameters(encoder)
    assert {".".join(name.split(".")[:2]) for name in chosen} == {"layers.2", "layers.3"}


def test_a_mix_reads_the_depths_of_one_width():
    model = resnet(LinearProbe(layers="mix"))
    assert model.encoder.mix.shape == (2,)  # behind the third and the fourth block
    wide = attach(classifier(ResNet1d, replace(SIZES, channels=(8, 8))), LinearProbe(layers="mix"))
    assert wide.encoder.mix.shape == (5,)  # shorter by half from the third block on: averaged to the last length
    with torch.no_grad():
        states, _ = wide.base_encoder.eval().forward_intermediates(torch.from_numpy(VALIDATION.inputs))
        lengths = [state.shape[1] for state in states]
        assert lengths[0] == 2 * lengths[-1]
        halved = [state.unflatten(1, (lengths[-1], -1)).mean(dim=2) for state in states]
        expected = wide.head(torch.stack(halved).mean(dim=(0, 2)))
        found = wide.eval()(torch.from_numpy(VALIDATION.inputs))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
