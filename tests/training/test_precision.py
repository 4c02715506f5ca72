"""What "auto" becomes, and that it is then a training as in the format by its name."""

import numpy as np
import pytest
import torch

from ecgtune.config.trainer import TrainerSettings
from ecgtune.methods.lora.settings import LoRA
from ecgtune.training.precision import choose_precision
from helpers.settings import loop
from helpers.training import SETTINGS, run, whole


@pytest.mark.parametrize(
    ("device", "capabilities", "gpu_has_it", "expected"),
    [
        ("cpu", {"avx512_bf16": True}, False, "bf16"),
        ("cpu", {"avx512_bf16": False, "amx_bf16": True}, False, "bf16"),
        ("cpu", {"avx2": True}, True, "fp32"),
        ("cpu", {"bf16": True}, True, "fp32"),  # ARM: not measured
        ("cuda", {"avx512_bf16": True}, False, "fp32"),
        ("cuda", {}, True, "bf16"),
        ("mps", {"avx512_bf16": True}, True, "fp32"),
    ],
)
def test_auto_is_bf16_where_the_device_has_instructions_for_it(monkeypatch, device, capabilities, gpu_has_it, expected):
    def supported(including_emulation):
        assert not including_emulation
        return gpu_has_it

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert choose_precision(torch.device(device), "auto") == expected
    for name in ("fp32", "bf16", "fp16"):
        assert choose_precision(torch.device(device), name) == name


@pytest.mark.parametrize("chosen", ["fp32", "bf16"])
def test_auto_trains_as_the_format_by_its_name(monkeypatch, tmp_path, chosen):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": chosen == "bf16"})
    told, auto, _ = run(tmp_path / "auto", LoRA(rank=2), loop(SETTINGS, precision="auto"))
    named, logits, _ = whole(LoRA(rank=2), loop(SETTINGS, precision=chosen))
    assert told.precision == named.precision == chosen
    assert np.array_equal(auto, logits)


def test_auto_is_what_nobody_has_to_ask_for():
    assert TrainerSettings().precision == "auto"
