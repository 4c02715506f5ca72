"""Encoders, methods and formats from outside the package: files of the user and installed entry points.

Files and entry points register their classes on import, with decorators such as `@register_encoder`.
"""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import sys
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from ecgtune.errors import SettingError
from ecgtune.text import reason_of
from ecgtune.utils.sources import remember_source

T = TypeVar("T")

#: Environment variable with paths of files to import, separated as in PATH; child processes inherit it.
VARIABLE = "ECGTUNE_IMPORT"


@dataclass(frozen=True)
class Registry(Generic[T]):
    """Classes by name, from the folders of a package and from outside.

    kind: word in messages and in `@register_<kind>`. package: its folders, or their module `submodule`, are imported
    and register classes. group: name of the entry points.
    """

    kind: str
    package: ModuleType
    group: str
    submodule: str = ""
    _classes: dict[str, type[T]] = field(default_factory=dict)

    def add(self, name: str, cls: type[T]) -> None:
        """Register a class as `name`. Raises SettingError if another class has this name."""
        other = self._classes.get(name)
        if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise SettingError(f"a {self.kind} {name!r} is registered already ({other}); choose another name")
        self._classes[name] = cls
        remember_source([cls])

    def get(self, name: str) -> type[T] | None:
        """Return the class of this name, None if it is unknown."""
        return self._classes.get(name) or self.all().get(name)

    def all(self) -> dict[str, type[T]]:
        """Return all classes by name."""
        _import_folders(self.package, self.submodule)
        load_entry_points(self.group)
        return self._classes

    def check(self, item: T, name: str) -> None:
        """Raise SettingError unless a saved run finds the class of `item` again by `name`."""
        if self.get(name) is not type(item):
            raise SettingError(
                f"{type(item).__name__} is not registered, so a saved run could not be loaded; decorate the class with"
                f" @register_{self.kind}('name')"
            )


@cache
def _import_folders(package: ModuleType, submodule: str) -> None:
    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg:
            importlib.import_module(".".join(filter(None, (package.__name__, module.name, submodule))))


def add_file(path: str | Path) -> None:
    """Import a file in this process and in all its child processes. Raises SettingError, see `load_file`."""
    load_file(path)
    known = [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    resolved = str(Path(path).resolve())
    if resolved not in known:
        os.environ[VARIABLE] = os.pathsep.join([*known, resolved])


def load_file(path: str | Path) -> None:
    """Import a Python file unless it is already imported; it may import files beside it.

    Raises SettingError if it is missing or fails.
    """
    path = Path(os.path.realpath(path))  # raises nothing for a link to itself
    name = f"ecgtune_import_{path.stem}"
    if any(_is_from(module, path) for module in list(sys.modules.values())):
        return
    spec = importlib.util.spec_from_file_location(name, path) if path.suffix == ".py" else None
    if spec is None or spec.loader is None or not path.is_file():
        raise SettingError(f"{path}: no such Python file; give --import a file such as my_encoder.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last, so that no file beside it hides an installed package
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise SettingError(f"{path} cannot be imported ({reason_of(error)}); repair the file") from error


def _is_from(module: object, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and os.path.basename(file) == path.name and os.path.realpath(file) == str(path)


def load_entry_points(group: str) -> None:
    """Import the files of `VARIABLE` and the entry points of `group`, once per process."""
    for path in os.environ.get(VARIABLE, "").split(os.pathsep):
        if path:
            load_file(path)
    _load_group(group)


@cache
def _load_group(group: str) -> None:
    for point in entry_points(group=group):
        try:
            point.load()
        except Exception as error:
            raise SettingError(
                f"entry point {point.name!r} of {group} cannot be imported ({reason_of(error)}); "
                f"repair or uninstall {point.dist.name if point.dist else point.value}"
            ) from error
