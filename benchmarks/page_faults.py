"""What it costs a training on a CPU that glibc gives freed arrays back to the kernel.

    python benchmarks/page_faults.py

times LoRA steps of ecg-fm-tiny in processes that keep freed memory and in processes that do not, in turn, and writes
seconds and page faults per step to benchmarks/results/page_faults.json. `training/memory.py` keeps it.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from ecgtune import Head, LoRA, load_model
from ecgtune.methods.attach import attach
from ecgtune.training.memory import keep_freed_memory
from ecgtune.utils.files import write_json
from ecgtune.workflows.environment import machine, now

RESULT = Path(__file__).parent / "results" / "page_faults.json"
ROUNDS, STEPS = 5, 10


def one_process(how: str) -> dict[str, float]:
    """Median milliseconds and mean page faults of a step, in this process."""
    if how == "kept":
        keep_freed_memory()
    model = attach(load_model("ecg-fm-tiny", head=Head(pooling="statistics")), LoRA(rank=4)).train()
    signal, label = torch.randn(64, 1, 600), torch.randint(0, 2, (64,))
    taken, faults = [], []
    for _ in range(3 + STEPS):
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(model(signal).float(), label)
        loss.backward()
        taken.append(1e3 * (time.perf_counter() - started))
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return {"milliseconds": float(np.median(taken[3:])), "faults": float(np.mean(faults[3:]))}


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(one_process(sys.argv[1])))
        return
    runs: dict[str, list[dict[str, float]]] = {"given back": [], "kept": []}
    for _ in range(ROUNDS):
        for how, found in runs.items():
            done = subprocess.run([sys.executable, __file__, how], capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    medians = {
        how: {name: float(np.median([run[name] for run in found])) for name in ("milliseconds", "faults")}
        for how, found in runs.items()
    }
    ratio = medians["given back"]["milliseconds"] / medians["kept"]["milliseconds"]
    print(f"a step is {ratio:.2f} times as fast with freed memory kept: {medians}")
    facts = {"command": "python benchmarks/page_faults.py", "date": now(), "machine": machine()}
    write_json(RESULT, {**facts, **medians, "given_back_over_kept": ratio})


if __name__ == "__main__":
    main()
