"""Accuracy of the estimates of `ecgtune plan` on this machine.

    python benchmarks/plan.py [--sizes tiny full]

estimates time, peak memory and disk space of methods on simulated windows, runs each in a separate process, and writes
both values with their ratio to benchmarks/results/plan-SIZE-KIND.json and docs/performance.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from encoders import FULL_SIZE, full_size
from machines import described, result_file, write_result
from pages import markdown, update

from ecgtune import CompareSettings, plan, simulate
from ecgtune.recipes.recipe import Recipe, load_recipes
from ecgtune.training.memory import PeakMemory
from ecgtune.utils import formatting
from ecgtune.workflows.fine_tune import fine_tune

METHODS = ("full", "lora", "adapter", "probe")
#: Title of the encoder, windows, epochs and batch size.
SIZES = {"tiny": ("ecg-fm-tiny", 1500, 6, 64), "full": (FULL_SIZE, 160, 2, 16)}
COSTS = {"seconds": "time", "peak_memory_bytes": "peak memory", "disk_bytes": "disk", "file_bytes": "file"}


def recipe_of(method: str, model: str, size: str) -> Recipe:
    (recipe,) = load_recipes(method)
    _, _, epochs, batch = SIZES[size]
    optimisation = replace(recipe.optimisation, epochs=epochs, batch_size=batch)
    trainer = replace(recipe.trainer, device="cpu")
    return replace(recipe, model=replace(recipe.model, name=model), optimisation=optimisation, trainer=trainer)


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files in `folder`, without files that are removed meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def measured(recipe: Recipe, windows: int) -> dict[str, float]:
    """Return seconds, peak memory and bytes of one run in this process."""
    dataset = simulate(windows, seed=0)
    peak = PeakMemory(torch.device("cpu"))
    with tempfile.TemporaryDirectory() as place:
        os.environ["ECGTUNE_CACHE"] = str(Path(place) / "cache")  # counted as disk space, and empty at the start
        sizes: list[int] = []
        rename = os.replace

        def watched(source: Any, target: Any) -> None:
            sizes.append(bytes_in(Path(place)))  # the peak, with the old and the new file
            rename(source, target)

        started = time.monotonic()
        with patch("os.replace", watched):
            run = fine_tune(dataset, recipe, out=Path(place) / "run")
        seconds = time.monotonic() - started
        sizes.append(bytes_in(Path(place)))
    found = {"seconds": seconds, "peak_memory_bytes": peak.read(), "disk_bytes": max(sizes)}
    return {**found, "file_bytes": run.metrics["training"]["file_bytes"]}


def compared(model: str, size: str) -> list[dict[str, Any]]:
    """Return one row per method with estimated and measured costs and their ratio."""
    rows = []
    windows = SIZES[size][1]
    for method in METHODS:
        recipe = recipe_of(method, model, size)
        (estimated,) = plan(simulate(windows, seed=0), [recipe], CompareSettings(seeds=1, baselines=False)).estimates
        words = [sys.executable, __file__, "--run", method, model, size]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        real = json.loads(done.stdout.splitlines()[-1])
        costs = {name: asdict(estimated)[name] for name in real}
        ratio = {name: costs[name] / real[name] for name in real}
        rows.append({"method": method, "estimated": costs, "measured": real, "estimated_over_measured": ratio})
    return rows


def table(result: Mapping[str, Any]) -> str:
    """Return a Markdown table with one row per method."""
    rows = []
    for row in result["rows"]:
        cells = []
        for name in COSTS:
            text = formatting.duration if name == "seconds" else formatting.size
            values = (text(row[kind][name]) for kind in ("estimated", "measured"))
            cells.append(f"{', '.join(values)} ({row['estimated_over_measured'][name]:.2f})")
        rows.append((row["method"], *cells))
    head = (
        f"{described(result)}: {result['model']}, {result['windows']:,} simulated windows, {result['epochs']} epochs, "
        f"batch {result['batch_size']}.\n\n"
    )
    return head + markdown(("method", *(f"{title}: estimated, measured" for title in COSTS.values())), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(measured(recipe_of(*options.run), SIZES[options.run[2]][1])))
        return
    for size in options.sizes:
        title, windows, epochs, batch = SIZES[size]
        with tempfile.TemporaryDirectory() as place:
            model = str(full_size(Path(place) / "model")) if size == "full" else title
            rows = compared(model, size)
        facts = {"model": title, "windows": windows, "epochs": epochs, "batch_size": batch}
        write_result(result_file(f"plan-{size}"), {**facts, "rows": rows})
    update()


if __name__ == "__main__":
    main()
