"""Does a training stay below `max_memory`? LoRA on an encoder of ECG-FM's size, a batch of 64 windows, two limits.

    python benchmarks/max_memory.py

lets `ecgtune` choose pieces and checkpointing for each limit, trains in a process of its own, and writes what was
chosen and the real peak to benchmarks/results/max_memory.json. The same training without a limit stands beside.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from full_size import TITLE, full_size

from ecgtune import LoRA, Recipe, simulate
from ecgtune.config.model import ModelSettings
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.training.peak import PeakMemory
from ecgtune.training.run_folder import RunFolder, read_recipe
from ecgtune.utils.files import write_json
from ecgtune.workflows.environment import machine, now
from ecgtune.workflows.fine_tune import train

RESULT = Path(__file__).parent / "results" / "max_memory.json"
BATCH = 64


def trained(model: str, limit: str | None, windows: int) -> dict[str, Any]:
    """Train in this process: what was chosen, and bytes at the fullest moment."""
    peak = PeakMemory(torch.device("cpu"))
    trainer = TrainerSettings(precision="bf16", device="cpu", max_memory=limit)
    optimisation = Optimisation(epochs=1, batch_size=BATCH)
    recipe = Recipe("lora", LoRA(), model=ModelSettings(name=model), optimisation=optimisation, trainer=trainer)
    with tempfile.TemporaryDirectory() as place:
        run = train(simulate(windows, seed=0), recipe, out=Path(place) / "run", quiet=True)
        chosen = read_recipe(RunFolder(run.folder)).trainer
    return {
        "limit": limit,
        "accumulate": chosen.gradient_accumulation_steps,
        "checkpointing": chosen.gradient_checkpointing,
        "peak_memory_bytes": peak.read(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--windows", type=int, default=240)
    parser.add_argument("--limits", nargs="+", default=["none", "4GB", "2GB"])
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # what a process of its own is given
    asked = parser.parse_args()
    if asked.one:
        model, limit = asked.one
        print(json.dumps(trained(model, None if limit == "none" else limit, asked.windows)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as place:
        model = full_size(Path(place) / "model")
        for limit in asked.limits:
            words = [sys.executable, __file__, "--windows", str(asked.windows), "--one", str(model), limit]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(rows[-1], flush=True)
    write_json(
        asked.result,
        {
            "command": shlex.join(["python", "benchmarks/max_memory.py", *sys.argv[1:]]),
            "date": now(),
            "machine": machine(),
            "model": TITLE,
            "batch_size": BATCH,
            "windows": asked.windows,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
