"""OFT's layer with the rotation in the weights: what peft computes, without its passes over activations.

peft turns what a projection reads, block by block: for every token small products, and two transpositions of an array
as wide as the layer, forwards and backwards. W (R x) = (W R) x, so the frozen weights can be turned instead, once for
each step; the gradient of R then takes a product as large as the layer's own. In bf16 on a CPU that is cheaper for
small layers and many tokens (`benchmarks/oft_layer.py`). peft 0.21 also keeps a dropout of blocks that its layer never
applies; this one does.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft.tuners import oft
from peft.tuners.oft.layer import OFTRotationModule
from torch import Tensor, nn

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
    # In float32: the products are small, and the rotations would be none of few bits.
    with torch.autocast(weight.device.type, enabled=False):
        turns = rotation._cayley_batch(
            rotation.weight.float(),
            rotation.block_size,
            rotation.use_cayley_neumann,
            rotation.num_cayley_neumann_terms,
        )
        if dropped:
            kept = torch.rand(len(turns), 1, 1, device=turns.device) >= dropped
            turns = torch.where(kept, turns, torch.eye(rotation.block_size, device=turns.device))
        blocks = weight.float().unflatten(1, (-1, rotation.block_size))
        return torch.einsum("orc,rkc->ork", blocks, turns).flatten(1).to(weight.dtype)


def _cheaper(weight: Tensor, x: Tensor) -> bool:
    kind = weight.device.type
    bf16 = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
    return kind == "cpu" and bf16 and weight.numel() <= SMALL and x.numel() >= MANY * x.shape[-1]
