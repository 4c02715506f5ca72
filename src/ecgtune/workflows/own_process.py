"""Measuring in a process of its own, so that the peak of its memory is that of the recipe alone."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ecgtune import errors
from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import Split
from ecgtune.errors import EcgtuneError, RunError
from ecgtune.recipe.recipe import Recipe
from ecgtune.training.inference import choose_device
from ecgtune.training.peak import status_bytes
from ecgtune.utils import formatting
from ecgtune.workflows.measure import Measurement, measure

#: How torch and the libraries under it say that memory has ended; MemoryError and CUDA's have types of their own.
_NO_MEMORY = ("can't allocate memory", "out of memory", "could not allocate", "bad_alloc")


def measure_apart(
    recipe: Recipe, dataset: Dataset, split: Split, memory: int, *, steps: int | None = None
) -> Measurement | str:
    """`measure` in a process that may take `memory` bytes, or why the recipe does not fit into them.

    Raises the process's own EcgtuneError.
    """
    with tempfile.TemporaryDirectory(prefix="ecgtune-plan-") as place:
        job = Path(place) / "job.pickle"
        job.write_bytes(pickle.dumps((recipe, dataset, split, memory, steps)))
        done = subprocess.run([sys.executable, "-m", __name__, str(job)], capture_output=True, text=True)
    if done.returncode == -9:
        return f"the system ended it, {formatting.size(memory)} were free"
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RunError(f"measuring {recipe.name} failed: {last}; leave it out of --methods") from None
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    return answer["full"] if "full" in answer else Measurement.from_table(answer)


def _answer(job: Path) -> dict[str, Any]:
    """What the process says: a measurement, an error of the user's, or that memory ended."""
    recipe, dataset, split, memory, steps = pickle.loads(
        job.read_bytes()
    )  # written a moment ago by the process that waits
    try:
        _refuse_more_than(memory, recipe)
        return asdict(measure(recipe, dataset, split, steps=steps))
    except EcgtuneError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in _NO_MEMORY):
            raise
        return {"full": f"more than the {formatting.size(memory)} that are free"}


def _refuse_more_than(memory: int, recipe: Recipe) -> None:
    """Let this process get `memory` bytes and no more: an error here, and not a machine that swaps."""
    device = choose_device(recipe.trainer.device)
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(min(1.0, memory / torch.cuda.mem_get_info(device)[1]), device)
    elif sys.platform == "linux":
        import resource

        limits = resource.getrlimit(resource.RLIMIT_DATA)
        asked = status_bytes("VmData") + memory
        resource.setrlimit(resource.RLIMIT_DATA, (asked if limits[1] < 0 else min(asked, limits[1]), limits[1]))


if __name__ == "__main__":
    print(json.dumps(_answer(Path(sys.argv[1]))))
