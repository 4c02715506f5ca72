"""From a few measured steps to what the whole will cost: seconds, bytes, and whether it fits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import psutil

from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import Split
from ecgtune.evaluation.decision import choose_decision
from ecgtune.evaluation.evaluate import evaluate
from ecgtune.recipe.recipe import Recipe
from ecgtune.training.inference import choose_device
from ecgtune.training.loop import count_steps
from ecgtune.training.peak import free_memory
from ecgtune.training.prefix import MEMORY_SHARE
from ecgtune.utils import formatting
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.measure import EPOCHS, FEWEST, Measurement, Phase, measure, sample

#: Steps that an estimate before a comparison may cost, as a part of all that it has to do.
SHARE = 0.02
#: Bytes of a line of predictions.csv and one of split.csv, about.
_LINE = 60
_COLUMNS = ("Method", "Time to finish", "s/epoch", "Peak memory", "Disk", "File size", "Fits")


@dataclass(frozen=True)
class Estimate:
    """What a variant will cost, all its seeds together; None where a run of it did not fit into memory.

    seconds: until the last seed is finished, if no early stop ends it sooner. seconds_per_epoch: validation included.
    peak_memory_bytes: of the process, or of the accelerator. disk_bytes: of all its folders while the last one trains,
    and of what is computed once for all of them.
    file_bytes: what one run deploys. problem: why it does not fit, "" when it does.
    """

    name: str
    title: str
    seeds: int
    seconds: float | None
    seconds_per_epoch: float | None
    peak_memory_bytes: int | None
    disk_bytes: int | None
    file_bytes: int | None
    problem: str = ""


def estimate(
    recipe: Recipe,
    found: Measurement,
    dataset: Dataset,
    split: Split,
    *,
    seeds: int,
    evaluation: float = 0.0,
    memory: int | None = None,
) -> Estimate:
    """What `seeds` runs of `recipe` on the whole of `dataset` will cost, by what a few of its steps took.

    evaluation: seconds that metrics and intervals on the whole test split take beyond those on the measured windows.
    memory: bytes that there are; without it nothing is said of whether the runs fit.
    """
    train, val, test = len(split.train), len(split.val), len(split.test)
    steps = train / recipe.optimisation.batch_size  # the last batch of an epoch is a smaller one, and takes less
    seconds = found.start + found.prepare * (train + val + test)
    per_epoch = 0.0
    for number, phase in enumerate(found.phases, 1):
        own = number == len(found.phases)
        per_epoch = steps * phase.step + _validation(phase, found) * val + min(found.save, phase.epoch_end)
        encoded = (recipe.copies if own else 1) * train + val
        seconds += _before(phase, found, encoded) + (recipe.optimisation.epochs if own else phase.epochs) * per_epoch
    answer = found.forward
    seconds += max(0.0, found.finish - answer * (found.val + found.test)) + answer * (val + test)
    seconds += evaluation
    peak = _peak(found, train, val, test, recipe.trainer.inference_batch(recipe.optimisation.batch_size))
    kept = found.folder + (train + val + test) * _LINE
    # Each seed draws augmented copies of its own; what is computed of plain windows is the same for all.
    once = (seeds if recipe.augmentation.augmented_copies else 1) * _once(found, recipe.copies * train + val)
    return Estimate(
        name=recipe.name,
        title=recipe.label,
        seeds=seeds,
        seconds=seeds * seconds,
        seconds_per_epoch=per_epoch,
        peak_memory_bytes=peak,
        # A state is written beside the one whose place it takes.
        disk_bytes=seeds * kept + 2 * found.state + once,
        file_bytes=found.file,
        problem="" if memory is None or peak <= memory else f"{formatting.size(memory)} are free",
    )


def _validation(phase: Phase, found: Measurement) -> float:
    """Seconds per window: what the end of an epoch took beyond saving."""
    return max(0.0, phase.epoch_end - found.save) / found.val


def as_it_will_be(recipe: Recipe, split: Split, take: Callable[[Recipe], Measurement | str]) -> Measurement | str:
    """What `take` measures, with nothing computed once where the whole of it would not be: see `does_not_pay`.

    A measurement has few windows and two epochs, and might compute once what the run itself will not.
    """
    found = take(recipe)
    if isinstance(found, str) or not found.once or found.features or recipe.trainer.prefix_cache != "auto":
        return found
    whole = _once(found, recipe.copies * len(split.train) + len(split.val))
    memory = psutil.virtual_memory().total
    if recipe.optimisation.epochs > 1 and whole <= MEMORY_SHARE * memory:
        return found
    return take(replace(recipe, trainer=replace(recipe.trainer, prefix_cache="off")))


def _once(found: Measurement, windows: int) -> int:
    """Bytes in the cache folder of one seed."""
    return found.once * windows // (found.train + found.val)


def _before(phase: Phase, found: Measurement, windows: int) -> float:
    """Seconds before the first step: they grow with the data where all of it goes through the encoder first."""
    measured = found.train + found.val
    encoding = found.forward * measured
    return phase.before + (found.forward * (windows - measured) if phase.before > 0.5 * encoding else 0.0)


def _peak(found: Measurement, train: int, val: int, test: int, batch: int) -> int:
    """The fullest moment: of the measured process, or of a larger batch without gradients, and the windows in memory.

    Such a batch finds the memory free that a step has left, so the two do not add up.
    """
    read, prepared = found.window
    more = np.array([train, val, test]) - (found.train, found.val, found.test)
    # As read and as prepared, and copies of the latter: of train and val to train on, of val and test to predict.
    data = int(more.sum()) * (read + 2 * prepared) + int(more[1]) * prepared
    passed = max(val, test, train if found.once else 0)
    # The state holds what trains and its optimizer, which stay where they are meanwhile.
    predicting = found.still + found.state + min(batch, passed) * found.inference
    return max(found.peak, predicting) + data


def table_lines(estimates: Sequence[Estimate]) -> list[str]:
    """The estimates as lines of equal columns, with the sum of the time under them."""
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for one in estimates:
        rows.append(
            (
                f"{one.name} x {one.seeds}",
                formatting.duration(one.seconds),
                formatting.seconds(one.seconds_per_epoch),
                formatting.size(one.peak_memory_bytes),
                formatting.size(one.disk_bytes),
                formatting.size(one.file_bytes),
                f"no: {one.problem}" if one.problem else "yes",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = []
    for row in rows:
        numbers_right = (cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *numbers_right, row[-1]]))
    whole = formatting.duration(total_seconds(estimates))
    return [*lines, f"all together {whole}, less where early stopping ends a run sooner"]


def total_seconds(estimates: Sequence[Estimate]) -> float:
    """Of all variants that fit."""
    return sum(one.seconds or 0.0 for one in estimates)


def estimate_first(
    dataset: Dataset, split: Split, left: Sequence[tuple[Recipe, int]], progress: ProgressBar
) -> dict[str, float]:
    """Tell what the runs that are left of a comparison will cost; returns the seconds of one run of each variant.

    left: variants and how many of their runs are to be done. It measures the fewest steps of each variant here, in the
    process that will train them, so that peaks are those that the results will say. Where even these would be more
    than 2 % of all steps nothing is measured, and the line says so; the bar then counts windows, not seconds.
    """
    left = [(recipe, runs) for recipe, runs in left if runs]
    steps = sum(runs * count_steps(len(split.train), recipe.optimisation) for recipe, runs in left)
    measured = EPOCHS * FEWEST * len(left)
    if not left or measured > SHARE * steps:
        progress.note(f"no estimate first: {steps} steps are too few to measure some beforehand; `ecgtune plan` does")
        return {}
    progress.describe("estimating")
    evaluation = evaluation_seconds(dataset, split, left[0][0])
    free = free_memory(choose_device(left[0][0].trainer.device))
    estimates = []
    for recipe, runs in left:
        few = sample(dataset, split, recipe, FEWEST)
        found = as_it_will_be(recipe, split, lambda one, few=few: measure(one, *few, steps=FEWEST))
        assert isinstance(found, Measurement)  # in this process nothing refuses memory
        whole = {"seeds": runs, "evaluation": evaluation, "memory": free}
        estimates.append(estimate(recipe, found, dataset, split, **whole))
    for line in table_lines(estimates):
        progress.note(line)
    return {one.name: (one.seconds or 0.0) / one.seeds for one in estimates}


def evaluation_seconds(dataset: Dataset, split: Split, recipe: Recipe) -> float:
    """What metrics and intervals on the test split take beyond those on the windows of `sample`, measured."""

    def seconds(rows: np.ndarray, data: Dataset) -> float:
        group, label = None if data.group is None else data.group[rows], data.label[rows]
        shape = (len(rows),) if data.task == "binary" else (len(rows), len(data.classes))
        probability = np.random.default_rng(0).random(shape)
        if data.task == "multiclass":
            probability /= probability.sum(axis=1, keepdims=True)
        decision = choose_decision(data.task, label, probability, "fixed")
        started = time.monotonic()
        evaluate(label, probability, group, decision, data.classes, group_name=data.group_name or "record")
        return time.monotonic() - started

    few, small = sample(dataset, split, recipe, FEWEST)
    return max(0.0, seconds(split.test, dataset) - seconds(small.test, few))
