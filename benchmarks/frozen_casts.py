"""What casting frozen weights in every step costs: forward and backward pass with them in float32 and held in bf16.

    python benchmarks/frozen_casts.py

LoRA holds its own copies (`methods/low_rank_product.py`); here are methods that cast anew in each step, as they are
and with every frozen linear layer converted, so that nothing is left to cast. Both take turns; medians and ratios go
to benchmarks/results/frozen_casts.json.
"""

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch_compile import ecg_fm, tiny

from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.attach import attach
from ecgtune.methods.base import Method
from ecgtune.methods.ia3.settings import IA3
from ecgtune.methods.oft.settings import OFT
from ecgtune.methods.own_weights.settings import TopLayers
from ecgtune.models.classifier import Classifier
from ecgtune.utils.files import write_json
from ecgtune.workflows.environment import machine, now

RESULT = Path(__file__).parent / "results" / "frozen_casts.json"
#: name -> model, signal (batch, leads, samples)
SIZES = {"ecg-fm-tiny, 64 windows of 6 s": (tiny, (64, 1, 600)), "ECG-FM, 8 windows of 5 s": (ecg_fm, (8, 12, 2500))}
METHODS: dict[str, Method] = {
    "adapter": Adapter(width=32),
    "IA3": IA3(),
    "OFT": OFT(),
    "top layer": TopLayers(layers=1),
}


def held(model: Classifier) -> Classifier:
    """A copy whose frozen linear layers have their weights in bf16."""
    converted = copy.deepcopy(model)
    for module in converted.modules():
        if isinstance(module, nn.Linear) and not any(p.requires_grad for p in module.parameters()):
            module.to(torch.bfloat16)
    return converted


def measure(size: str, method: str, rounds: int) -> dict[str, Any]:
    """Median milliseconds of a step with frozen weights cast in each step and held in bf16."""
    make, shape = SIZES[size]
    torch.manual_seed(0)
    model = attach(make(), METHODS[method]).train()
    models = {"cast": model, "held": held(model)}
    signal, label = torch.randn(shape), torch.arange(shape[0]) % 2
    taken: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + 1):  # the first warms up
        for name, one in models.items():
            started = time.monotonic()
            with torch.autocast("cpu", torch.bfloat16):
                loss = cross_entropy(one(signal).float(), label)
            loss.backward()
            one.zero_grad()
            taken[name].append(time.monotonic() - started)
    cast, kept = (1e3 * float(np.median(times[1:])) for times in taken.values())
    return {"size": size, "method": method, "cast": cast, "held": kept, "ratio": cast / kept}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    rows = []
    for size in SIZES:
        for method in METHODS:
            rows.append(measure(size, method, asked.rounds))
            print(rows[-1], flush=True)
    command = "python benchmarks/frozen_casts.py"
    write_json(RESULT, {"command": command, "date": now(), "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
