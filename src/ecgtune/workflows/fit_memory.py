"""`max_memory`: into how many pieces a batch is cut, and whether layers are computed again, so that a training fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ecgtune.config.trainer import TrainerSettings
from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import Split
from ecgtune.errors import SettingError
from ecgtune.recipe.recipe import Recipe
from ecgtune.training.inference import choose_device
from ecgtune.training.peak import free_memory
from ecgtune.training.run_folder import RunFolder, read_recipe
from ecgtune.utils import formatting
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.estimate import as_it_will_be, estimate
from ecgtune.workflows.measure import FEWEST, sample
from ecgtune.workflows.own_process import measure_apart
from ecgtune.workflows.preparation import load_recipe_model

#: Bytes at the fullest moment of a training with these settings; None where the machine has not as many.
Peak = Callable[[TrainerSettings], int | None]


def fit_memory(
    recipe: Recipe, dataset: Dataset, split: Split, *, folder: Path | None = None, progress: ProgressBar
) -> Recipe:
    """The recipe with gradient accumulation and checkpointing for a peak below `max_memory`; itself without it.

    Measured on a few steps, in processes of their own. folder: a run folder; what a run there has chosen from the same
    settings is chosen again, so that it can go on. Raises SettingError, with what is needed, when not even one window
    at a time fits.
    """
    settings = recipe.trainer
    if settings.max_memory is None:
        return recipe
    chosen = _chosen_before(recipe, folder)
    if chosen is not None:
        return replace(recipe, trainer=chosen)
    available = free_memory(choose_device(settings.device))

    def peak(trainer: TrainerSettings) -> int | None:
        candidate = replace(recipe, trainer=trainer)
        few = sample(dataset, split, candidate, FEWEST)
        found = as_it_will_be(candidate, split, lambda one: measure_apart(one, *few, available, steps=FEWEST))
        if isinstance(found, str):
            return None
        return estimate(candidate, found, dataset, split, seeds=1).peak_memory_bytes

    progress.describe(f"{recipe.name}: measuring memory")
    layers = load_recipe_model(recipe, dataset, seed=0).base_encoder.blocks
    may_checkpoint = bool(layers) and recipe.method.gradient_in_encoder and not settings.gradient_checkpointing
    batch = recipe.optimisation.batch_size
    trainer, highest = choose_pieces(settings, batch, peak, may_checkpoint=may_checkpoint)
    windows = -(-batch // trainer.gradient_accumulation_steps)
    progress.note(
        f"{recipe.name}: max_memory {settings.max_memory} makes {trainer.gradient_accumulation_steps} pieces of "
        f"{windows} windows of a batch of {batch}, "
        f"{'with' if trainer.gradient_checkpointing else 'without'} checkpointing; measured "
        f"peak {formatting.size(highest)}"
    )
    return replace(recipe, trainer=trainer)


def choose_pieces(
    settings: TrainerSettings, batch_size: int, peak: Peak, *, may_checkpoint: bool
) -> tuple[TrainerSettings, int]:
    """The fewest pieces of a batch that fit, and their peak; checkpointing only where pieces of one window do not.

    Pieces are doubled, and the smallest number that fits is found by halving, since more pieces take less memory.
    Raises SettingError when nothing fits.
    """
    limit = settings.max_memory_bytes
    assert limit is not None  # `fit_memory` asks only then
    needed: int | None = None
    for checkpointing in (settings.gradient_checkpointing, *([True] if may_checkpoint else [])):
        ladder = [
            replace(settings, gradient_accumulation_steps=n, gradient_checkpointing=checkpointing)
            for n in _doubled(settings.gradient_accumulation_steps, batch_size)
        ]
        smallest = peak(ladder[-1])
        if smallest is None or smallest > limit:
            needed = smallest if needed is None else min(needed, smallest or needed)
            continue
        fits, found, too_large = len(ladder) - 1, smallest, -1
        while fits - too_large > 1:
            # The first try is the batch as it was asked for: mostly that is what fits.
            middle = 0 if too_large < 0 and fits == len(ladder) - 1 else (fits + too_large) // 2
            highest = peak(ladder[middle])
            if highest is not None and highest <= limit:
                fits, found = middle, highest
            else:
                too_large = middle
        return ladder[fits], found
    enough = "more than is free" if needed is None else formatting.size(needed)
    raise SettingError(
        f"max_memory is {settings.max_memory}, but one window at a time needs {enough}; "
        "give as much, or a smaller model or method"
    )


def _doubled(pieces: int, batch_size: int) -> Iterator[int]:
    """Numbers of pieces, from what was asked for to single windows."""
    while pieces < batch_size:
        yield pieces
        pieces *= 2
    yield batch_size


def _chosen_before(recipe: Recipe, folder: Path | None) -> TrainerSettings | None:
    """What the run in `folder` trains with, where it was asked for the same."""
    run = None if folder is None else RunFolder(folder)
    if run is None or not run.recipe.is_file():
        return None
    stored, asked = read_recipe(run), recipe.trainer
    as_asked = replace(
        stored.trainer,
        gradient_accumulation_steps=asked.gradient_accumulation_steps,
        gradient_checkpointing=asked.gradient_checkpointing,
    )
    same = as_asked == asked and stored.optimisation == recipe.optimisation
    return stored.trainer if same else None
