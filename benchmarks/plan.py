"""Does `ecgtune plan` tell what then happens? Estimates beside real runs, on this machine.

    python benchmarks/plan.py
    python benchmarks/plan.py --model full-size --windows 160 --epochs 2 --batch 16 \\
        --result benchmarks/results/plan_full_size.json

plans methods on simulated windows, then runs each of them in a process of its own, and writes both with their ratios to
benchmarks/results/plan.json: time, peak memory, file and folder. An estimate is to be within 25 %.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from full_size import TITLE, full_size

from ecgtune import plan, simulate
from ecgtune.recipe.recipe import Recipe, load_recipes
from ecgtune.training.peak import PeakMemory
from ecgtune.utils.files import write_json
from ecgtune.workflows.environment import machine, now
from ecgtune.workflows.fine_tune import train

RESULT = Path(__file__).parent / "results" / "plan.json"
WITHIN = 0.25


def recipes(asked: argparse.Namespace) -> list[Recipe]:
    found = [recipe for name in asked.methods for recipe in load_recipes(name)]
    settings = {"epochs": asked.epochs, "batch_size": asked.batch}
    return [
        replace(
            one,
            model=replace(one.model, name=asked.model),
            optimisation=replace(one.optimisation, **settings),
            trainer=replace(one.trainer, device="cpu"),
        )
        for one in found
    ]


def size_of(folder: Path) -> int:
    """Bytes of all files in it; one that is replaced meanwhile does not count."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def happened(recipe: Recipe, windows: int) -> dict[str, float]:
    """Seconds, peak memory and bytes of one run in this process."""
    dataset = simulate(windows, seed=0)
    peak = PeakMemory(torch.device("cpu"))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        os.environ["ECGTUNE_CACHE"] = str(Path(place) / "cache")  # on disk too, and nothing is found there
        sizes: list[int] = []
        rename = os.replace

        def watched(source: Any, target: Any) -> None:
            sizes.append(size_of(Path(place)))  # the old file and the new one, the most that there is at a time
            rename(source, target)

        with patch("os.replace", watched):
            started = time.monotonic()
            run = train(dataset, recipe, out=folder, quiet=True)
            seconds = time.monotonic() - started
        sizes.append(size_of(Path(place)))
        return {
            "seconds": seconds,
            "peak_memory_bytes": peak.read(),
            "disk_bytes": max(sizes),
            "file_bytes": run.metrics["training"]["file_bytes"],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--windows", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--model", default="ecg-fm-tiny", help=f"full-size is one of {TITLE}")
    parser.add_argument("--methods", nargs="+", default=["full", "lora", "adapter", "probe"])
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--run", type=int, help=argparse.SUPPRESS)  # what a process of its own is given: which recipe
    asked = parser.parse_args()
    if asked.run is not None:
        print(json.dumps(happened(recipes(asked)[asked.run], asked.windows)))
        return
    with tempfile.TemporaryDirectory() as place:
        if asked.model == "full-size":
            asked.model = str(full_size(Path(place) / "model"))
            result = compared(asked) | {"model": TITLE}
        else:
            result = compared(asked)
    write_json(asked.result, result)


def compared(asked: argparse.Namespace) -> dict[str, Any]:
    """Every estimate and what then happened."""
    arms = recipes(asked)
    rows: list[dict[str, Any]] = []
    for number, recipe in enumerate(arms):
        # One after the other, so that an estimate and its run meet the same machine.
        dataset = simulate(asked.windows, seed=0)
        (estimated,) = plan(dataset, [recipe], seeds=1, baselines=False, quiet=True).estimates
        command = [sys.executable, __file__, *sys.argv[1:], "--model", asked.model, "--run", str(number)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        real = json.loads(done.stdout.splitlines()[-1])
        told = {name: asdict(estimated)[name] for name in real}
        ratio = {name: told[name] / real[name] for name in real}
        rows.append({"method": recipe.name, "estimated": told, "happened": real, "estimated_over_happened": ratio})
        print(recipe.name, {name: round(value, 2) for name, value in ratio.items()})
    within = {
        name: all(abs(row["estimated_over_happened"][name] - 1) <= WITHIN for row in rows)
        for name in ("seconds", "peak_memory_bytes", "disk_bytes", "file_bytes")
    }
    print(f"within {100 * WITHIN:.0f} %: {within}")
    return {
        "command": shlex.join(["python", "benchmarks/plan.py", *sys.argv[1:]]),
        "date": now(),
        "machine": machine(),
        "windows": asked.windows,
        "epochs": asked.epochs,
        "batch_size": asked.batch,
        "model": asked.model,
        "methods": rows,
        "within_25_percent": within,
    }


if __name__ == "__main__":
    main()
