"""What a training step of each method costs: time, and memory that is kept for the backward pass.

    python benchmarks/speed/methods.py

times forward and backward pass of every method on ecg-fm-tiny, as its recipe has it, and on ECG-FM, in sizes of that
encoder, in turn, in bf16, and writes medians and ratios to LoRA's to benchmarks/results/methods.json and into
docs/performance.md. Weights are random: neither time nor memory depends on them. Each method is timed with the encoder
run in each step, as it is when windows are augmented, and with what its training cannot change computed once, as it is
otherwise.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from floor import kept_bytes, seconds
from page import into_page, methods_table
from torch import nn
from torch.nn.functional import cross_entropy

from ecgtune import load_model
from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.attach import attach
from ecgtune.methods.audits import count_parameters
from ecgtune.methods.base import Method
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full, TopLayers
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.methods.split import FrozenPrefix, TrainableSuffix, split_point
from ecgtune.models.classifier import Classifier, Head
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.weights import Weights
from ecgtune.recipe.recipe import load_recipes
from ecgtune.utils.files import write_json
from ecgtune.workflows.environment import machine, now

RESULT = Path(__file__).parents[1] / "results" / "methods.json"
#: LoRA first: the others are compared with it.
RECIPES = {
    "LoRA": "lora",
    "DoRA": "dora",
    "OFT": "oft",
    "adapter": "adapter",
    "side tuning": "side",
    "top layer": "top-layers",
    "linear probe": "probe",
    "full": "full",
}
LARGE: dict[str, Method] = {
    "LoRA": LoRA(rank=16),
    "adapter": Adapter(width=64),
    "side tuning": SideTuning(),
    "top layer": TopLayers(layers=1),
    "linear probe": LinearProbe(),
    "full": Full(),
}
#: name -> encoder, signal (batch, leads, samples), methods
SIZES: dict[str, tuple[str | EcgFmConfig, tuple[int, int, int], dict[str, Method]]] = {
    "ecg-fm-tiny, 64 windows of 6 s": (
        "ecg-fm-tiny-random",
        (64, 1, 600),
        {title: load_recipes(name)[0].method for title, name in RECIPES.items()},
    ),
    "ECG-FM, 8 windows of 5 s": (EcgFmConfig(), (8, 12, 2500), LARGE),
}


class Step:
    """Forward and backward pass of one method on one batch of noise, from the signal or from what is computed once."""

    def __init__(self, model: str | EcgFmConfig, method: Method, shape: tuple[int, int, int]) -> None:
        torch.manual_seed(0)
        made = load_model(model) if isinstance(model, str) else _classifier(model)
        self.model = attach(made, method).train()
        self.count = count_parameters(self.model, method)
        self._signal, self._label = torch.randn(shape), torch.arange(shape[0]) % 2
        cut = split_point(self.model, method)
        self._above = None if cut is None else TrainableSuffix(self.model, cut)
        if cut is not None:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                self._kept = FrozenPrefix(self.model, cut)(self._signal)

    def forward(self) -> torch.Tensor:
        return self._loss(self.model, self._signal)

    def anew(self) -> None:
        """A step with the encoder in it."""
        self.forward().backward()
        self.model.zero_grad()

    def once(self) -> None:
        """A step on what is computed once; the same as `anew` for a method that changes everything."""
        if self._above is None:
            return self.anew()
        self._loss(self._above, self._kept).backward()
        self.model.zero_grad()
        return None

    def _loss(self, part: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return cross_entropy(part(inputs).float(), self._label)


def _classifier(config: EcgFmConfig) -> Classifier:
    return Classifier(EcgFM(config), Head(), ("0", "1"), Weights("random", "benchmark", seed=0), name="ecg-fm", seed=0)


def measure(
    model: str | EcgFmConfig, shape: tuple[int, int, int], methods: dict[str, Method], rounds: int
) -> list[dict[str, Any]]:
    """A row per method: median seconds of both steps, bytes kept for the backward pass, and all of them over LoRA's."""
    steps = {name: Step(model, method, shape) for name, method in methods.items()}
    anew: dict[str, list[float]] = {name: [] for name in steps}
    once: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):  # the first warms up
        for name, step in steps.items():
            anew[name].append(seconds(step.anew, torch.device("cpu")))
            once[name].append(seconds(step.once, torch.device("cpu")))
    rows = [
        {
            "method": name,
            "trainable_share": step.count.fraction,
            "seconds": float(np.median(anew[name][1:])),
            "seconds_once": float(np.median(once[name][1:])),
            "kept_bytes": kept_bytes(step.model, step.forward),
        }
        for name, step in steps.items()
    ]
    lora = rows[0]
    return [
        row | {f"{key}_over_lora": row[key] / lora[key] for key in ("seconds", "seconds_once", "kept_bytes")}
        for row in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    sizes = [{"size": name, "rows": measure(*what, asked.rounds)} for name, what in SIZES.items()]
    result = {"command": "python benchmarks/speed/methods.py", "date": now(), "machine": machine(), "sizes": sizes}
    write_json(RESULT, result)
    text = methods_table(result)
    print(text)
    into_page("methods", text)


if __name__ == "__main__":
    main()
