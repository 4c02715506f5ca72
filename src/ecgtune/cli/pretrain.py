"""`ecgtune pretrain`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from ecgtune.cli.inputs import check_exists
from ecgtune.cli.options import MACHINE, MOST_USED, OPTIMISATION, Resume, Seed, Wait, given, optional
from ecgtune.cli.output import say
from ecgtune.config.commands import PretrainSettings
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.models.names import check_model_name
from ecgtune.recipes.pretraining import FINE_TUNING_ONLY, Crops

if TYPE_CHECKING:
    CropFlags = Crops
    OptimisationFlags = Optimisation
    TrainerFlags = TrainerSettings
    RecordingFlags = PretrainSettings
else:
    CropFlags = optional(Crops, "CropFlags", Group("Crops", sort_key=1))
    OptimisationFlags = optional(Optimisation, "OptimisationFlags", OPTIMISATION, skip=FINE_TUNING_ONLY)
    TrainerFlags = optional(TrainerSettings, "TrainerFlags", MACHINE, skip=FINE_TUNING_ONLY)
    RecordingFlags = optional(PretrainSettings, "RecordingFlags", MOST_USED, recipe=False, flags={})


def pretrain(
    recordings: Annotated[Path, Parameter(group=MOST_USED)],
    /,
    *,
    recipe: Annotated[str | None, Parameter(group=MOST_USED)] = None,
    start: Annotated[str | None, Parameter(name="--from", group=MOST_USED)] = None,
    checkpoint: Annotated[Path | None, Parameter(group=MOST_USED)] = None,
    out: Annotated[Path | None, Parameter(group=MOST_USED)] = None,
    reading: RecordingFlags = RecordingFlags(),
    crops: CropFlags = CropFlags(),
    optimisation: OptimisationFlags = OptimisationFlags(),
    trainer: TrainerFlags = TrainerFlags(),
    resume: Annotated[Resume, Parameter(group=MOST_USED)] = False,
    seed: Seed = 0,
    wait: Wait = False,
) -> None:
    """Pretrain an encoder on recordings without labels.

    With --from, a pretraining continues from weights. Give the folder RUN/best to --model afterwards.

    Parameters
    ----------
    recordings
        NPZ file (signal, offset, record, sampling_rate), its packed form NAME_index.npz, or a folder of recordings.
    recipe
        pretrain-tiny, pretrain-tiny-contrastive, continue-contrastive, continue-masked-teacher, continue-masked-signal,
        or a TOML file; pretrain-tiny, or with --from the recipe of the weights' own objective, when not given.
    start
        Weights to continue from instead of random ones: a name of `ecgtune models`, a checkpoint file, or the run
        folder of a pretraining.
    checkpoint
        Published file of the model that --from names, where it was downloaded by hand.
    out
        The run folder; runs/RECIPE when not given.
    """
    check_exists(recordings, None if reading.leave_out is None else Path(reading.leave_out), checkpoint)
    if start is not None:
        check_model_name(start)
    from ecgtune.workflows.pretrain import pretraining_recipe

    asked = pretraining_recipe(recipe, start, checkpoint)
    asked = replace(
        asked,
        crops=replace(asked.crops, **given(crops)),
        optimisation=replace(asked.optimisation, **given(optimisation)),
        trainer=replace(asked.trainer, **given(trainer)),
    )
    import ecgtune

    best = ecgtune.pretrain(
        recordings,
        asked,
        PretrainSettings(**given(reading)),
        out=out or Path("runs") / asked.name,
        seed=seed,
        resume=resume,
        wait=wait,
    )
    say(f"encoder: {best}", f"report: {best.parent / 'report.html'}")
