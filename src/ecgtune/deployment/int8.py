"""A model whose layers multiply whole numbers of eight bits, for predictions on a CPU."""

from __future__ import annotations

import copy
import warnings
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn

from ecgtune.errors import SettingError
from ecgtune.models.classifier import Classifier

#: The library that carries the products out; on x86 it uses AVX512-VNNI or AMX where they are.
ENGINE = "onednn"
LARGEST = 127


class Int8Linear(nn.Module):
    """A linear layer with weights of eight bits, a scale for each output, and inputs rounded to eight bits as well.

    w ~ scale * q with q = round(w / scale) in -127 .. 127 and scale = max |w| / 127 of its row; the inputs' scale is
    that of the smallest and largest one of the batch (Jacob et al. 2018, arXiv:1712.05877). The bias stays float32.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach().float()
        scale = (weight.abs().amax(dim=1) / LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
        zero = torch.zeros(len(weight), dtype=torch.long)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # torch says of its quantised tensors that they will go some day
            rounded = torch.quantize_per_channel(weight, scale.double(), zero, 0, torch.qint8)
        before = torch.backends.quantized.engine
        torch.backends.quantized.engine = ENGINE  # of this process; it decides how weights are packed
        try:
            bias = None if layer.bias is None else layer.bias.detach().float()
            self._packed = torch.ops.quantized.linear_prepack(rounded, bias)
        finally:
            torch.backends.quantized.engine = before

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., inputs) float -> (..., outputs), in the number format of autocast or else of the inputs."""
        kind = inputs.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype
        return torch.ops.quantized.linear_dynamic(inputs.float(), self._packed).to(dtype)


@cache
def exact_products() -> bool:
    """Whether products of eight bits are exact on this machine.

    Without VNNI instructions, or where ONEDNN_MAX_CPU_ISA forbids them, the sums of two products saturate in sixteen
    bits and predictions would be wrong unseen. So the largest product is computed and looked at.
    """
    if ENGINE not in torch.backends.quantized.supported_engines:
        return False
    layer = nn.Linear(64, 32, bias=False)
    nn.init.ones_(layer.weight)
    with torch.no_grad():
        found = Int8Linear(layer)(torch.stack([torch.zeros(64), torch.ones(64)]))
    return torch.allclose(found[1], torch.full((32,), 64.0), rtol=0.02)


def int8_copy(model: Classifier) -> Classifier:
    """A copy of `model`, on the CPU, whose blocks multiply in eight bits; stem, norms and head stay as they are.

    LoRA and its relatives are merged into the weights first. The copy is for predictions: it cannot be trained or
    saved. Raises SettingError for a model on another device or of a kind that has no such copy, and where this build of
    torch cannot multiply so.
    """
    device = next(model.parameters()).device
    if device.type != "cpu" or ENGINE not in torch.backends.quantized.supported_engines:
        here = "this build of torch" if device.type == "cpu" else f"device {device}"
        raise SettingError(f"precision is 'int8', but {here} has no products for it; use fp32 or bf16")
    if not exact_products():
        raise SettingError(
            "precision is 'int8', but products of eight bits are not exact here (no VNNI instructions); use fp32 or"
            " bf16"
        )
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    encoder = copied.base_encoder
    if copied.attached is not None:
        try:
            encoder = copied.attached.merged(copied.encoder)
        except SettingError as error:
            raise SettingError(f"precision is 'int8', but {error}; use fp32 or bf16") from None
    copied.encoder = copied.__dict__["base_encoder"] = encoder
    names = [name for block in encoder.blocks.values() for name in _linear_layers(block)]
    if not names:
        raise SettingError(
            f"precision is 'int8', but {encoder.architecture} has no linear layers in its blocks; use fp32 or bf16"
        )
    for block in encoder.blocks.values():
        for name in _linear_layers(block):
            parent, _, child = name.rpartition(".")
            setattr(block.get_submodule(parent), child, Int8Linear(cast(nn.Linear, block.get_submodule(name))))
    return copied


def _linear_layers(block: nn.Module) -> list[str]:
    return [name for name, module in block.named_modules() if isinstance(module, nn.Linear)]
