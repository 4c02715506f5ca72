"""Bottleneck adapters as a peft tuner: peft has none, so ours is registered under the plain name BOTTLENECK.

With that, peft's own freezing, saving and loading serve adapters as they serve LoRA. Not served: hot swapping and
mixed batches (`adapter_names`), which peft refuses or ignores for tuners from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

from ecgtune.errors import NoPlaceError
from ecgtune.models.base import Encoder

PEFT_TYPE = "BOTTLENECK"
PREFIX = "bottleneck_"


@dataclass
class BottleneckConfig(PeftConfig):
    """Settings in peft's format (`adapter_config.json`).

    features: width of the input and output of a target module that is no convolution. width: inner width. parallel:
    read the module's input instead of its output.
    """

    target_modules: list[str] | None = None
    exclude_modules: list[str] | None = None
    modules_to_save: list[str] | None = None
    features: int = 0
    width: int = 0
    parallel: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PEFT_TYPE  # type: ignore[assignment]  # a plain name: peft's enum is closed


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """A frozen module with a trained bottleneck added to its output.

    `(..., features)` in and out, or (batch, channels, samples) around a convolution.
    """

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")
    other_param_names = ()

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: BottleneckConfig) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()
        self.parallel = config.parallel
        self.dropout = nn.Dropout(config.dropout)
        self.merged_adapters: list[str] = []
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: BottleneckConfig) -> None:
        base = self.base_layer
        if isinstance(base, nn.Conv1d):
            inputs = base.in_channels if config.parallel else base.out_channels
            stride = base.stride[0] if config.parallel else 1
            down: nn.Module = nn.Conv1d(inputs, config.width, 1, stride=stride)
            up: nn.Linear | nn.Conv1d = nn.Conv1d(config.width, base.out_channels, 1)
        else:
            down, up = nn.Linear(config.features, config.width), nn.Linear(config.width, config.features)
        # Zero at the start: the first forward pass is the frozen encoder's, to the bit.
        nn.init.zeros_(up.weight)
        if up.bias is not None:
            nn.init.zeros_(up.bias)
        self.bottleneck_down[adapter_name] = down
        self.bottleneck_up[adapter_name] = up
        self.set_adapter([adapter_name], inference_mode=config.inference_mode)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        output = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return output
        for name in self.active_adapters:
            source = x if self.parallel else output
            hidden = nn.functional.gelu(self.bottleneck_down[name](source))
            output = output + self.bottleneck_up[name](self.dropout(hidden))
        return output


class BottleneckModel(BaseTuner):
    """The tuner that puts a `BottleneckLayer` around every target module."""

    prefix = PREFIX
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 (peft reads it from the class)

    def _create_and_replace(  # pyright: ignore[reportIncompatibleMethodOverride]  # as peft's own tuners do
        self,
        peft_config: BottleneckConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter_name, peft_config)
            return
        wrapped = BottleneckLayer(target, adapter_name, peft_config)
        device = next((parameter.device for parameter in target.parameters()), torch.device("cpu"))
        self._replace_module(parent, target_name, wrapped.to(device), target)


def register() -> None:
    """Make peft know the tuner. Safe to call again: the tables then hold the same entries."""
    PEFT_TYPE_TO_CONFIG_MAPPING[PEFT_TYPE] = BottleneckConfig  # type: ignore[index]
    PEFT_TYPE_TO_TUNER_MAPPING[PEFT_TYPE] = BottleneckModel  # type: ignore[index]
    PEFT_TYPE_TO_PREFIX_MAPPING[PEFT_TYPE] = PREFIX  # type: ignore[index]


def find_branches(encoder: Encoder, placement: str) -> tuple[str, ...]:
    """Names of the modules behind or beside which a bottleneck is placed. Raises NoPlaceError where there are none."""
    roles = ("attention_branch", "mlp_branch") if placement == "both" else ("mlp_branch",)
    found = encoder.modules_of(*roles) or encoder.modules_of("conv_branch")
    if not found:
        raise NoPlaceError(f"{encoder.architecture} names no branches for an adapter")
    for name in found:
        module = encoder.get_submodule(name)
        if placement == "parallel" and isinstance(module, nn.Conv1d) and not _keeps_length(module):
            raise NoPlaceError(
                f"{name} of {encoder.architecture} shortens the signal, so no bottleneck fits parallel to it; use "
                "placement 'both'"
            )
    return found


def _keeps_length(conv: nn.Conv1d) -> bool:
    """Whether the output has the length of the input but for the stride."""
    padding = conv.padding[0] if isinstance(conv.padding, tuple) else None
    return padding is None or 2 * padding == conv.dilation[0] * (conv.kernel_size[0] - 1)


register()
