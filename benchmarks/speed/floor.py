"""What a machine can do at most, and what a step asks of it: operations, bytes, and the time that these must take."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

#: Adam reads weight, gradient and two moments and writes three of them back, four bytes each.
ADAM_BYTES = 28


@dataclass(frozen=True)
class Rates:
    """Measured: floating-point operations per second of a matrix product by dtype, bytes per second of a copy."""

    bf16: float
    fp32: float
    bytes: float


@dataclass(frozen=True)
class Demand:
    """What one piece of work asks for at least. dtype: that of its products, "bf16" or "fp32"."""

    operations: float
    bytes: float
    dtype: str

    def floor(self, rates: Rates) -> dict[str, float]:
        """Seconds by arithmetic and by traffic, and the larger of the two."""
        arithmetic = self.operations / (rates.bf16 if self.dtype == "bf16" else rates.fp32)
        traffic = self.bytes / rates.bytes
        return {**asdict(self), "arithmetic": arithmetic, "traffic": traffic, "seconds": max(arithmetic, traffic)}


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Of one call, the accelerator's part included."""
    synchronise(device)
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_rates(size: int, device: torch.device, tries: int = 5) -> Rates:
    """The best of some tries: of `size` x `size` products in bf16 and float32, and of a copy of 64 x size^2 bytes."""
    rates = {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        product = torch.empty_like(one)
        taken = [seconds(lambda a=one, b=other, c=product: torch.mm(a, b, out=c), device) for _ in range(tries)]
        rates[name] = 2 * size**3 / min(taken)
    source = torch.ones(16 * size * size, device=device)
    target = torch.empty_like(source)
    taken = [seconds(lambda: target.copy_(source), device) for _ in range(tries)]
    return Rates(**rates, bytes=2 * source.nbytes / min(taken))


def demand(module: nn.Module, forward: Callable[[], Tensor], dtype: str, *, training: bool = True) -> Demand:
    """Count one step: operations of products and convolutions, and bytes that cannot stay in a cache.

    The bytes are the weights once for each pass, in the dtype of the products; what is kept for the backward pass,
    written once and read once; and Adam's. `forward` gives a loss; without `training` it runs without gradients.
    """
    weights = sum(p.numel() for p in module.parameters()) * (2 if dtype == "bf16" else 4)
    kept = 0
    with FlopCounterMode(display=False) as counter:
        if training:
            kept = kept_bytes(module, forward)
        else:
            with torch.no_grad():
                forward()
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad) if training else 0
    traffic = weights * (2 if training else 1) + 2 * kept + ADAM_BYTES * trained
    return Demand(float(counter.get_total_flops()), float(traffic), dtype)


def kept_bytes(module: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Bytes that one step keeps from the forward for the backward pass, weights not counted; both are run."""
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
