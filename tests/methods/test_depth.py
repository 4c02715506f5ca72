"""Learning rates by depth, and the methods that depth can act on."""

import pytest

from ecgtune.errors import SettingError
from ecgtune.methods.attach import attach
from ecgtune.methods.depth import check_depth, layer_rates
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full, NormBias, TopLayers
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from helpers.methods import METHODS
from helpers.models import tiny_classifier


@pytest.mark.parametrize("method", [Full(), TopLayers(layers=2), NormBias()], ids=str)
def test_rates_fall_from_the_last_layer_down_to_the_stem(method):
    model = attach(tiny_classifier(), method)
    rates = layer_rates(model, method, 0.5)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad and name.startswith("encoder.")}
    assert set(rates) == trainable
    for name, rate in rates.items():
        assert rate == (1 if ".layers.1." in name else 0.5 if ".layers.0." in name else 0.25), name
    if isinstance(method, Full):
        assert rates["encoder.stem.0.conv.weight"] == rates["encoder.input_norm.weight"] == 0.25


def test_what_a_method_adds_keeps_its_rate():
    for method in METHODS:
        if not isinstance(method, (Full, TopLayers, NormBias)):
            assert layer_rates(attach(tiny_classifier(), method), method, 0.5) == {}


@pytest.mark.parametrize(
    ("method", "setting", "value", "parts"),
    [
        (LoRA(), "layer_decay", 0.5, ["layer_decay is 0.5", "lora", "full, top-layers or norm-bias"]),
        (LinearProbe(), "layer_decay", 0.5, ["layer_decay", "probe"]),
        (LinearProbe(), "drop_path", 0.1, ["drop_path is 0.1", "probe", "leave it out"]),
        (LinearProbe(), "layer_drop", 0.1, ["layer_drop is 0.1", "probe", "leave it out"]),
        (SideTuning(), "drop_path", 0.1, ["drop_path", "side", "does not train the encoder"]),
        (LinearProbe(), "checkpointing", True, ["gradient_checkpointing is on", "probe", "leave it out"]),
        (SideTuning(), "checkpointing", True, ["gradient_checkpointing is on", "side", "keeps no activations"]),
    ],
    ids=str,
)
def test_a_setting_that_cannot_act_is_refused(method, setting, value, parts):
    for model in (tiny_classifier(), attach(tiny_classifier(), method)):  # before a method is attached, and after
        with pytest.raises(SettingError) as error:
            check_depth(model, method, **{setting: value})
        assert all(part in str(error.value) for part in parts), str(error.value)
    check_depth(model, method)


@pytest.mark.parametrize("setting", [{"layer_decay": 0.5}, {"drop_path": 0.1}, {"checkpointing": True}], ids=str)
def test_an_encoder_without_blocks_has_no_depth(setting, monkeypatch):
    model = tiny_classifier()
    monkeypatch.setattr(type(model.base_encoder), "blocks", {})
    (name,) = setting
    with pytest.raises(SettingError, match=rf"{name} is .*, but ecg-fm has no blocks; leave it out"):
        check_depth(model, Full(), **setting)
