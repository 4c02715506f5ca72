"""Hyperparameter search with the same number of trials for every method."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from ecgtune.config.base import check_seed, check_settings, require
from ecgtune.config.commands import SweepSettings
from ecgtune.config.space import Choice
from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import draw_split
from ecgtune.errors import SettingError
from ecgtune.recipes.lookup import RecipeLike, as_recipes, resolve_models
from ecgtune.recipes.recipe import Recipe
from ecgtune.recipes.space import Changes, check_changes, own_value, space_of, with_settings
from ecgtune.reporting.sweep import write_sweep
from ecgtune.text import is_utf8
from ecgtune.utils.files import check_space, temporary_folder
from ecgtune.utils.locks import exclusive
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.environment import command_line, machine, now
from ecgtune.workflows.preparation import check_dataset, summarise
from ecgtune.workflows.run import space, work
from ecgtune.workflows.sweep.folder import SweepFolder
from ecgtune.workflows.sweep.ray_backend import load_ray, run_on_ray
from ecgtune.workflows.sweep.runner import TrialRunner
from ecgtune.workflows.sweep.studies import Studies, Variant, load_optuna

DEFAULTS = SweepSettings()


def sweep(
    dataset: Dataset,
    recipes: RecipeLike | Sequence[RecipeLike],
    settings: SweepSettings = DEFAULTS,
    *,
    model: str | Path | None = None,
    out: str | Path,
    seed: int = 0,
    wait: bool = False,
) -> dict[str, Path]:
    """Run the same number of trials of every recipe and return a TOML file with the best settings of each, by name.

    recipes: names, TOML files, methods or recipes. model: name or path in place of theirs.
    settings: number of trials and search space. out: the folder of the sweep, which is resumed if it exists;
    interrupted trials are repeated. seed: of every training and of the search. wait: while another process uses the
    folder, instead of an error.

    A trial uses the training windows, and its score is the AUROC on the validation windows at the best epoch; the test
    windows are not used. Trial 0 has the settings of the recipe. A method without a trial that converged has no file.
    Raises SettingError, DataError or RunError before the first trial.
    """
    check_dataset(dataset, "sweep")
    check_settings(settings, SweepSettings)
    requested = as_recipes(recipes, model)
    variants = _variants(requested, settings.space, settings.fixed)
    resolve_models(requested)
    load_optuna()  # missing packages are reported before anything is written
    if settings.backend == "ray":
        load_ray()
    check_seed(seed)
    if not is_utf8(str(out)):
        raise SettingError(f"{out}: its name is no UTF-8, which sqlite cannot open; choose another folder with --out")
    folder = SweepFolder(Path(out))
    with exclusive(folder.path, command_line(), result="sweep.json", wait=wait):
        split = draw_split(dataset, next(iter(variants.values())).recipe.data)
        runner = TrialRunner(dataset, split, folder.path if settings.backend == "local" else None)
        summary = summarise(runner.dataset, runner.split)
        fingerprint = {
            "format": 1,
            "created": now(),
            "command": command_line(),
            "machine": machine(),
            "file": summary["data"].pop("path"),  # not compared: a resumed sweep may use a moved file
            **summary,
            "windows_sha256": runner.sha256(),
            "seed": seed,
            "weights": {name: _check(runner, variant, seed, folder.path) for name, variant in variants.items()},
        }
        stored = folder.check(variants, fingerprint, settings.trials)
        folder.begin(stored)
        spaces = folder.spaces(stored)  # including those of earlier commands, whose methods stay in the tables
        studies = Studies(folder.database, variants, spaces=spaces, trials=settings.trials, seed=seed)

        def save() -> None:
            folder.write_trials([row for name in spaces for row in studies.rows(name)])

        with ProgressBar() as progress:
            progress.expect(
                sum(left * work(variants[name].recipe, runner.split) for name, left in studies.left.items())
            )
            run = _run_here if settings.backend == "local" else run_on_ray
            run(studies, runner, seed, progress, save)
        save()
        best = {name: folder.write_best(variant, studies.rows(name)) for name, variant in variants.items()}
        write_sweep(folder.path)
    return {name: folder.best(name) for name, row in best.items() if row is not None}


def _variants(recipes: Sequence[Recipe], space: Changes | None, fixed: Collection[str]) -> dict[str, Variant]:
    names = [recipe.name for recipe in recipes]
    require(len(names) > 0, "got no methods; allowed: one or more")
    require(
        len(set(names)) == len(names), f"two methods have the same name ({', '.join(names)}); give each its own name"
    )
    require(
        all(recipe.trainer.max_memory is None for recipe in recipes),
        "max_memory is for fine-tune, compare and plan; give a sweep gradient_accumulation_steps",
    )
    splits = {(recipe.data.fractions, recipe.data.split_seed, recipe.data.label_fraction) for recipe in recipes}
    if len(splits) > 1:
        raise SettingError("the methods have different splits; give all the same fractions and split_seed")
    check_changes(space or {}, recipes)
    return {recipe.name: Variant(recipe, space_of(recipe, space, fixed=fixed)) for recipe in recipes}


def _check(runner: TrialRunner, variant: Variant, seed: int, folder: Path) -> str:
    """Check the bounds of each model and method setting separately, so that no trial fails later; return the weights.

    Raises an EcgtuneError for a value that cannot be trained, and where `folder` has no space for a trial.
    """
    changes: list[dict[str, Any]] = [{}]
    for setting, span in variant.space.items():
        if not setting.startswith("optimisation."):
            ends = span.values if isinstance(span, Choice) else (span.low, span.high)
            changes += [{setting: value} for value in ends if value != own_value(variant.recipe, setting)]
    with temporary_folder() as temporary:
        run = temporary / "run"
        ready = [runner.ready(with_settings(variant.recipe, change), seed, run) for change in changes]
    check_space(folder, max(sum(space(each)) for each in ready))
    return ready[0].model.weights.describe()


def _run_here(
    studies: Studies, runner: TrialRunner, seed: int, progress: ProgressBar, save: Callable[[], object]
) -> None:
    while job := studies.next():
        result = runner.run(job.recipe, seed, progress, job.title)
        studies.tell(job, result)
        save()
        progress.note(f"{job.title}: {result.sentence()}")
