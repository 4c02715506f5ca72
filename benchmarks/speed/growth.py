"""Growth of the cost of a step with samples per window, LoRA rank and encoder depth.

    python benchmarks/speed/growth.py

times steps of ECG-FM (random weights, without precomputation) while one size varies. Medians are written to
benchmarks/results/growth-KIND.json, and the cost of a doubling to docs/performance.md.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
from encoders import medians
from machines import described, lacks, result_file, write_result
from pages import markdown, update
from roofline import kept_bytes

from ecgtune.methods.base import Method
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.models.ecg_fm.network import EcgFmConfig
from methods import Step

BATCH, LEADS, SAMPLES, RANK = 8, 12, 2500, 16
METHODS: Mapping[str, Method] = {
    "full": Full(),
    "lora": LoRA(rank=RANK),
    "side": SideTuning(block="transformer", dropout=0.0),
    "probe": LinearProbe(),
}


@dataclass(frozen=True)
class Axis:
    """A size that varies over `values`, for some `methods`; all other sizes are those of ECG-FM."""

    name: str
    title: str
    values: tuple[int, ...]
    methods: tuple[str, ...] = tuple(METHODS)

    def step(self, method: str, value: int, precision: str) -> Step:
        """Return a step of `method` at `value`."""
        config = replace(EcgFmConfig(), depth=value) if self.name == "depth" else EcgFmConfig()
        chosen = LoRA(rank=value) if self.name == "rank" else METHODS[method]
        return Step(config, chosen, (BATCH, LEADS, value if self.name == "samples" else SAMPLES), precision)


AXES = (
    Axis("samples", "samples per window", (625, 1250, 2500, 5000)),
    Axis("rank", "rank of LoRA", (2, 4, 8, 16, 32, 64), ("lora",)),
    Axis("depth", "transformer layers", (3, 6, 12, 24)),
)


def measure(axis: Axis, rounds: int, precision: str) -> list[dict[str, Any]]:
    """Return one row per method and value: median seconds of a step, and bytes saved for its backward pass."""
    rows = []
    for value in axis.values:
        steps = {method: axis.step(method, value, precision) for method in axis.methods}
        taken = medians({method: step.whole for method, step in steps.items()}, rounds)
        for method, step in steps.items():
            cost = {"seconds": taken[method], "bytes": kept_bytes(step.model, step.forward)}
            rows.append({"axis": axis.name, "value": value, "method": method, **cost})
    return rows


def table(result: Mapping[str, Any]) -> str:
    """Return a Markdown table of the cost of the last doubling of each size, one row per method."""
    base, axes = result["base"], result["axes"]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(result["rows"], key=lambda row: row["value"]):
        found.setdefault((row["axis"], row["method"]), []).append(row)

    def factors(axis: str, method: str) -> str:
        if (axis, method) not in found:
            return ""
        before, after = found[axis, method][-2:]
        return ", ".join(f"{after[key] / before[key]:.2f}x" for key in ("seconds", "bytes"))

    def heading(axis: str, title: str) -> str:
        before, after = sorted({row["value"] for row in result["rows"] if row["axis"] == axis})[-2:]
        return f"{title} {before:,} to {after:,}"

    methods = dict.fromkeys(row["method"] for row in result["rows"])
    header = ("time, memory", *(heading(axis, title) for axis, title in axes.items()))
    text = (
        f"{described(result)}, {result['precision']}. Factors of the last doubling, for a step of ECG-FM "
        f"({base['depth']} layers, {base['leads']} x {base['samples']} samples, rank {base['rank']}, batch "
        f"{base['batch']}, random weights).\n\n"
    )
    return text + markdown(header, [(method, *(factors(axis, method) for axis in axes)) for method in methods])


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    precision = "fp32" if lacks("bf16") else "bf16"
    facts = {
        "precision": precision,
        "axes": {axis.name: axis.title for axis in AXES},
        "base": {"batch": BATCH, "leads": LEADS, "samples": SAMPLES, "rank": RANK, "depth": EcgFmConfig().depth},
        "rows": [row for axis in AXES for row in measure(axis, options.rounds, precision)],
    }
    write_result(result_file("growth"), facts)
    update()


if __name__ == "__main__":
    main()
