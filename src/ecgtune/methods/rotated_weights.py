"""OFT's layer with the rotation in the weights: what peft computes, without its passes over activations.

peft turns what a projection reads, block by block: for every token small products, and two transpositions of an array
as wide as the layer, forwards and backwards. W (R x) = (W R) x, so the frozen weights can be turned instead, once for
each step; the gradient of R then takes a product as large as the layer's own. In bf16 on a CPU that is cheaper for
small layers (`benchmarks/oft_layer.py`). peft 0.21 also keeps a dropout of blocks that its layer never applies; this
one does.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft.tuners import oft
from peft.tuners.oft.layer import OFTRotationModule
from torch import Tensor, nn

#: Weights of a layer up to which turning them is cheaper than turning what it reads, in bf16 on a CPU.
SMALL = 1 << 18


class RotatedLinear(oft.Linear):
    """peft's OFT layer, computed from turned weights where that is cheaper or blocks are dropped; else by peft.

    With an adapter that is merged or off, or with several, peft's forward runs too.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        active = self.active_adapters
        plain = not (args or kwargs or self.disable_adapters or self.merged) and len(active) == 1
        layer = cast(nn.Linear, self.get_base_layer())
        if not plain or not (self._drops(active[0]) or _small(layer.weight)):
            return super().forward(x, *args, **kwargs)
        return nn.functional.linear(x, self._turned(layer.weight, active[0]), layer.bias)

    def _drops(self, name: str) -> bool:
        return self.training and not isinstance(self.oft_dropout[name], nn.Identity)

    def _turned(self, weight: Tensor, name: str) -> Tensor:
        """W R of a projection (outputs, inputs), R block-diagonal by Cayley's transform (Qiu et al. 2023, eq. 4)."""
        rotation = cast(OFTRotationModule, self.oft_R[name])
        size = rotation.block_size
        # In float32: the products are small, and the rotations would be none of few bits.
        with torch.autocast(weight.device.type, enabled=False):
            turns = rotation._cayley_batch(
                rotation.weight, size, rotation.use_cayley_neumann, rotation.num_cayley_neumann_terms
            )
            turns = self.oft_dropout[name](turns)
            blocks = weight.unflatten(1, (-1, size))
            return torch.einsum("orc,rkc->ork", blocks, turns).flatten(1)


def _small(weight: Tensor) -> bool:
    kind = weight.device.type
    bf16 = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
    return kind == "cpu" and bf16 and weight.numel() <= SMALL
