"""Peak memory of a training with `--max-memory`: LoRA on an encoder of ECG-FM's size, batches of 64 windows.

    python benchmarks/memory.py

trains in a separate process per limit and writes the selected gradient accumulation, gradient checkpointing and
measured peak to benchmarks/results/memory-KIND.json and docs/performance.md.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from encoders import FULL_SIZE, full_size
from machines import described, result_file, write_result
from pages import amount, markdown, update

from ecgtune import LoRA, Recipe, simulate
from ecgtune.config.model import ModelSettings
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.training.memory import PeakMemory
from ecgtune.training.run_folder import RunFolder, read_recipe
from ecgtune.workflows.fine_tune import fine_tune

BATCH, WINDOWS = 64, 240
LIMITS = (None, "4GB", "2GB")


def trained(model: str, limit: str | None) -> dict[str, Any]:
    """Train in this process; return the selected settings and the peak in bytes."""
    peak = PeakMemory(torch.device("cpu"))
    loop = {
        "optimisation": Optimisation(epochs=1, batch_size=BATCH),
        "trainer": TrainerSettings(device="cpu", max_memory=limit),
    }
    recipe = Recipe("lora", method=LoRA(rank=16), model=ModelSettings(name=model), **loop)
    with tempfile.TemporaryDirectory() as place:
        run = fine_tune(simulate(WINDOWS, seed=0), recipe, out=Path(place) / "run")
        chosen = read_recipe(RunFolder(run.folder)).trainer
    found = {"pieces": chosen.gradient_accumulation_steps, "checkpointing": chosen.gradient_checkpointing}
    return {"limit": limit, **found, "peak_memory_bytes": peak.read()}


def table(result: Mapping[str, Any]) -> str:
    """Return a Markdown table with one row per limit."""
    rows = [
        (
            row["limit"] or "not given",
            str(row["pieces"]),
            "yes" if row["checkpointing"] else "no",
            amount(row["peak_memory_bytes"], "bytes"),
        )
        for row in result["rows"]
    ]
    head = (
        f"{described(result)}: LoRA on {result['model']}, {result['windows']:,} simulated windows of one lead, "
        f"one epoch, batch {result['batch_size']}.\n\n"
    )
    return head + markdown(("`--max-memory`", "accumulation steps", "gradient checkpointing", "peak"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(trained(options.one[0], options.one[1] or None)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as place:
        model = full_size(Path(place) / "model")
        for limit in LIMITS:
            words = [sys.executable, __file__, "--one", str(model), limit or ""]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    facts = {"model": FULL_SIZE, "batch_size": BATCH, "windows": WINDOWS}
    write_result(result_file("memory"), {**facts, "rows": rows})
    update()


if __name__ == "__main__":
    main()
