"""A pretraining recipe as an encoder with random weights and the objective that trains it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ecgtune.config.base import require, to_table
from ecgtune.io.recordings import Recordings
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.pretraining.contrastive import EcgFmObjective
from ecgtune.pretraining.crops import Selection, crop_samples
from ecgtune.pretraining.objective import PretrainingObjective
from ecgtune.pretraining.teacher import MaskedTeacherObjective
from ecgtune.recipe.pretraining import EcgFmTask, MaskedTeacherTask, Pretraining

OBJECTIVES: dict[str, type[EcgFmObjective] | type[MaskedTeacherObjective]] = {
    EcgFmTask.name: EcgFmObjective,
    MaskedTeacherTask.name: MaskedTeacherObjective,
}


def make_objective(
    recordings: Recordings,
    selection: Selection,
    recipe: Pretraining,
    *,
    seed: int,
    origin: Mapping[str, Any],
) -> PretrainingObjective:
    """The objective of `recipe`; its new weights depend on `seed` alone. Raises SettingError for unfit sizes."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which also seeds the GPU
        encoder = random_encoder(recipe, recordings.leads)
        return OBJECTIVES[recipe.objective.name](encoder, recordings, selection, recipe, origin=origin)


def random_encoder(recipe: Pretraining, leads: tuple[str, ...]) -> EcgFM:
    """An encoder of the recipe's sizes for these leads, drawn from torch's own generator."""
    sizes = to_table(recipe.encoder)
    config = EcgFmConfig(leads=leads, resampling="polyphase", **sizes)
    tokens = crop_samples(recipe) // config.samples_per_token
    require(
        tokens >= 4,
        f"a window of {recipe.crops.window_seconds:g} s has {tokens} tokens; allowed: 4 or more, with a longer "
        "window_seconds",
    )
    return EcgFM(config)
