"""One run: windows and a model in, a finished run folder out."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ecgtune.config.augmentation import Augmentation
from ecgtune.config.data import DataSettings
from ecgtune.config.evaluation import Evaluation
from ecgtune.config.model import ModelSettings
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.data.dataset import Dataset
from ecgtune.deployment.run import Run, load_run
from ecgtune.errors import RunError, SettingError
from ecgtune.methods.base import Method
from ecgtune.methods.lora.settings import LoRA
from ecgtune.models.classifier import Classifier
from ecgtune.recipe.recipe import Recipe
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.fit_memory import fit_memory
from ecgtune.workflows.preparation import draw_split, load_recipe_model, prepare
from ecgtune.workflows.run import make_ready, run_recipe, work


def fine_tune(
    model: Classifier,
    dataset: Dataset,
    *,
    method: Method | None = None,
    data: DataSettings | None = None,
    optimisation: Optimisation | None = None,
    trainer: TrainerSettings | None = None,
    augmentation: Augmentation | None = None,
    evaluation: Evaluation | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> Run:
    """Fine-tune `model` on `dataset` and return the finished run.

    model: from `load_model`, not yet fine-tuned; it is changed in place. dataset: from `read_dataset` or `simulate`.
    method: what trains (default LoRA()). data: normalisation and split. optimisation, trainer: the training loop and
    its execution. augmentation: random changes of the training windows (default: none). evaluation: threshold and
    metrics.
    seed: of the method's new weights, the order of windows and dropout. out: the run folder (default
    `runs/<method>-<date>-<time>`); `resume` continues the run that stands there.

    The test split is touched once, at the end. Raises DataError, SettingError, AuditError or RunError, one line each.
    """
    method = method or LoRA()
    if not isinstance(method, Method):
        raise SettingError(f"method is {method!r}; give one such as ecgtune.LoRA(rank=16)")
    recipe = Recipe(
        name=method.name,
        method=method,
        data=data or DataSettings(),
        model=ModelSettings(
            name=model.name,
            lead_mode=model.lead_mode,
            lead_adapter=model.lead_mixer is not None,
            pooling=model.head_spec.pooling,
            head_hidden=model.head_spec.hidden,
            head_dropout=model.head_spec.dropout,
        ),
        optimisation=optimisation or Optimisation(),
        trainer=trainer or TrainerSettings(),
        augmentation=augmentation or Augmentation(),
        evaluation=evaluation or Evaluation(),
    )
    folder = Path(out) if out else Path("runs") / f"{method.name}-{datetime.now():%Y%m%d-%H%M%S}"
    _run(recipe, model, dataset, seed=seed, folder=folder, resume=resume, quiet=quiet)
    return load_run(folder)


def train(
    dataset: Dataset, recipe: Recipe, *, out: str | Path, seed: int = 0, resume: bool = False, quiet: bool = False
) -> Run:
    """Run `recipe` on `dataset` into the folder `out`: `fine_tune` with the model that the recipe names."""
    model = load_recipe_model(recipe, dataset, seed)
    _run(recipe, model, dataset, seed=seed, folder=Path(out), resume=resume, quiet=quiet)
    return load_run(out)


def _run(
    recipe: Recipe, model: Classifier, dataset: Dataset, *, seed: int, folder: Path, resume: bool, quiet: bool
) -> None:
    with ProgressBar(quiet=quiet) as progress:
        split = draw_split(dataset, recipe.data)
        recipe = fit_memory(recipe, dataset, split, folder=folder, progress=progress)
        prepared = prepare(model, dataset, split, recipe.data)
        run = make_ready(recipe, model, prepared, seed=seed, folder=folder, resume=resume)
        if resume and not run.folder.recipe.is_file():
            raise RunError(f"{folder} holds no run to continue; leave --resume out to start one")
        progress.expect(work(recipe, split))
        run_recipe(run, progress)
