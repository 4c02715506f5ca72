"""Does `torch.compile` pay? Forward and backward pass of LoRA as it is and compiled, and how long compiling takes.

    python benchmarks/torch_compile.py

Both take turns in bf16; medians, ratios and seconds of compiling go to benchmarks/results/torch_compile.json. Windows
of the last batch of an epoch have another shape, which is compiled once more: that is timed too. Needs a C++ compiler.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from ecgtune import load_model
from ecgtune.methods.attach import attach
from ecgtune.methods.lora.settings import LoRA
from ecgtune.models.classifier import Classifier, Head
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.weights import Weights
from ecgtune.utils.files import write_json
from ecgtune.workflows.environment import machine, now

RESULT = Path(__file__).parent / "results" / "torch_compile.json"


def tiny() -> Classifier:
    return load_model("ecg-fm-tiny-random")


def ecg_fm() -> Classifier:
    weights = Weights("random", "benchmark", seed=0)
    return Classifier(EcgFM(EcgFmConfig()), Head(), ("0", "1"), weights, name="ecg-fm", seed=0)


#: name -> model, rank, signal (batch, leads, samples)
SIZES = {
    "ecg-fm-tiny, r4, 64 windows of 6 s": (tiny, 4, (64, 1, 600)),
    "ECG-FM, r16, 8 windows of 5 s": (ecg_fm, 16, (8, 12, 2500)),
}


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Median milliseconds of a step as it is and compiled, and seconds until the first compiled step was done."""
    make, rank, shape = SIZES[name]
    torch.manual_seed(0)
    model = attach(make(), LoRA(rank=rank)).train()
    signal, label = torch.randn(shape), torch.arange(shape[0]) % 2
    compiled = torch.compile(model)

    def step(forward: Any, windows: int) -> float:
        started = time.monotonic()
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(forward(signal[:windows]).float(), label[:windows])
        loss.backward()
        model.zero_grad()
        return time.monotonic() - started

    whole, last = shape[0], max(2, shape[0] // 3)
    first = step(compiled, whole)
    again = step(compiled, last)
    taken: dict[str, list[float]] = {"as it is": [], "compiled": []}
    for _ in range(rounds + 1):  # the first warms up
        taken["as it is"].append(step(model, whole))
        taken["compiled"].append(step(compiled, whole))
    plain, fast = (1e3 * float(np.median(times[1:])) for times in taken.values())
    return {
        "size": name, "as it is": plain, "compiled": fast, "ratio": plain / fast,
        "seconds_compiling": first, "seconds_compiling_last_batch": again,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    rows = []
    for name in SIZES:
        rows.append(measure(name, asked.rounds))
        print(rows[-1])
        torch._dynamo.reset()
    write_json(
        RESULT,
        {"command": "python benchmarks/torch_compile.py", "date": now(), "machine": machine(), "rows": rows},
    )


if __name__ == "__main__":
    main()
