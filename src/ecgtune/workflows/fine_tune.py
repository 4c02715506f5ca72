"""One run: a dataset and a recipe in, a finished run folder out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ecgtune.config.model import ModelSettings
from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import draw_split
from ecgtune.deployment.run import Run, read_run
from ecgtune.errors import RunError, SettingError
from ecgtune.models.classifier import Classifier
from ecgtune.recipes.lookup import RecipeLike, as_recipe, resolve_models
from ecgtune.utils.files import check_space
from ecgtune.utils.locks import exclusive
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.environment import command_line
from ecgtune.workflows.fit_memory import fit_memory
from ecgtune.workflows.preparation import check_dataset, note_conditions
from ecgtune.workflows.ready import RunBuilder
from ecgtune.workflows.results import changed_notes
from ecgtune.workflows.run import run_recipe, space, work


def fine_tune(
    dataset: Dataset,
    recipe: RecipeLike = "lora",
    *,
    model: Classifier | str | Path | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    resume: bool = False,
    wait: bool = False,
) -> Run:
    """Fine-tune an encoder on `dataset` and return the finished run.

    dataset: from `read_dataset`, `read_records` or `simulate`. recipe: a name, a TOML file, a method such as
    `LoRA(rank=16)`, or a `Recipe` with all settings. model: instead of the recipe's: a name or path as `load_model`
    takes it, or a model from there that is not yet fine-tuned, which is changed in place. out: the run folder
    (default `runs/<recipe>-<date>-<time>`). seed: of the new weights, the order of windows and dropout. resume:
    continue the run in that folder. wait: while another process uses the folder, instead of an error.

    The test split is evaluated once, at the end. Raises DataError, SettingError, AuditError or RunError, one line each.
    """
    check_dataset(dataset, "fine_tune")
    if isinstance(model, (str, Path)):
        recipe, model = as_recipe(recipe, model), None
    else:
        recipe = as_recipe(recipe)
    if model is None:
        resolve_models([recipe])
    else:
        recipe = replace(recipe, model=_settings_of(model))
    folder = Path(out) if out else Path("runs") / f"{recipe.name}-{datetime.now():%Y%m%d-%H%M%S}"
    with exclusive(folder, command_line(), result="recipe.toml", wait=wait), ProgressBar() as progress:
        split = draw_split(dataset, recipe.data)
        recipe = fit_memory(recipe, dataset, split, folder=folder, progress=progress)
        run = RunBuilder(dataset, split).ready(recipe, seed=seed, folder=folder, resume=resume, model=model)
        if resume and not run.folder.recipe.is_file():
            raise RunError(f"{folder} holds no run to continue; leave --resume out to start one")
        check_space(folder, sum(space(run)))
        note_conditions(progress, dataset, [*changed_notes([recipe]), *run.prepared.split.warnings])
        progress.expect(0 if run.folder.finished else work(recipe, split))
        run_recipe(run, progress, cases=True)
    return read_run(folder)


def _settings_of(model: Classifier) -> ModelSettings:
    """The [model] table of a recipe that loads `model`."""
    if not isinstance(model, Classifier):
        raise SettingError(
            f"model is {model!r}; give a name such as 'ecg-fm-tiny', a path, or a model from ecgtune.load_model"
        )
    return ModelSettings(
        name=model.name,
        checkpoint=model.loaded.checkpoint,
        lead_mode=model.loaded.lead_mode,
        pooling=model.head_spec.pooling,
        head_hidden=model.head_spec.hidden,
        head_dropout=model.head_spec.dropout,
        as_published=model.is_as_published,
    )
