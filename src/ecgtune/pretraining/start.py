"""Construction of the encoder and the objective of a pretraining recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ecgtune.config.base import require, to_table
from ecgtune.errors import SettingError
from ecgtune.io.recordings import Recordings
from ecgtune.models.architectures import find_architecture
from ecgtune.models.base import Encoder
from ecgtune.pretraining.contrastive import ContrastiveObjective
from ecgtune.pretraining.crops import Selection, crop_samples
from ecgtune.pretraining.objective import PretrainingObjective
from ecgtune.pretraining.teacher import MaskedTeacherObjective
from ecgtune.recipes.pretraining import ContrastiveTask, MaskedTeacherTask, Pretraining

OBJECTIVES: dict[str, type[ContrastiveObjective] | type[MaskedTeacherObjective]] = {
    ContrastiveTask.name: ContrastiveObjective,
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
    """Return the objective of `recipe`, whose random weights depend only on `seed`.

    Raises SettingError for an architecture without a module for the objective, and for invalid sizes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which also seeds the GPU
        encoder = random_encoder(recipe, recordings.leads)
        return OBJECTIVES[recipe.objective.name](encoder, recordings, selection, recipe, origin=origin)


def random_encoder(recipe: Pretraining, leads: tuple[str, ...]) -> Encoder:
    """Return an encoder of the recipe's sizes for these leads, with random weights from torch's global generator."""
    sizes = to_table(recipe.encoder)
    name = sizes.pop("architecture")
    architecture, objective = find_architecture(name), recipe.objective.name
    if objective not in architecture.pretraining_models:
        known = ", ".join(architecture.pretraining_models) or "none, choose another architecture"
        raise SettingError(f"architecture {name!r} has no module for objective {objective!r}; allowed: {known}")
    try:
        config = architecture.config_type(leads=leads, resampling="polyphase", **sizes)
    except TypeError as error:
        raise SettingError(f"[encoder] does not fit architecture {name!r}: {error}") from None
    tokens = crop_samples(recipe) // recipe.encoder.samples_per_token
    require(
        tokens >= 4,
        f"a window of {recipe.crops.window_seconds:g} s has {tokens} tokens; allowed: 4 or more, with a longer "
        "window_seconds",
    )
    return architecture(config)
