"""Construction of the encoder and the objective of a pretraining recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ecgtune.config.base import require, to_table
from ecgtune.data.signal.steps import Resample
from ecgtune.errors import DataError, SettingError
from ecgtune.io.recordings import Recordings
from ecgtune.models.architectures import find_architecture
from ecgtune.models.base import Checkpoint, Encoder
from ecgtune.models.input_spec import InputSpec
from ecgtune.models.layers import without_values
from ecgtune.models.loading import load_encoder
from ecgtune.models.masked_signal import depth_tokens
from ecgtune.models.names import model_names
from ecgtune.models.registry import find_model
from ecgtune.pretraining.contrastive import ContrastiveObjective
from ecgtune.pretraining.crops import CropShape, Selection, crop_shape
from ecgtune.pretraining.masked import MaskedSignalObjective
from ecgtune.pretraining.objective import PretrainingObjective
from ecgtune.pretraining.teacher import MaskedTeacherObjective
from ecgtune.recipes.pretraining import (
    CONTINUING,
    TASKS,
    ContrastiveTask,
    MaskedSignalTask,
    MaskedTeacherTask,
    Pretraining,
    StartWeights,
)

OBJECTIVES: dict[str, type[ContrastiveObjective] | type[MaskedTeacherObjective] | type[MaskedSignalObjective]] = {
    ContrastiveTask.name: ContrastiveObjective,
    MaskedTeacherTask.name: MaskedTeacherObjective,
    MaskedSignalTask.name: MaskedSignalObjective,
}
#: Objectives that need no module of the architecture.
ANY_ENCODER = (MaskedTeacherTask.name, MaskedSignalTask.name)
#: A window has at least so many tokens.
FEWEST_TOKENS = 4


def start_checkpoint(start: StartWeights) -> Checkpoint | None:
    """Return the weights to continue from; None for random ones.

    Raises what `load_model` raises, and SettingError for an encoder that no objective can train.
    """
    if start.name is None:
        return None
    named = None if Path(start.name).exists() else find_model(start.name)
    if named is not None:  # before its weights are asked for
        with without_values():
            _check_trainable(named[0](named[1].config(named[0])))
    found = load_encoder(start.name, checkpoint=start.checkpoint)
    _check_trainable(found.encoder)
    return found


def objectives_of(encoder: Encoder | type[Encoder]) -> tuple[str, ...]:
    """Return the names of the objectives that can train an encoder."""
    masked = ANY_ENCODER if not isinstance(encoder, Encoder) or encoder.token_rows else ()
    return tuple(dict.fromkeys((*encoder.pretraining_models, *masked)))


def continuing_recipe(start: StartWeights) -> str:
    """Return the bundled recipe that continues from weights: by the objective that they state, else by their own.

    Raises SettingError for an encoder that no objective can train.
    """
    found = start_checkpoint(start)
    assert found is not None
    stated = [name for name, task in TASKS.items() if (found.objective or "").startswith(f"{task.__name__}(")]
    name = (stated or [found.encoder.own_objective])[0]
    _check_objective(found.encoder, name)
    return CONTINUING[name]


def recording_input(recipe: Pretraining, start: Checkpoint | None) -> tuple[float, str]:
    """Return the rate (Hz) and the method of resampling with which recordings are read.

    Presets begin with the recordings at the rate to which they resample.
    """
    if start is None:
        return recipe.encoder.sampling_rate, "polyphase"
    spec = start.encoder.input_spec
    return _reading_rate(spec), spec.resampling


def window_shape(recipe: Pretraining, start: Checkpoint | None, leads: tuple[str, ...]) -> CropShape:
    """Return the windows that are cut from recordings of these leads.

    Raises SettingError for leads, lengths and units that the encoder does not take.
    """
    if start is None:
        shape = crop_shape(recipe)
    else:
        _check_objective(start.encoder, recipe.objective.name)
        shape = _shape_for(start.encoder.adapt_leads(leads), recipe.crops.window_seconds, str(recipe.start.name))
    require(
        shape.places >= FEWEST_TOKENS,
        f"a window of {recipe.crops.window_seconds:g} s has {shape.places} tokens; allowed: {FEWEST_TOKENS} or more, "
        "with a longer window_seconds",
    )
    return shape


def make_objective(
    recordings: Recordings,
    selection: Selection,
    recipe: Pretraining,
    *,
    seed: int,
    origin: Mapping[str, Any],
    start: Checkpoint | None = None,
) -> PretrainingObjective:
    """Return the objective of `recipe`, whose random weights depend only on `seed`. start: weights to continue from.

    Raises SettingError for an architecture without a module for the objective, and for invalid sizes.
    """
    shape = window_shape(recipe, start, recordings.leads)
    require(
        not (shape.amplitude_matters and bool(np.isnan(recordings.millivolts).any())),
        f"the preset of {recipe.start.name} needs millivolts, but the unit of {recordings.source.path} is unknown; "
        "give it, for example --unit uV",
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which also seeds the GPU
        if start is None:
            encoder = random_encoder(recipe, recordings.leads)
        else:
            encoder = start.encoder.adapt_leads(recordings.leads)
        made = OBJECTIVES[recipe.objective.name](
            encoder, recordings, selection, recipe, shape, origin=origin, weights=start and start.weights
        )
    if start is not None:
        _restore(made, start)
    return made


def random_encoder(recipe: Pretraining, leads: tuple[str, ...]) -> Encoder:
    """Return an encoder of the recipe's sizes for these leads, with random weights from torch's global generator."""
    sizes = to_table(recipe.encoder)
    name = sizes.pop("architecture")
    architecture = find_architecture(name)
    _check_objective(architecture, recipe.objective.name)
    try:
        config = architecture.config_type(leads=leads, resampling="polyphase", **sizes)
    except TypeError as error:
        raise SettingError(f"[encoder] does not fit architecture {name!r}: {error}") from None
    return architecture(config)


def _check_trainable(encoder: Encoder) -> None:
    if not objectives_of(encoder):
        raise SettingError(
            f"no objective can pretrain {encoder.architecture}, whose tokens are no equal parts of a window; continue "
            f"from another of {', '.join(name for name in model_names() if name != encoder.architecture)}"
        )


def _check_objective(encoder: Encoder | type[Encoder], objective: str) -> None:
    allowed = objectives_of(encoder)
    if objective not in allowed:
        raise SettingError(
            f"architecture {encoder.architecture!r} has no module for objective {objective!r}; allowed: "
            f"{', '.join(allowed)} (--recipe {' or '.join(CONTINUING[name] for name in allowed)})"
        )


def _steps(spec: InputSpec) -> tuple[Any, ...]:
    return next(iter(spec.presets.values()), ())


def _reading_rate(spec: InputSpec) -> float:
    return next((step.rate for step in _steps(spec) if isinstance(step, Resample)), spec.sampling_rate)


def _shape_for(encoder: Encoder, seconds: float, name: str) -> CropShape:
    """Windows of about `seconds` for an encoder, at the rate with which recordings are read."""
    spec, steps = encoder.input_spec, _steps(encoder.input_spec)
    rate = _reading_rate(spec)
    wanted = spec.samples or round(seconds * spec.sampling_rate) // spec.multiple_of * spec.multiple_of
    samples = min(wanted, spec.maximum_samples or wanted)
    shape = CropShape(rate, round(samples * rate / spec.sampling_rate), 0, steps)
    try:
        with torch.no_grad():
            signal = torch.from_numpy(shape.example(len(spec.leads)))
            tokens = depth_tokens(encoder.eval(), signal)[-1].shape[1]
    except DataError as error:
        raise SettingError(f"windows of {seconds:g} s do not fit {name}: {error}; set another window_seconds") from None
    return CropShape(rate, shape.samples, tokens // encoder.token_rows, steps)


def _restore(objective: PretrainingObjective, start: Checkpoint) -> None:
    """Give the module of the objective its own weights of the file, where the file has them."""
    state = objective.model.state_dict()
    tensors = start.objective_tensors
    if not tensors or not set(tensors) <= set(state):
        return
    for name, tensor in tensors.items():
        require(
            tensor.shape == state[name].shape,
            f"{name} of the file has shape {tuple(tensor.shape)}, but {tuple(state[name].shape)} by [objective]; set "
            "groups, codes, code_width and final_width as in the file",
        )
    objective.model.load_state_dict({**state, **tensors})
