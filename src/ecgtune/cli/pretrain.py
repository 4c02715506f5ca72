"""`ecgtune pretrain`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from ecgtune.cli.inputs import check_exists
from ecgtune.cli.options import MACHINE, MOST_USED, OPTIMISATION, Quiet, Resume, Seed, Wait, given, optional
from ecgtune.cli.output import say
from ecgtune.config.commands import PretrainSettings
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.recipes.pretraining import FINE_TUNING_ONLY, Crops, load_pretraining_recipe

if TYPE_CHECKING:
    CropFlags = Crops
    OptimisationFlags = Optimisation
    TrainerFlags = TrainerSettings
    RecordingFlags = PretrainSettings
else:
    CropFlags = optional(Crops, "CropFlags", Group("Crops", sort_key=1))
    OptimisationFlags = optional(Optimisation, "OptimisationFlags", OPTIMISATION, skip=FINE_TUNING_ONLY)
    TrainerFlags = optional(TrainerSettings, "TrainerFlags", MACHINE, skip=FINE_TUNING_ONLY)
    RecordingFlags = optional(PretrainSettings, "RecordingFlags", MOST_USED, recipe=False)


def pretrain(
    recordings: Annotated[Path, Parameter(group=MOST_USED)],
    /,
    *,
    recipe: Annotated[str, Parameter(group=MOST_USED)] = "pretrain-tiny",
    out: Annotated[Path | None, Parameter(group=MOST_USED)] = None,
    reading: RecordingFlags = RecordingFlags(),
    crops: CropFlags = CropFlags(),
    optimisation: OptimisationFlags = OptimisationFlags(),
    trainer: TrainerFlags = TrainerFlags(),
    resume: Annotated[Resume, Parameter(group=MOST_USED)] = False,
    seed: Seed = 0,
    wait: Wait = False,
    quiet: Quiet = False,
) -> None:
    """Pretrain an encoder on recordings without labels.

    Give the folder RUN/best to --model afterwards.

    Parameters
    ----------
    recordings
        NPZ file (signal, offset, record, sampling_rate), its packed form NAME_index.npz, or a folder of recordings.
    recipe
        pretrain-tiny, pretrain-tiny-contrastive, or a TOML file.
    out
        The run folder; runs/RECIPE when not given.
    """
    asked = load_pretraining_recipe(recipe)
    asked = replace(
        asked,
        crops=replace(asked.crops, **given(crops)),
        optimisation=replace(asked.optimisation, **given(optimisation)),
        trainer=replace(asked.trainer, **given(trainer)),
    )
    check_exists(recordings, None if reading.leave_out is None else Path(reading.leave_out))
    import ecgtune

    best = ecgtune.pretrain(
        recordings,
        asked,
        PretrainSettings(**given(reading)),
        out=out or Path("runs") / asked.name,
        seed=seed,
        resume=resume,
        wait=wait,
        quiet=quiet,
    )
    say(f"encoder: {best}", f"report: {best.parent / 'report.html'}")
