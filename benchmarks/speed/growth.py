"""Growth of cost with windows, samples per window, LoRA's rank and the encoder's depth.

    python benchmarks/speed/growth.py

times epochs of ecg-fm-tiny through ecgtune's own loop on more and more simulated windows, and steps of ECG-FM (random
weights, the encoder in each step) with one of its sizes changed at a time. Medians go to
benchmarks/results/growth-KIND.json, a figure beside it, and the cost of a doubling into docs/performance.md.
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
from matplotlib.figure import Figure

sys.path.append(str(Path(__file__).parents[1]))
from encoders import medians
from machines import described, lacks, result_file, write_result
from pages import markdown, update
from roofline import kept_bytes

from ecgtune import Optimisation, Recipe, TrainerSettings, fine_tune, simulate
from ecgtune.methods.base import Method
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.models.ecg_fm.network import EcgFmConfig
from ecgtune.reporting.style import MARKERS, draw, heading, method_colours
from methods import Step

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

    def step(self, method: str, value: int, precision: str) -> Step:
        """A step of `method` at `value`."""
        config = replace(EcgFmConfig(), depth=value) if self.name == "depth" else EcgFmConfig()
        chosen = LoRA(rank=value) if self.name == "rank" else METHODS[method]
        return Step(config, chosen, (BATCH, LEADS, value if self.name == "samples" else SAMPLES), precision)


WINDOWS = Axis("windows", "training windows", (1000, 2000, 4000))
STEPS = (
    Axis("samples", "samples per window", (625, 1250, 2500, 5000)),
    Axis("rank", "rank of LoRA", (2, 4, 8, 16, 32, 64), ("lora",)),
    Axis("depth", "transformer layers", (3, 6, 12, 24)),
)


def measure_steps(axis: Axis, rounds: int, precision: str) -> list[dict[str, Any]]:
    """A row per method and value: median seconds of a step, and bytes that its forward pass keeps."""
    rows = []
    for value in axis.values:
        steps = {method: axis.step(method, value, precision) for method in axis.methods}
        taken = medians({method: step.whole for method, step in steps.items()}, rounds)
        for method, step in steps.items():
            cost = {"seconds": taken[method], "bytes": kept_bytes(step.model, step.forward)}
            rows.append({"axis": axis.name, "value": value, "method": method, **cost})
    return rows


def measure_epochs() -> list[dict[str, Any]]:
    """A row per method and number of windows, each measured in a process of its own: a peak is of the process."""
    rows = []
    for value in WINDOWS.values:
        for method in WINDOWS.methods:
            words = [sys.executable, __file__, "--epochs-of", method, str(value)]
            found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            rows.append({"axis": WINDOWS.name, "value": value, "method": method, **found})
    return rows


def epochs(method: str, windows: int) -> dict[str, float]:
    """Seconds of the second epoch of ecg-fm-tiny on `windows` training windows, and the peak memory of this process."""
    chosen = LoRA(rank=4) if method == "lora" else METHODS[method]
    dataset = simulate(windows + 2 * OTHERS, seed=0)
    part = np.repeat(["train", "val", "test"], [windows, OTHERS, OTHERS])
    dataset = replace(dataset, split=part, group=None)
    trainer = TrainerSettings(prefix_cache="off", device="cpu")
    recipe = Recipe(method=chosen, optimisation=Optimisation(epochs=2), trainer=trainer)
    with tempfile.TemporaryDirectory() as place:
        run = fine_tune(dataset, recipe, out=Path(place) / "run", quiet=True)
    found = run.metrics["training"]
    return {"seconds": found["seconds_per_epoch"], "bytes": found["peak_memory_bytes"]}


def table(result: Mapping[str, Any]) -> str:
    """Markdown: the cost of the last doubling of each size, a line per method, and the figure."""
    base, axes = result["base"], result["axes"]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(result["rows"], key=lambda row: row["value"]):
        found.setdefault((row["axis"], row["method"]), []).append(row)

    def factors(axis: str, method: str) -> str:
        if (axis, method) not in found:
            return ""
        before, after = found[axis, method][-2:]
        return ", ".join(f"{after[key] / before[key]:.2f}x" for key in ("seconds", "bytes"))

    def heading_of(axis: str, title: str) -> str:
        before, after = sorted({row["value"] for row in result["rows"] if row["axis"] == axis})[-2:]
        return f"{title} {before:,} to {after:,}"

    methods = dict.fromkeys(row["method"] for row in result["rows"])
    header = ("time, memory", *(heading_of(axis, title) for axis, title in axes.items()))
    text = (
        f"{described(result)}, {result['precision']}. Factors of the last doubling: of training windows for an epoch "
        f"of ecg-fm-tiny, of the others for a step of ECG-FM ({base['depth']} layers, {base['leads']} x "
        f"{base['samples']} samples, rank {base['rank']}, batch {base['batch']}, random weights).\n\n"
    )
    lines = markdown(header, [(method, *(factors(axis, method) for axis in axes)) for method in methods])
    return text + lines + f"\n![Growth of time and memory](../benchmarks/results/growth-{result['kind']}.svg)\n"


def write_figure(path: Path, result: Mapping[str, Any]) -> list[Path]:
    """`path` (an .svg): seconds above, memory below, a column for each size; both scales begin at zero."""
    axes, rows = result["axes"], result["rows"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    colours = method_colours(methods)

    def paint(figure: Figure) -> None:
        heading(figure, f"Growth of time and memory, {result['precision']}")
        panels = figure.subplots(2, len(axes), squeeze=False)
        for column, (axis, title) in enumerate(axes.items()):
            epoch = axis == "windows"
            costs = (
                ("seconds", "an epoch, s" if epoch else "a step, s", 1.0),
                ("bytes", "process, GB" if epoch else "kept in a step, GB", 1e9),
            )
            for panel, (key, name, scale) in zip(panels[:, column], costs, strict=True):
                for place, method in enumerate(methods):
                    own = [(r["value"], r[key] / scale) for r in rows if (r["axis"], r["method"]) == (axis, method)]
                    if own:
                        look = {"color": colours[method], "marker": MARKERS[place], "ms": 5, "label": method}
                        panel.plot(*zip(*own, strict=True), **look)
                panel.set_xlim(left=0)
                panel.set_ylim(0, 1.1 * panel.dataLim.ymax)
                panel.locator_params(nbins=5)
                panel.set_title(name)
            panels[-1, column].set_xlabel(title)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))

    return draw(path, (11.0, 5.4), paint)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs-of", nargs=2, metavar=("METHOD", "WINDOWS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.epochs_of:
        print(json.dumps(epochs(asked.epochs_of[0], int(asked.epochs_of[1]))))
        return
    precision = "fp32" if lacks("bf16") else "bf16"
    facts = {
        "precision": precision,
        "axes": {axis.name: axis.title for axis in (WINDOWS, *STEPS)},
        "base": {"batch": BATCH, "leads": LEADS, "samples": SAMPLES, "rank": RANK, "depth": EcgFmConfig().depth},
        "rows": measure_epochs() + [row for axis in STEPS for row in measure_steps(axis, asked.rounds, precision)],
    }
    file = result_file("growth")
    write_figure(file.with_suffix(".svg"), write_result(file, facts))
    update()


if __name__ == "__main__":
    main()
