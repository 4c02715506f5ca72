"""The fused attention kernel beside explicit products, forward and backward, on this machine's CPU.

    python benchmarks/attention.py

times both, interleaved, at the sizes of ecg-fm-tiny and of ECG-FM with one-lead windows, and writes medians and ratios
to benchmarks/results/attention.json. `models/kernels.py` chooses by this.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ecgtune.models.layers import explicit_attention
from ecgtune.utils.files import write_json
from ecgtune.workflows.environment import machine, now

RESULT = Path(__file__).parent / "results" / "attention.json"
SHAPES = {"ecg-fm-tiny, 6 s": (64, 3, 75, 64), "ECG-FM, 5 s": (16, 12, 156, 64)}  # batch, heads, tokens, channels
ROUNDS = 15
WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "fused": F.scaled_dot_product_attention,
    "explicit": lambda query, key, value: explicit_attention(query, key, value, None, 0.0),
}


def milliseconds(shape: tuple[int, int, int, int], dtype: torch.dtype) -> dict[str, float]:
    """Median of forward plus backward for each way."""
    batch, heads, tokens, channels = shape
    inputs = [torch.randn(batch, tokens, heads, channels, dtype=dtype).transpose(1, 2).requires_grad_() for _ in "qkv"]
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, way in WAYS.items():
            started = time.perf_counter()
            way(*inputs).sum().backward()
            taken[name].append(1e3 * (time.perf_counter() - started))
    return {name: float(np.median(times[2:])) for name, times in taken.items()}


def main() -> None:
    rows = []
    for what, shape in SHAPES.items():
        for dtype in (torch.bfloat16, torch.float32):
            medians = milliseconds(shape, dtype)
            ratio = medians["fused"] / medians["explicit"]
            rows.append(
                {"size": what, "dtype": str(dtype).removeprefix("torch."), **medians, "fused_over_explicit": ratio}
            )
            print(f"{what}, {rows[-1]['dtype']}: explicit products are {ratio:.2f} times as fast")
    write_json(RESULT, {"command": "python benchmarks/attention.py", "date": now(), "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
