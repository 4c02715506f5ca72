"""OFT's layer with the rotation in the weights: what peft computes, without its passes over activations.

peft turns what a projection reads, block by block: for every token small products, and two transpositions of an array
as wide as the layer, forwards and backwards. W (R x) = (W R) x, so the frozen weights can be turned instead, once for
each step; the gradient of R then takes a product as large as the layer's own. In bf16 on a CPU that is cheaper for
small layers and many tokens (`benchmarks/micro.py`). peft 0.21 also keeps a dropout of blocks that its layer never
applies; this one does.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft import OFTConfig, OFTModel, PeftType
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners import oft
from peft.tuners.oft.layer import OFTRotationModule
from torch import Tensor, nn

from ecgtune.errors import SettingError

#: Weights of a layer up to which, and tokens from which, turning them is cheaper in bf16 on a CPU: sizes that were
#: measured on either side lie far apart.
SMALL, MANY = 1 << 18, 1024


class RotatedLinear(oft.Linear):
    """peft's OFT layer, computed from turned weights where that is cheaper or blocks are dropped; else by peft.

    With an adapter that is merged or off, with several, or with settings that no recipe has, peft's forward runs.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        active = self.active_adapters
        plain = not (args or kwargs or self.disable_adapters or self.merged) and len(active) == 1
        layer = cast(nn.Linear, self.get_base_layer())
        if not plain or active[0] not in self.oft_R:
            return super().forward(x, *args, **kwargs)
        rotation, dropped = cast(OFTRotationModule, self.oft_R[active[0]]), self._dropped(active[0])
        if rotation.coft or rotation.block_share or not (dropped or _cheaper(layer.weight, x)):
            return super().forward(x)
        return nn.functional.linear(x, _turned(layer.weight, rotation, dropped), layer.bias)

    def _dropped(self, name: str) -> float:
        """Probability of a block to be left unturned now."""
        return getattr(self.oft_dropout[name], "p", 0.0) if self.training else 0.0


def _turned(weight: Tensor, rotation: OFTRotationModule, dropped: float) -> Tensor:
    """W R of a projection (outputs, inputs), R block-diagonal by Cayley's transform (Qiu et al. 2023, section 3).

    dropped: probability of a block of R to be the identity, drawn anew for each.
    """
    turns = _turns(rotation, weight.device.type, dropped)
    with torch.autocast(weight.device.type, enabled=False):
        blocks = weight.float().unflatten(1, (-1, rotation.block_size))
        return torch.einsum("orc,rkc->ork", blocks, turns).flatten(1).to(weight.dtype)


def _turns(rotation: OFTRotationModule, device: str, dropped: float = 0.0) -> Tensor:
    """Blocks of the rotation (blocks, size, size), in float32: the products are small, and few bits are no rotation."""
    with torch.autocast(device, enabled=False):
        turns = rotation._cayley_batch(
            rotation.weight.float(),
            rotation.block_size,
            rotation.use_cayley_neumann,
            rotation.num_cayley_neumann_terms,
        )
        if dropped:
            kept = torch.rand(len(turns), 1, 1, device=turns.device) >= dropped
            turns = torch.where(kept, turns, torch.eye(rotation.block_size, device=turns.device))
        return turns


def _cheaper(weight: Tensor, x: Tensor) -> bool:
    kind = weight.device.type
    bf16 = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
    return kind == "cpu" and bf16 and weight.numel() <= SMALL and x.numel() >= MANY * x.shape[-1]


class RotatedConv1d(nn.Module, oft.OFTLayer):
    """A frozen convolution whose input channels are rotated, block by block, at every sample."""

    def __init__(self, base_layer: nn.Conv1d, adapter_name: str, config: OFTConfig) -> None:
        super().__init__()
        oft.OFTLayer.__init__(self, base_layer)
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, 0, config=config)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, samples) as of the convolution."""
        if not self.disable_adapters and not self.merged:
            for name in self.active_adapters:
                rotation = cast(OFTRotationModule, self.oft_R[name])
                dropped = getattr(self.oft_dropout[name], "p", 0.0) if self.training else 0.0
                turns = _turns(rotation, x.device.type, dropped).to(x.dtype)
                blocks = x.unflatten(1, (-1, rotation.block_size))
                x = torch.einsum("bnkt,nkc->bnct", blocks, turns).flatten(1, 2)
        return self.base_layer(x)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Multiply the rotation into the kernel."""
        conv = cast(nn.Conv1d, self.get_base_layer())
        for name in adapter_names or self.active_adapters:
            rotation = cast(OFTRotationModule, self.oft_R[name])
            turns = _turns(rotation, conv.weight.device.type).unflatten(0, (conv.groups, -1))
            kernel = conv.weight.data.float().unflatten(0, (conv.groups, -1)).unflatten(2, (-1, rotation.block_size))
            merged = torch.einsum("gnkc,gonct->gonkt", turns, kernel)
            conv.weight.data.copy_(merged.flatten(2, 3).flatten(0, 1))
            self.merged_adapters.append(name)


class ConvolutionOFTModel(OFTModel):
    """peft's tuner for OFT, which has no layer for one-dimensional convolutions."""

    @staticmethod
    def _create_new_module(oft_config: Any, adapter_name: str, target: Any, **kwargs: Any) -> Any:
        if isinstance(target, nn.Conv1d):
            return RotatedConv1d(target, adapter_name, oft_config)
        return OFTModel._create_new_module(oft_config, adapter_name, target, **kwargs)


PEFT_TYPE_TO_TUNER_MAPPING[PeftType.OFT] = ConvolutionOFTModel


def check_block(layer: nn.Module, name: str, block: int) -> None:
    """Raise SettingError for a block that does not divide a layer's inputs; peft would take another one."""
    layer = cast(nn.Linear | nn.Conv1d, layer)
    width = layer.in_channels // layer.groups if isinstance(layer, nn.Conv1d) else layer.in_features
    if width % block:
        divisors = [str(n) for n in range(2, width + 1) if width % n == 0]
        allowed = f"allowed: {', '.join(divisors)}" if divisors else "name other modules in targets"
        raise SettingError(f"block of OFT is {block}, which does not divide the {width} inputs of {name}; {allowed}")


def use_rotated_weights(model: nn.Module) -> None:
    """Compute peft's layers by `RotatedLinear`; peft has no table of custom modules for OFT, and there is no state."""
    for module in model.modules():
        if type(module) is oft.Linear:
            module.__class__ = RotatedLinear
