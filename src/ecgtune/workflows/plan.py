"""What a comparison will cost, before it starts: a few steps of each method, each in a process of its own."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ecgtune import errors
from ecgtune.data import Dataset, Split
from ecgtune.errors import EcgtuneError, RunError, SettingError
from ecgtune.recipe import Recipe, load_recipes
from ecgtune.reporting import numbers
from ecgtune.training import ProgressBar, choose_device, count_steps
from ecgtune.training.peak import free_memory, status_bytes
from ecgtune.workflows.arms import check_arms, kinds_of
from ecgtune.workflows.estimate import Estimate, estimate, evaluation_seconds, table_lines
from ecgtune.workflows.measure import Measurement, measure, sample
from ecgtune.workflows.preparation import draw_split

#: How torch and the libraries under it say that memory has ended; MemoryError and CUDA's have types of their own.
_NO_MEMORY = ("can't allocate memory", "out of memory", "could not allocate", "bad_alloc")


@dataclass(frozen=True)
class Plan:
    """What a comparison will cost on this machine. `memory_bytes`: what was free. `lines()` is a table for people."""

    estimates: tuple[Estimate, ...]
    memory_bytes: int

    def lines(self) -> list[str]:
        return [*table_lines(self.estimates), f"free memory: {numbers.size(self.memory_bytes)}"]


def plan(
    dataset: Dataset,
    recipes: Sequence[Recipe | str],
    *,
    seeds: int = 3,
    floors: bool = True,
    memory: int | None = None,
    quiet: bool = False,
) -> Plan:
    """Measure a few steps of every arm of `compare(dataset, recipes, seeds=seeds, floors=floors)`; nothing is kept.

    Each arm runs for two short epochs in a process of its own, so that its peak memory is its own; a process that asks
    for more than `memory` (bytes; what is free, when not given) is refused it, and its arm does not fit. Arguments are
    otherwise those of `compare`; raises what `compare` raises before it trains.
    """
    arms = [arm for item in recipes for arm in (load_recipes(item) if isinstance(item, str) else [item])]
    check_arms(arms, seeds, floors)
    split = draw_split(dataset, arms[0].input)
    estimates = []
    available = free_memory(choose_device(arms[0].training.device)) if memory is None else memory
    if available < 1:
        raise SettingError(f"memory is {available}; allowed: 1 byte or more")
    with ProgressBar(quiet=quiet) as progress:
        kinds = kinds_of(arms, floors)
        progress.expect(len(kinds))
        evaluation = evaluation_seconds(dataset, split, arms[0])
        for recipe, _ in kinds:
            count_steps(len(split.train), recipe.training)
            progress.describe(f"measuring {recipe.name}")
            found = _in_own_process(recipe, *sample(dataset, split, recipe), available)
            if isinstance(found, str):
                estimates.append(Estimate(recipe.name, recipe.label, seeds, None, None, None, None, None, found))
            else:
                whole = {"seeds": seeds, "evaluation": evaluation, "memory": available}
                estimates.append(estimate(recipe, found, dataset, split, **whole))
            progress.advance(1)
    return Plan(tuple(estimates), available)


def _in_own_process(recipe: Recipe, dataset: Dataset, split: Split, memory: int) -> Measurement | str:
    """The measurement, or why the recipe does not fit. Raises the process's own EcgtuneError."""
    with tempfile.TemporaryDirectory(prefix="ecgtune-plan-") as place:
        job = Path(place) / "job.pickle"
        job.write_bytes(pickle.dumps((recipe, dataset, split, memory)))
        done = subprocess.run([sys.executable, "-m", __name__, str(job)], capture_output=True, text=True)
    if done.returncode == -9:
        return f"the system ended it, {numbers.size(memory)} were free"
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
    recipe, dataset, split, memory = pickle.loads(job.read_bytes())  # written a moment ago by the process that waits
    try:
        _refuse_more_than(memory, recipe)
        return asdict(measure(recipe, dataset, split))
    except EcgtuneError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in _NO_MEMORY):
            raise
        return {"full": f"more than the {numbers.size(memory)} that are free"}


def _refuse_more_than(memory: int, recipe: Recipe) -> None:
    """Let this process get `memory` bytes and no more: an error here, and not a machine that swaps."""
    device = choose_device(recipe.training.device)
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(min(1.0, memory / torch.cuda.mem_get_info(device)[1]), device)
    elif sys.platform == "linux":
        import resource

        limits = resource.getrlimit(resource.RLIMIT_DATA)
        asked = status_bytes("VmData") + memory
        resource.setrlimit(resource.RLIMIT_DATA, (asked if limits[1] < 0 else min(asked, limits[1]), limits[1]))


if __name__ == "__main__":
    print(json.dumps(_answer(Path(sys.argv[1]))))
