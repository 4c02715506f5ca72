"""Would queries, keys and values as one product be faster than three? Forward, and backward to the tokens.

    python benchmarks/qkv.py

times both, interleaved, with frozen weights at the sizes of ecg-fm-tiny and of ECG-FM, and writes medians and ratios to
benchmarks/results/qkv.json.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from ecgtune.utils.files import write_json
from ecgtune.workflows.environment import machine, now

RESULT = Path(__file__).parent / "results" / "qkv.json"
SHAPES = {"ecg-fm-tiny, 64 windows of 6 s": (64 * 75, 192), "ECG-FM, 16 windows of 5 s": (16 * 156, 768)}
ROUNDS = 25


def ways(width: int, dtype: torch.dtype) -> dict[str, Callable[[Tensor], Tensor]]:
    weights = [torch.randn(width, width, dtype=dtype) / width**0.5 for _ in "qkv"]
    together = torch.cat(weights)
    return {
        "three": lambda tokens: torch.stack([linear(tokens, weight).sum() for weight in weights]).sum(),
        "one": lambda tokens: torch.stack([part.sum() for part in linear(tokens, together).chunk(3, -1)]).sum(),
    }


def milliseconds(shape: tuple[int, int], dtype: torch.dtype) -> dict[str, float]:
    """Median of forward plus backward for each way."""
    tokens = torch.randn(*shape, dtype=dtype, requires_grad=True)
    timed = ways(shape[1], dtype)
    taken: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(ROUNDS):
        for name, way in timed.items():
            started = time.perf_counter()
            way(tokens).backward()
            taken[name].append(1e3 * (time.perf_counter() - started))
    return {name: float(np.median(times[3:])) for name, times in taken.items()}


def main() -> None:
    torch.manual_seed(0)
    rows = []
    for what, shape in SHAPES.items():
        for dtype in (torch.bfloat16, torch.float32):
            rows.append({"size": what, "dtype": str(dtype).removeprefix("torch."), **milliseconds(shape, dtype)})
            print(rows[-1])
    write_json(RESULT, {"command": "python benchmarks/qkv.py", "date": now(), "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
