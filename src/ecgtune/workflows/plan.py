"""What a comparison will cost, before it starts: a few steps of each method, each in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ecgtune.data.dataset import Dataset
from ecgtune.errors import SettingError
from ecgtune.training.inference import choose_device
from ecgtune.training.loop import count_steps
from ecgtune.training.peak import free_memory
from ecgtune.utils import formatting
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.estimate import Estimate, as_it_will_be, estimate, evaluation_seconds, table_lines
from ecgtune.workflows.fit_memory import fit_memory
from ecgtune.workflows.measure import sample
from ecgtune.workflows.own_process import measure_apart
from ecgtune.workflows.preparation import draw_split
from ecgtune.workflows.variants import RecipeLike, as_recipes, check_dataset, check_variants, variants_of


@dataclass(frozen=True)
class Plan:
    """What a comparison will cost on this machine. `memory_bytes`: what was free. `lines()` is a table for people."""

    estimates: tuple[Estimate, ...]
    memory_bytes: int

    def lines(self) -> list[str]:
        return [*table_lines(self.estimates), f"free memory: {formatting.size(self.memory_bytes)}"]


def plan(
    dataset: Dataset,
    recipes: RecipeLike | Sequence[RecipeLike],
    *,
    seeds: int = 3,
    baselines: bool = True,
    memory: int | None = None,
    quiet: bool = False,
) -> Plan:
    """Measure a few steps of every variant of `compare` with the same arguments; nothing is kept.

    Each variant runs for two short epochs in a process of its own, so that its peak memory is its own; a process that
    asks for more than `memory` (bytes; what is free, when not given) is refused it, and its variant does not fit.
    Arguments are otherwise those of `compare`; raises what `compare` raises before it trains.
    """
    check_dataset(dataset, "plan")
    variants = as_recipes(recipes)
    check_variants(variants, seeds, baselines)
    split = draw_split(dataset, variants[0].data)
    estimates = []
    available = free_memory(choose_device(variants[0].trainer.device)) if memory is None else memory
    if available < 1:
        raise SettingError(f"memory is {available}; allowed: 1 byte or more")
    with ProgressBar(quiet=quiet) as progress:
        kinds = variants_of(variants, baselines)
        progress.expect(len(kinds))
        evaluation = evaluation_seconds(dataset, split, variants[0])
        for recipe, _ in kinds:
            count_steps(len(split.train), recipe.optimisation)
            progress.describe(f"measuring {recipe.name}")
            recipe = fit_memory(recipe, dataset, split, progress=progress)
            few = sample(dataset, split, recipe)
            found = as_it_will_be(recipe, split, lambda one, few=few: measure_apart(one, *few, available))
            if isinstance(found, str):
                estimates.append(Estimate(recipe.name, recipe.label, seeds, None, None, None, None, None, found))
            else:
                whole = {"seeds": seeds, "evaluation": evaluation, "memory": available}
                estimates.append(estimate(recipe, found, dataset, split, **whole))
            progress.advance(1)
    return Plan(tuple(estimates), available)
