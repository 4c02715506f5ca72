"""Methods by name. Each folder of this package registers its own; others come as `models.registry` describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from inspect import get_annotations
from typing import Any, TypeVar

from ecgtune import methods
from ecgtune.config.base import from_table, require, suggest, to_table
from ecgtune.errors import SettingError
from ecgtune.methods.base import Method
from ecgtune.utils.extensions import Registry
from ecgtune.utils.sources import import_hint

M = TypeVar("M", bound=type[Method])

METHODS: Registry[Method] = Registry("method", methods, "ecgtune.methods", submodule="settings")


def register_method(name: str) -> Callable[[M], M]:
    """Class decorator: make a method known under `name`, in recipes and on the command line.

    Raises SettingError for a class that is no `Method`, has no `learning_rate`, or has settings but no `@dataclass`,
    or a name that another class has.
    """

    def decorate(method: M) -> M:
        if not (isinstance(method, type) and issubclass(method, Method)):
            raise SettingError(f"register_method({name!r}) got {method!r}; allowed: a subclass of ecgtune.Method")
        if not hasattr(method, "learning_rate"):
            raise SettingError(
                f"register_method({name!r}): {method.__name__} has no learning rate; add the line"
                " learning_rate: ClassVar[float] = 1e-3"
            )
        own = {item.name for item in fields(method)}
        forgotten = [n for n, kind in get_annotations(method).items() if "ClassVar" not in str(kind) and n not in own]
        if forgotten:
            raise SettingError(
                f"register_method({name!r}): {', '.join(forgotten)} of {method.__name__} can be no setting; write"
                " @dataclass(frozen=True) between @register_method and the class"
            )
        METHODS.add(name, method)
        method.name = name
        return method

    return decorate


def method_names() -> list[str]:
    """Names of all methods."""
    return sorted(METHODS.all())


def find_method(name: str, where: str = "method", files: object = None) -> type[Method]:
    """Class of a method. Raises SettingError, which begins with `where`, for an unknown name.

    files: of the user, that a saved run states.
    """
    found = METHODS.get(name)
    if found is None:
        raise SettingError(
            f"{where} {name!r} is not known; {suggest(name, method_names())}; for a method of your own, "
            f"{import_hint(files)}"
        )
    return found


def method_from_table(table: Mapping[str, Any], where: str = "[method]", files: object = None) -> Method:
    """The method of a TOML table: `name` chooses the class, the rest are its settings. Raises SettingError.

    files: as in `find_method`.
    """
    settings = dict(table)
    require("name" in settings, f"{where} has no name; allowed: {', '.join(method_names())}")
    cls = find_method(str(settings.pop("name")), f"method in {where}:", files)
    return from_table(cls, settings, where)


def method_to_table(method: Method) -> dict[str, Any]:
    """The TOML table that `method_from_table` reads back into an equal method."""
    return {"name": method.name, **to_table(method)}
