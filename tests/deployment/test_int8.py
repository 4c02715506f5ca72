"""Predictions in eight bits, beside those in float32."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from ecgtune.deployment.int8 import Int8Linear, exact_products, int8_copy
from ecgtune.errors import SettingError
from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.attach import attach
from ecgtune.methods.ia3.settings import IA3
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.oft.settings import OFT
from ecgtune.methods.own_weights.settings import Full
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.training.inference import logits_of
from helpers.models import tiny_classifier

possible = pytest.mark.skipif(not exact_products(), reason="products of eight bits are not exact here")
SIGNAL = np.random.default_rng(0).standard_normal((40, 1, 160)).astype(np.float32)


@possible
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_the_product_of_rounded_weights_and_inputs(bias):
    torch.manual_seed(0)
    layer = nn.Linear(64, 32, bias=bias)
    inputs = torch.randn(2, 5, 64)
    scale = layer.weight.detach().abs().amax(1, keepdim=True) / 127
    weight = (layer.weight.detach() / scale).round() * scale
    step = (inputs.max() - inputs.min()) / 255
    expected = nn.functional.linear((inputs / step).round() * step, weight, layer.bias).detach()
    torch.testing.assert_close(Int8Linear(layer)(inputs), expected, rtol=0, atol=0.02)
    assert not torch.equal(Int8Linear(layer)(inputs), layer(inputs))
    with torch.autocast("cpu", torch.bfloat16):
        assert Int8Linear(layer)(inputs).dtype == torch.bfloat16


@possible
@pytest.mark.parametrize("method", [None, Full(), LinearProbe(), LoRA(rank=2), IA3(), OFT()], ids=str)
def test_the_copy_answers_almost_the_same_and_the_model_stays(method):
    model = tiny_classifier()
    if method is not None:
        attach(model, method)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05 * torch.randn_like(parameter))
    before = logits_of(model, SIGNAL)
    eight = int8_copy(model)
    found = logits_of(eight, SIGNAL)
    spread = before.std(0)
    assert (np.abs(found - before) < 0.25 * spread).mean() > 0.95
    assert not np.array_equal(found, before)
    assert np.array_equal(logits_of(model, SIGNAL), before)
    assert sum(isinstance(module, Int8Linear) for module in eight.modules()) == 2 * 6


@pytest.mark.parametrize("method", [Adapter(width=4), SideTuning(), LinearProbe(layers="mix")], ids=str)
def test_what_is_more_than_weights_of_the_layers_is_refused(method, monkeypatch):
    monkeypatch.setattr("ecgtune.deployment.int8.exact_products", lambda: True)
    monkeypatch.setattr("ecgtune.deployment.int8.ENGINE", torch.backends.quantized.supported_engines[0])
    with pytest.raises(SettingError, match="use fp32 or bf16"):
        int8_copy(attach(tiny_classifier(), method))


def test_a_processor_without_the_instructions_is_refused(monkeypatch):
    monkeypatch.setattr("ecgtune.deployment.int8.exact_products", lambda: False)
    with pytest.raises(SettingError, match="use fp32 or bf16"):
        int8_copy(tiny_classifier())


@possible
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is of x86")
def test_products_that_saturate_are_found():
    """In a process of its own: the library reads its variable once."""
    program = "from ecgtune.deployment.int8 import exact_products; print(exact_products())"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
