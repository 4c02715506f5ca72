"""`ecgtune pretrain`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from ecgtune.cli.inputs import check_exists
from ecgtune.cli.options import MACHINE, MOST_USED, OPTIMISATION, RunFlags, given, optional
from ecgtune.cli.output import say
from ecgtune.config.commands import PretrainSettings
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.models.names import check_model_name
from ecgtune.recipes.pretraining import FINE_TUNING_ONLY, Crops, Pretraining

#: Settings of `PretrainSettings` about the weights; the help shows them before those about the recordings.
_WEIGHTS = ("model", "checkpoint")
if TYPE_CHECKING:
    CropFlags = Crops
    OptimisationFlags = Optimisation
    TrainerFlags = TrainerSettings
    WeightsFlags = RecordingFlags = PretrainSettings
else:
    CropFlags = optional(Crops, "CropFlags", Group("Crops", sort_key=1))
    OptimisationFlags = optional(Optimisation, "OptimisationFlags", OPTIMISATION, skip=FINE_TUNING_ONLY)
    TrainerFlags = optional(TrainerSettings, "TrainerFlags", MACHINE, skip=FINE_TUNING_ONLY)
    RecordingFlags = optional(PretrainSettings, "RecordingFlags", MOST_USED, recipe=False, skip=_WEIGHTS, flags={})
    WeightsFlags = optional(
        PretrainSettings,
        "WeightsFlags",
        MOST_USED,
        recipe=False,
        skip=[item.name for item in fields(PretrainSettings) if item.name not in _WEIGHTS],
        flags={"model": "--from"},
    )


@Parameter(name="*")
@dataclass(frozen=True)
class PretrainingFlags:
    """Settings of the recipe."""

    crops: CropFlags = field(default_factory=CropFlags)
    optimisation: OptimisationFlags = field(default_factory=OptimisationFlags)
    trainer: TrainerFlags = field(default_factory=TrainerFlags)

    def changed(self, recipe: Pretraining) -> Pretraining:
        """The recipe with the settings that were given in place of its own."""
        parts = {
            item.name: replace(getattr(recipe, item.name), **given(getattr(self, item.name))) for item in fields(self)
        }
        return replace(recipe, **parts)


def pretrain(
    recordings: Annotated[Path, Parameter(group=MOST_USED)],
    /,
    *,
    recipe: Annotated[str | None, Parameter(group=MOST_USED)] = None,
    weights: WeightsFlags = WeightsFlags(),
    out: Annotated[Path | None, Parameter(group=MOST_USED)] = None,
    reading: RecordingFlags = RecordingFlags(),
    settings: PretrainingFlags = PretrainingFlags(),
    begin: RunFlags = RunFlags(),
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
    out
        The run folder; runs/RECIPE when not given.
    """
    chosen = PretrainSettings(**given(weights), **given(reading))
    check_exists(recordings, *(None if path is None else Path(path) for path in (chosen.leave_out, chosen.checkpoint)))
    if chosen.model is not None:
        check_model_name(str(chosen.model))
    from ecgtune.workflows.pretrain import pretraining_recipe

    asked = settings.changed(pretraining_recipe(recipe, chosen))
    import ecgtune

    folder = out or Path("runs") / asked.name
    best = ecgtune.pretrain(
        recordings, asked, chosen, out=folder, seed=begin.seed, resume=begin.resume, wait=begin.wait
    )
    say(f"encoder: {best}", f"report: {best.parent / 'report.html'}")
