"""Architectures by name: the classes that saved encoders are loaded into."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from ecgtune import models
from ecgtune.errors import CheckpointError, SettingError
from ecgtune.models.base import Encoder
from ecgtune.utils.extensions import load_entry_points

_ARCHITECTURES: dict[str, type[Encoder]] = {}


def add_architecture(name: str, encoder: type[Encoder]) -> None:
    """Make a class known under `name`. Raises SettingError for a name that another class has."""
    other = _ARCHITECTURES.get(name)
    same = other is None or (other.__module__, other.__qualname__) == (encoder.__module__, encoder.__qualname__)
    if not same:
        raise SettingError(f"an encoder {name!r} is registered already ({other}); choose another name")
    encoder.architecture = name
    _ARCHITECTURES[name] = encoder


def find_architecture(name: str) -> type[Encoder]:
    """Class that is registered as architecture `name`. Raises CheckpointError for an unknown one."""
    if name not in _ARCHITECTURES:
        load_registrations()
    if name not in _ARCHITECTURES:
        raise CheckpointError(
            f"architecture {name!r} is not registered; known: {', '.join(sorted(_ARCHITECTURES))}; import the file that"
            " registers it (--import my_encoder.py)"
        )
    return _ARCHITECTURES[name]


def registered_architectures() -> list[type[Encoder]]:
    """Classes of all architectures."""
    load_registrations()
    return list(_ARCHITECTURES.values())


def check_registered(encoder: Encoder) -> None:
    """Raise SettingError unless a saved run finds the class of `encoder` again by its architecture."""
    load_registrations()
    if _ARCHITECTURES.get(encoder.architecture) is not type(encoder):
        raise SettingError(
            f"{type(encoder).__name__} is not registered, so a saved run could not be loaded; decorate the class with"
            " @register_encoder('name')"
        )


@cache
def load_registrations() -> None:
    """Import the folders of this package and the entry points, which register what they have."""
    for module in pkgutil.iter_modules(models.__path__):
        if module.ispkg:
            import_module(f"{models.__name__}.{module.name}")
    load_entry_points("ecgtune.encoders")
