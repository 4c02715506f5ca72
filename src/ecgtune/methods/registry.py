"""Methods by name. Each folder of this package registers its own; others come as `models.registry` describes."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from ecgtune import methods
from ecgtune.config.base import choose, from_table, require, to_table
from ecgtune.errors import SettingError
from ecgtune.methods.base import Method
from ecgtune.utils.extensions import load_entry_points

M = TypeVar("M", bound=type[Method])

_METHODS: dict[str, type[Method]] = {}


def register_method(name: str) -> Callable[[M], M]:
    """Class decorator: make a method known under `name`, in recipes and on the command line.

    Raises SettingError for a class that is no `Method`, or a name that another class has.
    """

    def decorate(method: M) -> M:
        if not (isinstance(method, type) and issubclass(method, Method) and hasattr(method, "learning_rate")):
            raise SettingError(f"register_method({name!r}) got {method!r}; a subclass of Method with a learning_rate")
        other = _METHODS.get(name)
        if other is not None and (other.__module__, other.__qualname__) != (method.__module__, method.__qualname__):
            raise SettingError(f"a method {name!r} is registered already ({other}); choose another name")
        method.name = name
        _METHODS[name] = method
        return method

    return decorate


def method_names() -> list[str]:
    """Names of all methods."""
    load_registrations()
    return sorted(_METHODS)


def find_method(name: str) -> type[Method]:
    """Class of a method. Raises SettingError for an unknown name."""
    if name not in _METHODS:
        load_registrations()
        choose(name, sorted(_METHODS), "method")
    return _METHODS[name]


def check_registered(method: Method) -> None:
    """Raise SettingError unless a saved run finds the class of `method` again by its name."""
    load_registrations()
    if _METHODS.get(method.name) is not type(method):
        raise SettingError(
            f"{type(method).__name__} is not registered, so a saved run could not be loaded; decorate the class with"
            " @register_method('name')"
        )


def method_from_table(table: Mapping[str, Any], where: str = "[method]") -> Method:
    """The method of a TOML table: `name` chooses the class, the rest are its settings. Raises SettingError."""
    settings = dict(table)
    require("name" in settings, f"{where} has no name; allowed: {', '.join(method_names())}")
    name = str(settings.pop("name"))
    if name not in _METHODS:
        choose(name, method_names(), f"method in {where}:")
    return from_table(_METHODS[name], settings, where)


def method_to_table(method: Method) -> dict[str, Any]:
    """The TOML table that `method_from_table` reads back into an equal method."""
    return {"name": method.name, **to_table(method)}


@cache
def load_registrations() -> None:
    """Import the settings of each folder of this package and the entry points, which register what they have."""
    for module in pkgutil.iter_modules(methods.__path__):
        if module.ispkg:
            import_module(f"{methods.__name__}.{module.name}.settings")
    load_entry_points("ecgtune.methods")
