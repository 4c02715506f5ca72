"""Lower bound of the time of a step from its operations, its memory traffic and the measured rates of this machine."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from encoders import seconds
from machines import lacks
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

#: Adam reads weight, gradient and two moments and writes three of them, four bytes each.
ADAM_BYTES = 28
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Rates:
    """Measured operations per second of a matrix product by precision, and bytes per second of a copy."""

    products: dict[str, float]
    bytes: float


@dataclass(frozen=True)
class Demand:
    """Minimum operations and bytes of a computation; `precision` of its products."""

    operations: float
    bytes: float
    precision: str

    def times(self, count: float) -> "Demand":
        return Demand(self.operations * count, self.bytes * count, self.precision)

    def bound(self, rates: Rates) -> dict[str, Any]:
        """Return the seconds of arithmetic and traffic, and the larger of the two."""
        arithmetic, traffic = self.operations / rates.products[self.precision], self.bytes / rates.bytes
        return {**asdict(self), "arithmetic": arithmetic, "traffic": traffic, "seconds": max(arithmetic, traffic)}


def measure_rates(size: int, device: torch.device, tries: int = 5) -> Rates:
    """Return the best of `tries` for `size` x `size` products and for a copy of 64 x size^2 bytes."""
    products = {}
    for name, dtype in DTYPES.items():
        if lacks(name, device) is None:
            one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
            product = torch.empty_like(one)
            taken = [seconds(lambda a=one, b=other, c=product: torch.mm(a, b, out=c), device) for _ in range(tries)]
            products[name] = 2 * size**3 / min(taken)
    source = torch.ones(16 * size * size, device=device)
    target = torch.empty_like(source)
    taken = [seconds(lambda: target.copy_(source), device) for _ in range(tries)]
    return Rates(products, bytes=2 * source.nbytes / min(taken))


def demand(module: nn.Module, forward: Callable[[], Tensor], precision: str, *, training: bool = True) -> Demand:
    """Count the operations of products and convolutions and the memory traffic of one step.

    Traffic consists of the weights once per pass, in `precision`; the activations saved for the backward pass, written
    and read once; and that of Adam. `forward` returns a loss; without `training` it runs without gradients.
    """
    weights = sum(p.numel() for p in module.parameters()) * (2 if precision == "bf16" else 4)
    kept = 0
    with FlopCounterMode(display=False) as counter:
        if training:
            kept = kept_bytes(module, forward)
        else:
            with torch.no_grad():
                forward()
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad) if training else 0
    traffic = weights * (2 if training else 1) + 2 * kept + ADAM_BYTES * trained
    return Demand(float(counter.get_total_flops()), float(traffic), precision)


def kept_bytes(module: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Return the bytes of activations that a step saves for the backward pass, without weights."""
    known = {p.data_ptr() for p in module.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in known:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward()
    loss.backward()
    return sum(kept.values())
