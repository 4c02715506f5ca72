"""Digests of source code from outside the package, for the keys of caches that hold its results."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import ModuleType

from ecgtune.text import utf8

#: Packages whose versions are in the keys of the caches, or whose code does not change.
_LIBRARIES = sys.stdlib_module_names | {"ecgtune", "peft", "torch"}
#: Digests at the time of the registration: a file may be edited after it was imported.
_REGISTERED: dict[object, str | None] = {}


def remember_source(code: Iterable[object]) -> None:
    """Keep the digest of classes and functions that are registered, and were just imported."""
    code = list(code)
    digest = _digest(code)
    _REGISTERED.update(dict.fromkeys(code, digest))


def source_digest(code: Iterable[object]) -> str | None:
    """Return a digest of the source files of classes and functions; "" if all are of this package, torch or peft.

    A class counts with its bases, a file with the files in and below its folder that it imports, and code that is
    registered also as it was then. None where code has no source file, as in a notebook.
    """
    code = list(code)
    parts = {_digest(code), *(_REGISTERED.get(item, "") for item in code)}
    found = sorted(part for part in parts if part)
    return None if None in parts else hashlib.sha256(" ".join(found).encode()).hexdigest() if found else ""


def user_files(*classes: type) -> list[str]:
    """Return the files of the user in which classes are defined; those of installed packages are found without."""
    modules = [sys.modules.get(cls.__module__) for cls in classes if cls.__module__.partition(".")[0] not in _LIBRARIES]
    files = [file for module in modules if isinstance(file := getattr(module, "__file__", None), str)]
    resolved = (Path(os.path.realpath(file)) for file in files)
    return [str(file) for file in dict.fromkeys(resolved) if "site-packages" not in file.parts]


def import_hint(files: object) -> str:
    """What to do about an unknown name; files: those that a saved model states (`user_files`)."""
    found = [each for each in files if isinstance(each, str) and each.isprintable()] if isinstance(files, list) else []
    if not found:
        return "import the file that registers it, such as --import my_file.py"
    gone = [Path(file).name for file in found if not Path(file).is_file()]
    rest = f" ({', '.join(gone)} is not there any more)" if gone else ""
    return f"import what registers it: {' '.join(f'--import {shlex.quote(file)}' for file in found)}{rest}"


def _digest(code: Iterable[object]) -> str | None:
    files: dict[str, bytes] = {}
    waiting = [name for item in code for name in _modules_of(item)]
    while waiting:
        name = waiting.pop()
        if name in files or name.partition(".")[0] in _LIBRARIES:
            continue
        module = sys.modules.get(name)
        path = getattr(module, "__file__", None)
        if module is None or path is None or not path.endswith(".py"):
            return None
        try:
            files[name] = Path(path).read_bytes()
        except OSError:
            return None
        waiting += _neighbours(module, Path(path).parent)
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(utf8(f"{name} {len(files[name])} ") + files[name])
    return whole.hexdigest() if files else ""


def _modules_of(item: object) -> list[str]:
    """Names of the modules of a class and its bases, or of a function."""
    while isinstance(item, partial):
        item = item.func
    if isinstance(item, type):
        return [base.__module__ for base in item.__mro__]
    name = getattr(item, "__module__", None)
    return [name if isinstance(name, str) else type(item).__module__]


def _neighbours(module: ModuleType, folder: Path) -> list[str]:
    """Names of the modules in or below `folder` that a module has imported, whole or in part."""
    names = {
        value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        for value in vars(module).values()
    }
    found = []
    for name in names:
        path = getattr(sys.modules.get(name), "__file__", None) if isinstance(name, str) else None
        if path is not None and Path(path).is_relative_to(folder):
            inside = Path(path).relative_to(folder)
            if inside.suffix == ".py" and "site-packages" not in inside.parts:
                found.append(str(name))
    return found
