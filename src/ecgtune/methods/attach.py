"""Put a method on a model: freeze what stays, add what trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ecgtune.config.space import Choice
from ecgtune.errors import NoPlaceError, SettingError
from ecgtune.methods.base import Method
from ecgtune.methods.registry import find_method, method_names
from ecgtune.models.base import Encoder
from ecgtune.models.classifier import Classifier


def attach(model: Classifier, method: Method, seed: int = 0) -> Classifier:
    """Make `method` the one thing that trains beside the head, and the lead mixer if there is one.

    Changes `model` in place and returns it. New weights are drawn from `seed`. Methods start as the identity, so the
    model's outputs do not change here (DoRA and PiSSA: but for rounding; a probe of mixed layers starts from their
    mean).

    Raises NoPlaceError when the encoder has no place for the method, SettingError when the model has a method already.
    """
    if model.attached is not None:
        raise SettingError(
            f"the model has {type(model.attached).__name__} attached; load the model again with load_model(...)"
        )
    if not isinstance(method, Method):
        raise SettingError(f"method is {method!r}; give one such as ecgtune.LoRA(rank=16)")
    encoder = model.base_encoder
    encoder.requires_grad_(False)
    own = list(encoder.parameters())  # kept, so that no added one can have the id of one that is gone
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model.encoder = method.attach(encoder, seed)
    except NoPlaceError as error:
        raise NoPlaceError(f"{error}; methods for this encoder: {', '.join(fitting_methods(encoder))}") from None
    known = {id(parameter) for parameter in own}
    added = ((name, p) for name, p in model.encoder.named_parameters() if id(p) not in known)
    model.added_parameters = frozenset(name for name, parameter in added if parameter.requires_grad)
    model.head.requires_grad_(True)
    if model.lead_mixer is not None:
        model.lead_mixer.requires_grad_(True)
    model.attached = method
    return model


def fitting_methods(encoder: Encoder) -> list[str]:
    """Names of the methods that fit the encoder with default settings, or with one setting of their search space."""
    return [name for name in method_names() if any(_fits(find_method(name), each, encoder) for each in _settings(name))]


def _settings(name: str) -> Iterator[dict[str, Any]]:
    yield {}
    for key, span in find_method(name).search_space.items():
        if isinstance(span, Choice) and key.startswith("method."):
            yield from ({key.removeprefix("method."): value} for value in span.values)


def _fits(method: type[Method], settings: dict[str, Any], encoder: Encoder) -> bool:
    try:
        method(**settings).check_place(encoder)
    except (SettingError, TypeError):  # TypeError: a method from outside with settings that have no default
        return False
    return True
