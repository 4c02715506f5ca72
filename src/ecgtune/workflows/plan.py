"""The cost of a comparison before it starts, from a dry run of each variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecgtune.config.commands import CompareSettings
from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import Split, draw_split
from ecgtune.errors import EcgtuneError, SettingError
from ecgtune.recipes.comparison import as_variants, check_variants
from ecgtune.recipes.lookup import RecipeLike, resolve_models
from ecgtune.recipes.recipe import Recipe
from ecgtune.training.inference import choose_device
from ecgtune.training.loop import count_steps
from ecgtune.training.memory import free_memory
from ecgtune.utils import formatting
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.baselines import variants_of
from ecgtune.workflows.dry_run import DryRun, check_recipes, dry_run
from ecgtune.workflows.fit_memory import fit_memory
from ecgtune.workflows.preparation import check_dataset
from ecgtune.workflows.run import LINE_BYTES

DEFAULTS = CompareSettings()
_COLUMNS = ("Method", "Time to finish", "s/step", "s/epoch", "Peak memory", "Disk", "File size", "Fits")


@dataclass(frozen=True)
class Estimate:
    """Cost of a variant, all its seeds together; None where a run of it does not fit into memory.

    seconds: until the last seed is finished, if early stopping ends none sooner. seconds_per_epoch: with validation.
    peak_memory_bytes: of the process, or of the accelerator. disk_bytes: of its folders and its part of the cache while
    the last seed trains. file_bytes: of the files that one run deploys. problem: why it does not fit or,
    with `failed`, could not be measured; "" where it fits.
    """

    name: str
    seeds: int
    seconds: float | None = None
    seconds_per_step: float | None = None
    seconds_per_epoch: float | None = None
    peak_memory_bytes: int | None = None
    disk_bytes: int | None = None
    file_bytes: int | None = None
    problem: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Plan:
    """Cost of a comparison on this machine, where `memory_bytes` were free."""

    estimates: tuple[Estimate, ...]
    memory_bytes: int

    def lines(self) -> list[str]:
        """A table: a line per variant, then the sum of the time and the free memory."""
        rows: list[tuple[str, ...]] = [_COLUMNS]
        for one in self.estimates:
            seconds = (formatting.seconds(one.seconds_per_step), formatting.seconds(one.seconds_per_epoch))
            sizes = (formatting.size(size) for size in (one.peak_memory_bytes, one.disk_bytes, one.file_bytes))
            fits = f"no: {one.problem}" if one.problem else "yes"
            rows.append((f"{one.name} x {one.seeds}", formatting.duration(one.seconds), *seconds, *sizes, fits))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for name, *numbers, fits in rows:
            right = [number.rjust(width) for number, width in zip(numbers, widths[1:-1], strict=True)]
            lines.append("  ".join([name.ljust(widths[0]), *right, fits]))
        whole = formatting.duration(sum(one.seconds or 0.0 for one in self.estimates))
        lines.append(f"all together {whole}, less where early stopping ends a run sooner")
        return [*lines, f"free memory: {formatting.size(self.memory_bytes)}"]


def plan(
    dataset: Dataset,
    recipes: RecipeLike | Sequence[RecipeLike],
    settings: CompareSettings = DEFAULTS,
    *,
    model: str | Path | Sequence[str] | None = None,
    memory: int | None = None,
) -> Plan:
    """Estimate the cost of `compare(dataset, recipes, settings, model=model)`; nothing is kept.

    All variants are checked before the first one is measured: models, weights and settings. Then each runs for two
    short epochs in a process of its own; one that fails there is a line of the plan. memory: bytes that such a process
    may take (default: what is free); a variant that needs more does not fit. Other arguments are those of `compare`;
    raises what `compare` raises before it trains.
    """
    check_dataset(dataset, "plan")
    variants = as_variants(recipes, model)
    check_variants(variants, settings)
    resolve_models(variants)
    split = draw_split(dataset, variants[0].data)
    available = free_memory(choose_device(variants[0].trainer.device)) if memory is None else memory
    if available < 1:
        raise SettingError(f"memory is {available}; allowed: 1 byte or more")
    estimates = []
    with ProgressBar() as progress:
        kinds = variants_of(variants, settings.baselines)
        progress.expect(len(kinds))
        for recipe, _ in kinds:
            count_steps(len(split.train), recipe.optimisation)
        check_recipes((recipe for recipe, _ in kinds), dataset, split)
        for recipe, _ in kinds:
            progress.describe(f"measuring {recipe.name}")
            one = _measured(recipe, dataset, split, settings.seeds, available, progress)
            estimates.append(one)
            progress.note(f"{one.name}: {one.problem or formatting.duration(one.seconds)}")  # kept if this is stopped
            progress.advance(1)
    return Plan(tuple(estimates), available)


def _measured(
    recipe: Recipe, dataset: Dataset, split: Split, seeds: int, memory: int, progress: ProgressBar
) -> Estimate:
    try:
        recipe = fit_memory(recipe, dataset, split, progress=progress)
        found = dry_run(recipe, dataset, split, memory)
    except EcgtuneError as error:
        return Estimate(recipe.name, seeds, problem=str(error), failed=True)
    if isinstance(found, str):
        return Estimate(recipe.name, seeds, problem=found)
    return estimate(recipe, found, split, seeds=seeds, memory=memory)


def estimate(recipe: Recipe, found: DryRun, split: Split, *, seeds: int, memory: int | None = None) -> Estimate:
    """The cost of `seeds` runs of `recipe` on all windows of `split`, from its dry run.

    What sends windows through the encoder grows with their number, by `found.forward` each at most. memory: bytes that
    are free; without it the estimate does not say whether a run fits.
    """
    train, val, test = len(split.train), len(split.val), len(split.test)
    few_train, few_val, few_test = found.windows

    def scaled(seconds: float, few: int, whole: int) -> float:
        return seconds + min(found.forward, seconds / few) * (whole - few)

    steps = train / recipe.optimisation.batch_size  # the last batch of an epoch is smaller
    seconds = found.start + scaled(found.finish, few_val + few_test, val + test)
    per_epoch = 0.0
    for timing, epochs in zip(
        reversed(found.trainings), (recipe.optimisation.epochs, recipe.optimisation.head_epochs), strict=False
    ):
        ends = sum(timing.ends) / len(timing.ends)
        of_epoch = steps * timing.step + scaled(ends, few_val, val)
        per_epoch = per_epoch or of_epoch  # that of the method comes first
        encoded = scaled(timing.before, few_train + few_val, recipe.copies * train + val)
        seconds += (encoded if found.cached else timing.before) + epochs * of_epoch
    windows = train + val + test
    peak = found.peak + max(0, windows - sum(found.windows)) * found.window
    cached = found.cached * (recipe.copies * train + val) // (few_train + few_val)
    return Estimate(
        name=recipe.name,
        seeds=seeds,
        seconds=seeds * seconds,
        seconds_per_step=found.trainings[-1].step,
        seconds_per_epoch=per_epoch,
        peak_memory_bytes=peak,
        # A new state is written beside the old one. Augmented copies are cached for each seed, plain windows for all.
        disk_bytes=seeds * (found.folder + windows * LINE_BYTES)
        + 2 * found.state
        + (seeds if recipe.augmentation.augmented_copies else 1) * cached,
        file_bytes=found.file,
        problem="" if memory is None or peak <= memory else f"{formatting.size(memory)} are free",
    )
