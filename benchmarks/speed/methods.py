"""Cost of a training step of each method: time, and memory saved for the backward pass.

    python benchmarks/speed/methods.py

times forward and backward pass of every method on ecg-fm-tiny (settings of its recipe) and on ECG-FM, alternating, and
writes medians and ratios to LoRA to benchmarks/results/methods-KIND.json and docs/performance.md. Each method is timed
with the whole encoder in every step (augmented windows), and with a precomputed frozen prefix (other windows).
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parents[1]))
from encoders import classifier, loss, medians
from machines import described, lacks, result_file, write_result
from pages import amount, markdown, update
from roofline import kept_bytes

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
from ecgtune.models.ecg_fm.network import EcgFmConfig
from ecgtune.recipes.recipe import load_recipes
from ecgtune.training.precision import autocast

#: LoRA is first, because the others are compared with it.
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
LARGE: Mapping[str, Method] = {
    "LoRA": LoRA(rank=16),
    "adapter": Adapter(width=64),
    "side tuning": SideTuning(block="transformer", dropout=0.0),
    "top layer": TopLayers(layers=1),
    "linear probe": LinearProbe(),
    "full": Full(),
}
CPU = torch.device("cpu")


class Step:
    """Forward and backward pass of one method on one batch of noise, from signals or from precomputed features."""

    def __init__(self, model: str | EcgFmConfig, method: Method, shape: tuple[int, int, int], precision: str) -> None:
        torch.manual_seed(0)
        self.model = attach(load_model(model) if isinstance(model, str) else classifier(model), method).train()
        self.fraction = count_parameters(self.model, method).fraction
        self._signal, self._precision = torch.randn(shape), precision
        split = split_point(self.model, method)
        self._suffix = None if split is None else TrainableSuffix(self.model, split)
        if split is not None:
            with torch.no_grad(), autocast(CPU, precision):
                self._features = FrozenPrefix(self.model, split)(self._signal)

    def forward(self) -> torch.Tensor:
        return loss(self.model, self._signal, self._precision)

    def whole(self) -> None:
        """Run a step with the whole encoder."""
        self.forward().backward()
        self.model.zero_grad()

    def cached(self) -> None:
        """Run a step on precomputed features, as `whole` for a method without a frozen prefix."""
        if self._suffix is None:
            return self.whole()
        loss(self._suffix, self._features, self._precision).backward()
        self.model.zero_grad()
        return None


def measure(steps: Mapping[str, Step], rounds: int) -> list[dict[str, Any]]:
    """Return one row per method: median seconds of both steps, bytes saved for the backward pass, ratios to LoRA."""
    whole = medians({name: step.whole for name, step in steps.items()}, rounds)
    cached = medians({name: step.cached for name, step in steps.items()}, rounds)
    rows = [
        {
            "method": name,
            "trainable_fraction": step.fraction,
            "seconds": whole[name],
            "seconds_cached": cached[name],
            "kept_bytes": kept_bytes(step.model, step.forward),
        }
        for name, step in steps.items()
    ]
    costs = ("seconds", "seconds_cached", "kept_bytes")
    return [row | {f"{name}_over_lora": row[name] / rows[0][name] for name in costs} for row in rows]


def table(result: Mapping[str, Any]) -> str:
    """Return one Markdown table per encoder with one row per method."""
    lines = [f"{described(result)}, {result['precision']}.", ""]
    for size in result["sizes"]:
        header = (
            *(size["size"], "trainable", "step with the encoder", "/ LoRA", "step from cached features", "/ LoRA"),
            *("saved for the backward pass", "/ LoRA"),
        )
        rows = [
            (
                row["method"],
                f"{100 * row['trainable_fraction']:.2f} %",
                *(amount(row["seconds"]), f"{row['seconds_over_lora']:.2f}x"),
                *(amount(row["seconds_cached"]), f"{row['seconds_cached_over_lora']:.2f}x"),
                *(amount(row["kept_bytes"], "bytes"), f"{row['kept_bytes_over_lora']:.2f}x"),
            )
            for row in size["rows"]
        ]
        lines.append(markdown(header, rows))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    precision = "fp32" if lacks("bf16") else "bf16"
    tiny = {title: load_recipes(name)[0].method for title, name in RECIPES.items()}
    sizes = []
    for title, model, shape, methods in (
        ("ecg-fm-tiny, 64 windows of 6 s", "ecg-fm-tiny-random", (64, 1, 600), tiny),
        ("ECG-FM, 8 windows of 5 s", EcgFmConfig(), (8, 12, 2500), LARGE),
    ):
        steps = {name: Step(model, method, shape, precision) for name, method in methods.items()}
        sizes.append({"size": title, "rows": measure(steps, options.rounds)})
    write_result(result_file("methods"), {"precision": precision, "sizes": sizes})
    update()


if __name__ == "__main__":
    main()
