"""Put a method on a model: freeze what stays, add what trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import PeftModel
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
from torch import nn

from ecgtune.errors import SettingError
from ecgtune.methods import ladder, layer_mix, peft_configs
from ecgtune.methods.added_settings import SideTuning
from ecgtune.methods.base import Method, check_members
from ecgtune.methods.members import EncoderMembers, HeadMembers, member_seed, twin, unwrapped
from ecgtune.methods.own_weights import check_layers, own_weights
from ecgtune.methods.own_weights_settings import Full, LinearProbe, NormBias, TopLayers
from ecgtune.models.base import Encoder
from ecgtune.models.classifier import Classifier


def attach(model: Classifier, method: Method, seed: int = 0, members: int = 1) -> Classifier:
    """Make `method` the one thing that trains beside the head, and the lead mixer if there is one.

    Changes `model` in place and returns it.

    The encoder becomes a `peft.PeftModel` where peft carries the method out, a `SideTuned` for side tuning, a
    `LayerMix` for a probe of mixed layers, and stays itself where only its own weights train or none do; the head is
    never wrapped and always trains. New weights are drawn from `seed`. Every method starts as the identity, so the
    model's answers do not change here (DoRA and PiSSA: but for rounding; a probe of mixed layers starts from their
    mean).

    members: above 1 the encoder becomes an `EncoderMembers` and the head a `HeadMembers`: so many times the method and
    the head over the same frozen weights, and the mean of their logits answers. The method's random weights are drawn
    from a seed of each member's own, the heads start alike.

    Raises SettingError when the encoder has no place for the method, when the model has a method already, or when the
    method takes no members.
    """
    if model.attached is not None:
        raise SettingError(
            f"the model has {type(model.attached).__name__} attached already; load it anew with load_model(...)"
        )
    put = _PUT.get(type(method))
    if put is None:
        known = ", ".join(kind.__name__ for kind in _PUT)
        raise SettingError(f"no way to attach {type(method).__name__}; allowed: {known}")
    check_members(method, members)
    model.encoder.requires_grad_(False)
    model.head.requires_grad_(True)
    if model.lead_mixer is not None:
        model.lead_mixer.requires_grad_(True)
    base = base_encoder(model)
    wrapped = []
    with torch.random.fork_rng(devices=[]):
        for number, encoder in enumerate([base, *(twin(base) for _ in range(members - 1))]):
            own_seed = member_seed(seed, number)
            torch.manual_seed(own_seed)
            wrapped.append(put(encoder, method, own_seed))
    model.encoder = wrapped[0] if members == 1 else EncoderMembers(wrapped)
    if members > 1:
        model.head = HeadMembers(model.head, members)
    model.attached = method
    return model


def _open_own_weights(encoder: Encoder, method: Method, seed: int) -> nn.Module:
    for name in own_weights(encoder, method):
        encoder.get_parameter(name).requires_grad_(True)
    return encoder


def _put_probe(encoder: Encoder, method: LinearProbe, seed: int) -> nn.Module:
    if method.layers == "last":
        return encoder
    check_layers(encoder, method)
    return layer_mix.LayerMix(encoder)


def _put_ladder(encoder: Encoder, method: SideTuning, seed: int) -> nn.Module:
    check_layers(encoder, method)
    return ladder.SideTuned(encoder, method)


#: What each method makes of a frozen encoder, with torch's generator at the seed.
_PUT: dict[type[Method], Callable[[Encoder, Any, int], nn.Module]] = {
    **dict.fromkeys((Full, TopLayers, NormBias), _open_own_weights),
    **dict.fromkeys(peft_configs.CONFIGS, peft_configs.wrap),
    LinearProbe: _put_probe,
    SideTuning: _put_ladder,
}


def attached_prefixes(model: Classifier) -> tuple[str, ...]:
    """The parts of parameter names by which weights that the method added are known; empty where it added none."""
    encoder = encoders_of(model)[0]
    if isinstance(encoder, ladder.SideTuned):
        return (ladder.PREFIX,)
    if isinstance(encoder, layer_mix.LayerMix):
        return (layer_mix.PREFIX,)
    if not isinstance(encoder, PeftModel):
        return ()
    kinds = [config.peft_type for config in encoder.peft_config.values()]
    return tuple(PEFT_TYPE_TO_PREFIX_MAPPING[kind] for kind in kinds)  # type: ignore[index]  # ours is a plain name


def encoders_of(model: Classifier) -> tuple[nn.Module, ...]:
    """The encoder as the method left it: of each member, or the only one."""
    return tuple(model.encoder.members) if isinstance(model.encoder, EncoderMembers) else (model.encoder,)


def base_encoder(model: Classifier) -> Encoder:
    """The encoder itself, out of the wrapper that a method put around it if there is one; of members the first's."""
    return unwrapped(encoders_of(model)[0])
