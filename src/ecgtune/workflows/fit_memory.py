"""`max_memory`: the pieces of a batch, and gradient checkpointing, with which a training fits into memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ecgtune.config.trainer import TrainerSettings
from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import Split
from ecgtune.errors import SettingError
from ecgtune.recipes.recipe import Recipe
from ecgtune.training.inference import choose_device
from ecgtune.training.memory import free_memory
from ecgtune.training.run_folder import RunFolder, read_recipe
from ecgtune.utils import formatting
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.dry_run import dry_run
from ecgtune.workflows.preparation import load_recipe_model

#: Peak memory in bytes of a training with these settings; None where the machine has not as many.
Peak = Callable[[TrainerSettings], int | None]


def fit_memory(
    recipe: Recipe, dataset: Dataset, split: Split, *, folder: Path | None = None, progress: ProgressBar
) -> Recipe:
    """Choose `gradient_accumulation_steps` and `gradient_checkpointing` such that the peak stays below `max_memory`.

    Returns the recipe itself without `max_memory`. Peaks are measured by dry runs. folder: a run folder; a run in it
    with the same settings keeps what it chose, so that it can be resumed. Raises SettingError, with the memory that is
    needed, when not even one window at a time fits.
    """
    asked = recipe.trainer
    if asked.max_memory is None:
        return recipe
    chosen = None if folder is None else _chosen_before(recipe, RunFolder(folder))
    if chosen is not None:
        return replace(recipe, trainer=chosen)
    available = free_memory(choose_device(asked.device))

    def peak(trainer: TrainerSettings) -> int | None:
        found = dry_run(replace(recipe, trainer=trainer), dataset, split, available)
        if isinstance(found, str):
            return None
        return found.peak + max(0, len(dataset) - sum(found.windows)) * found.window

    progress.describe(f"{recipe.name}: measuring memory")
    blocks = load_recipe_model(recipe, dataset, seed=0).base_encoder.blocks
    may_checkpoint = bool(blocks) and recipe.method.gradient_in_encoder and not asked.gradient_checkpointing
    batch = recipe.optimisation.batch_size
    trainer, highest = choose_pieces(asked, batch, peak, may_checkpoint=may_checkpoint)
    pieces = trainer.gradient_accumulation_steps
    progress.note(
        f"{recipe.name}: max_memory {asked.max_memory} makes {pieces} pieces of "
        f"{formatting.counted(-(-batch // pieces), 'window')} of a "
        f"batch of {batch}, {'with' if trainer.gradient_checkpointing else 'without'} checkpointing; measured peak "
        f"{formatting.size(highest)}"
    )
    return replace(recipe, trainer=trainer)


def choose_pieces(
    settings: TrainerSettings, batch: int, peak: Peak, *, may_checkpoint: bool
) -> tuple[TrainerSettings, int]:
    """Choose the fewest pieces of a batch that fit, and return them with their peak; checkpoint only where they do not.

    Pieces are doubled from those asked for to single windows. More pieces take less memory, so the smallest number that
    fits is found by bisection. Raises SettingError when nothing fits.
    """
    limit = settings.max_memory_bytes
    assert limit is not None  # `fit_memory` asks only then
    numbers = [settings.gradient_accumulation_steps]
    while numbers[-1] < batch:
        numbers.append(min(2 * numbers[-1], batch))
    needed: list[int] = []
    for checkpointing in (settings.gradient_checkpointing, *([True] if may_checkpoint else [])):
        tried = [
            replace(settings, gradient_accumulation_steps=n, gradient_checkpointing=checkpointing) for n in numbers
        ]
        smallest = peak(tried[-1])
        if smallest is None or smallest > limit:
            needed += [smallest] if smallest else []
            continue
        too_large, fits, highest = -1, len(tried) - 1, smallest
        middle = 0  # first the batch as it was asked for: it fits most of the time
        while fits - too_large > 1:
            found = peak(tried[middle])
            if found is not None and found <= limit:
                fits, highest = middle, found
            else:
                too_large = middle
            middle = (fits + too_large) // 2
        return tried[fits], highest
    enough = formatting.size(min(needed)) if needed else "more than is free"
    raise SettingError(
        f"max_memory is {settings.max_memory}, but one window at a time needs {enough}; "
        "give as much, or a smaller model or method"
    )


def _chosen_before(recipe: Recipe, run: RunFolder) -> TrainerSettings | None:
    """The settings of the run in the folder, where it was asked for the same."""
    if not run.recipe.is_file():
        return None
    stored, asked = read_recipe(run), recipe.trainer
    trainer = replace(
        stored.trainer,
        gradient_accumulation_steps=asked.gradient_accumulation_steps,
        gradient_checkpointing=asked.gradient_checkpointing,
    )
    same = trainer == asked and stored.optimisation == recipe.optimisation
    return stored.trainer if same else None
