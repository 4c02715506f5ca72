"""How cost grows with windows, samples per window, LoRA's rank and the encoder's depth.

    python benchmarks/speed/growth.py

times epochs of ecg-fm-tiny through the product's own loop on more and more simulated windows, and forward and backward
pass of ECG-FM (random weights: neither time nor memory depends on them) with one of its sizes changed at a time, in
bf16. Medians go to benchmarks/results/growth.json, the figure growth.svg beside it, and what a doubling costs into
docs/performance.md. A step has the encoder in it, as when windows are augmented.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from floor import kept_bytes, seconds
from growth_figure import write_figure
from page import growth_table, into_page

from ecgtune import Optimisation, TrainerSettings, fine_tune, load_model, simulate
from ecgtune.methods.base import Method
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.models.ecg_fm.network import EcgFmConfig
from ecgtune.utils.files import write_json
from ecgtune.workflows.environment import machine, now
from methods import Step

RESULT = Path(__file__).parents[1] / "results" / "growth.json"
BATCH, LEADS, SAMPLES, RANK = 8, 12, 2500, 16
OTHERS = 200  # validation windows of an epoch, and test windows after it
METHODS: Mapping[str, Method] = {
    "full": Full(),
    "lora": LoRA(rank=RANK),
    "side": SideTuning(),
    "probe": LinearProbe(),
}


@dataclass(frozen=True)
class Axis:
    """One size that grows: `values` of it, in `methods`, everything else as it is in ECG-FM."""

    name: str
    title: str
    values: tuple[int, ...]
    methods: tuple[str, ...] = tuple(METHODS)

    def step(self, method: str, value: int) -> Step:
        """A step of `method` at `value`. Windows are no matter of a step."""
        config = replace(EcgFmConfig(), depth=value) if self.name == "depth" else EcgFmConfig()
        chosen = LoRA(rank=value) if self.name == "rank" else METHODS[method]
        samples = value if self.name == "samples" else SAMPLES
        return Step(config, chosen, (BATCH, LEADS, samples))


WINDOWS = Axis("windows", "training windows", (1000, 2000, 4000))
STEPS = (
    Axis("samples", "samples per window", (625, 1250, 2500, 5000)),
    Axis("rank", "rank of LoRA", (2, 4, 8, 16, 32, 64), ("lora",)),
    Axis("depth", "transformer layers", (3, 6, 12, 24)),
)


def measure_steps(axis: Axis, rounds: int) -> list[dict[str, Any]]:
    """A row per method and value: median seconds of a step, and bytes that its forward pass keeps."""
    rows = []
    for value in axis.values:
        steps = {method: axis.step(method, value) for method in axis.methods}
        taken: dict[str, list[float]] = {method: [] for method in steps}
        for _ in range(rounds + 1):  # the first warms up
            for method, step in steps.items():
                taken[method].append(seconds(step.anew, torch.device("cpu")))
        rows += [
            {
                "axis": axis.name, "value": value, "method": method,
                "seconds": float(np.median(taken[method][1:])), "bytes": kept_bytes(step.model, step.forward),
            }
            for method, step in steps.items()
        ]  # fmt: skip
    return rows


def measure_epochs() -> list[dict[str, Any]]:
    """A row per method and number of windows: seconds of an epoch of ecg-fm-tiny, and the process's peak memory."""
    rows = []
    for value in WINDOWS.values:
        for method in WINDOWS.methods:  # in a process of its own: a peak is of the process
            told = subprocess.run(
                [sys.executable, __file__, "--epochs-of", method, str(value)],
                check=True,
                capture_output=True,
                text=True,
            )
            rows.append({"axis": WINDOWS.name, "value": value, "method": method, **json.loads(told.stdout)})
    return rows


def epochs(method: str, windows: int) -> dict[str, float]:
    """Two epochs of `windows` training windows, of which the second is one after everything is warm."""
    chosen = LoRA(rank=4) if method == "lora" else METHODS[method]
    dataset = simulate(windows + 2 * OTHERS, seed=0)
    part = np.repeat(["train", "val", "test"], [windows, OTHERS, OTHERS])
    trainer = TrainerSettings(precision="bf16", prefix_cache="off", device="cpu")
    with tempfile.TemporaryDirectory() as place:
        model = load_model("ecg-fm-tiny")
        run = fine_tune(
            model,
            replace(dataset, split=part, group=None),
            method=chosen,
            optimisation=Optimisation(epochs=2),
            trainer=trainer,
            out=Path(place) / "run",
            quiet=True,
        )
    found = run.metrics["training"]
    return {"seconds": found["seconds_per_epoch"], "bytes": found["peak_memory_bytes"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs-of", nargs=2, metavar=("METHOD", "WINDOWS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.epochs_of:
        method, windows = asked.epochs_of
        print(json.dumps(epochs(method, int(windows))))
        return
    rows = measure_epochs() + [row for axis in STEPS for row in measure_steps(axis, asked.rounds)]
    result = {
        "command": "python benchmarks/speed/growth.py",
        "date": now(),
        "machine": machine(),
        "axes": {axis.name: axis.title for axis in (WINDOWS, *STEPS)},
        "base": {"batch": BATCH, "leads": LEADS, "samples": SAMPLES, "rank": RANK, "depth": EcgFmConfig().depth},
        "rows": rows,
    }
    write_json(RESULT, result)
    write_figure(RESULT.with_suffix(".svg"), result)
    text = growth_table(result)
    print(text)
    into_page("growth", text)


if __name__ == "__main__":
    main()
