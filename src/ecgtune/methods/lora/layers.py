"""LoRA's linear layer as one product: the result of peft's, without its passes over wide activations.

peft adds `B(A(x)) * scale` to the frozen layer's output by one pass for the product, one for the scale and one for the
sum, each over an array as wide as the layer, and autograd does the same backwards. Here the update is accumulated
into the output by the matrix product itself, and the frozen weights are cast to the compute dtype once, not at every
step. `benchmarks/micro.py` measures what that is worth.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft.tuners import lora
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ecgtune.errors import SettingError


class LowRankProduct(torch.autograd.Function):
    """x W^T + b + scale (x A^T) B^T for frozen W and b; LoRA's equation 3 with the scale written out.

    x (rows, inputs), W (outputs, inputs), b (outputs,) or None, A (rank, inputs), B (outputs, rank), all of one dtype.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        inner = x @ a.t()
        output = nn.functional.linear(x, weight, bias)
        output.addmm_(inner, b.t(), alpha=scale)
        ctx.save_for_backward(x, weight, a, b, inner)
        ctx.scale = scale
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, a, b, inner = ctx.saved_tensors
        inner_gradient = (gradient @ b) * ctx.scale
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = (gradient @ weight).addmm_(inner_gradient, a)
        a_gradient = inner_gradient.t() @ x if ctx.needs_input_grad[3] else None
        b_gradient = (gradient.t() @ inner) * ctx.scale if ctx.needs_input_grad[4] else None
        return x_gradient, None, None, a_gradient, b_gradient, None


class LowRankLinear(lora.Linear):
    """peft's LoRA layer, computed by `LowRankProduct` wherever the two are the same mathematics.

    With several adapters, dropout at work, DoRA, a bias in the update, an adapter that is merged or switched off, or a
    layer that trains beside its update, peft's own forward runs.
    """

    _copy: FrozenCopy | None = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not self._plain or args or kwargs:
            return super().forward(x, *args, **kwargs)
        name = self.active_adapters[0]
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        weight, bias = self._frozen(dtype)
        a, b = (cast(nn.Linear, part[name]).weight.to(dtype) for part in (self.lora_A, self.lora_B))
        rows = x.to(dtype).reshape(-1, x.shape[-1])
        output = cast(Tensor, LowRankProduct.apply(rows, weight, bias, a, b, self.scaling[name]))
        return output.view(*x.shape[:-1], -1)

    @property
    def _plain(self) -> bool:
        active = self.active_adapters
        if self.disable_adapters or self.merged or len(active) != 1 or active[0] in self.lora_variant:
            return False
        if self.lora_bias[active[0]] or any(p.requires_grad for p in self.get_base_layer().parameters()):
            return False
        dropout = self.lora_dropout[active[0]]
        return not (isinstance(dropout, nn.Dropout) and dropout.p > 0 and self.training)

    def merge(self, *args: Any, **kwargs: Any) -> None:
        self._copy = None  # peft writes past autograd's count of versions, here and in unmerge
        super().merge(*args, **kwargs)

    def unmerge(self) -> None:
        self._copy = None
        super().unmerge()

    def _frozen(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the layer below in `dtype`, cast once until something writes to them."""
        layer = cast(nn.Linear, self.get_base_layer())
        if layer.weight.dtype == dtype:
            return layer.weight, layer.bias
        if self._copy is None or not self._copy.holds(layer, dtype):
            self._copy = FrozenCopy(layer, dtype)
        return self._copy.weight, self._copy.bias


class FrozenCopy:
    """Weight and bias of a frozen linear layer in another dtype, and of what they are the copy."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        self._source = layer.weight, layer.bias
        self._state = self._now(layer)
        self.weight = layer.weight.detach().to(dtype)
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)

    def holds(self, layer: nn.Linear, dtype: torch.dtype) -> bool:
        """Whether the layer still has the tensors that were copied, unwritten since, on the same device."""
        same = self._source[0] is layer.weight and self._source[1] is layer.bias
        return same and self.weight.dtype == dtype and self._state == self._now(layer)

    @staticmethod
    def _now(layer: nn.Linear) -> tuple[Any, ...]:
        tensors = [tensor for tensor in (layer.weight, layer.bias) if tensor is not None]
        return tuple((tensor._version, tensor.data_ptr()) for tensor in tensors)


def check_convolution(layer: nn.Module, name: str, *, rank: int, dora: bool, init: str) -> None:
    """Raise SettingError for settings with which LoRA cannot act on a convolution; other layers take any."""
    if not isinstance(layer, nn.Conv1d):
        return
    if rank % layer.groups:
        raise SettingError(
            f"rank of LoRA is {rank}, but {name} has {layer.groups} groups; allowed: a multiple of "
            f"{layer.groups}, or name other modules in targets"
        )
    if dora and (layer.groups > 1 or layer.padding_mode != "zeros"):
        # peft takes the norm of another kernel than the layer has then, and pads with zeros.
        kind = f"{layer.groups} groups" if layer.groups > 1 else f"padding mode {layer.padding_mode!r}"
        raise SettingError(
            f"dora of LoRA is true, but {name} has {kind}; allowed: dora = false, or name other modules in targets"
        )
    if init == "pissa":
        raise SettingError(f"init of LoRA is 'pissa', but {name} is a convolution; allowed: default")
