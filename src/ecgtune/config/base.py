"""Conversion of frozen dataclasses from and to TOML tables; an unknown name or a wrong type is an error."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ecgtune.config.synonyms import known_name
from ecgtune.errors import SettingError
from ecgtune.text import shortened

T = TypeVar("T")
LARGEST_SEED = 1 << 53  # generators of torch take less than 2^63, JSON of other languages this
KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def suggest(got: str, allowed: Iterable[str]) -> str:
    """Return a phrase for an unknown name `got`: the one it means, or the closest of `allowed` and all of them."""
    names = sorted(allowed)
    if not names:
        return "none is allowed here"
    meant = known_name(got, names)
    if meant is not None:
        return f"use {meant!r}"
    close = difflib.get_close_matches(got, names, n=1)
    separated = separate(got, names)
    hint = f"did you mean {close[0]!r}? " if close and not separated else ""
    return f"{hint}allowed: {', '.join(names)}{separated}"


def separate(got: str, names: Iterable[str]) -> str:
    """Return a hint, with "; " before it, for several of `names` joined by commas; "" for anything else."""
    parts = [part.strip() for part in got.split(",")]
    return f"; separate names by spaces: {' '.join(parts)}" if len(parts) > 1 and {*parts} <= {*names} else ""


def choose(got: str, allowed: Iterable[str], what: str) -> str:
    """Return `got` if it is one of `allowed`, else raise a SettingError that lists them."""
    names = list(allowed)
    if got not in names:
        raise SettingError(f"{what} {_told(got)} is not known; {suggest(got, names)}")
    return got


def check_settings(settings: Any, cls: type) -> None:
    """Raise SettingError for settings that are no `cls`."""
    if not isinstance(settings, cls):
        raise SettingError(f"settings is {settings!r}; give ecgtune.{cls.__name__}(...)")


def from_table(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """Build the dataclass `cls` from a TOML table; `where` names the table in errors ("[optimisation] of my.toml").

    Raises SettingError for an unknown name, a value of another type or a value outside a Literal.
    """
    hints = _hints(cls)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in fields:
            raise SettingError(f"{where} has no setting {_told(name)}; {suggest(name, fields)}")
        values[name] = _convert(value, fields[name], f"{name} in {where}")
    return cls(**values)


def from_tables(
    classes: Mapping[str, type], tables: Mapping[str, Any], where: str, *, other: Iterable[str] = ()
) -> dict[str, Any]:
    """Build the dataclass of each table in `classes` from parsed TOML; a missing table gives the defaults.

    `other` are keys that the caller reads. Raises SettingError for an unknown table or setting, with the correct table
    for a setting in a wrong one.
    """
    known = {*other, *classes}
    fields = {key: {field.name for field in dataclasses.fields(cls)} for key, cls in classes.items()}
    for key, table in tables.items():
        require(key in known, f"{where} has no table {_told(key)}; {suggest(key, known)}")
        if key in other:
            continue
        require(isinstance(table, Mapping), f"{key} in {where} must be a table, written [{key}]")
        homes: dict[str, list[str]] = {}
        for name in table:
            home = next((at for at in classes if name in fields[at]), None)
            if home is not None and name not in fields[key]:
                homes.setdefault(home, []).append(name)
        if homes:
            moved = " and ".join(f"[{at}] for {', '.join(names)}" for at, names in homes.items())
            raise SettingError(f"[{key}] of {where}: use {moved}")
    return {key: from_table(cls, tables.get(key, {}), f"[{key}] of {where}") for key, cls in classes.items()}


def to_table(settings: Any) -> dict[str, Any]:
    """Return the dataclass as a TOML table. TOML has no null, so a setting that is None is left out."""
    table: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value is not None:
            table[field.name] = (
                list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
            )
    return table


def _told(value: Any) -> str:
    """A value in a message, whose end is cut off where it is long."""
    return shortened(repr(value), 60)


def _convert(value: Any, hint: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        options = [option for option in get_args(hint) if option is not type(None)]
        for option in options[:-1]:
            with suppress(SettingError):
                return _convert(value, option, where)
        return _convert(value, options[-1], where)
    if origin is Literal:
        allowed = get_args(hint)
        if value not in allowed:
            raise SettingError(f"{where} is {_told(value)}; {suggest(str(value), map(str, allowed))}")
        return value
    if origin is tuple:
        item = get_args(hint)[0]
        if not isinstance(value, (list, tuple)):
            raise SettingError(f"{where} is {_told(value)}; a list is needed")
        return tuple(_convert(part, item, where) for part in value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise SettingError(f"{where} is {_told(value)}; {KINDS.get(hint, hint.__name__)} is needed")
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingError(f"{where} is {value}; a finite number is needed")
    return value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def check_fields(settings: Any) -> None:
    """Raise SettingError unless every field of the dataclass has a value of its type, and a finite one if a number.

    Called first in `__post_init__`, because type hints alone do not reject a misspelt choice.
    """
    hints, name = _hints(type(settings)), type(settings).__name__
    for field in dataclasses.fields(settings):
        _convert(getattr(settings, field.name), hints[field.name], f"{field.name} of {name}")


def check_seed(seed: object, name: str = "seed") -> None:
    """Raise SettingError unless `seed` is a whole number that every generator and every result file takes."""
    if not isinstance(seed, Integral) or isinstance(seed, bool) or int(seed) < 0:
        raise SettingError(f"{name} is {seed}; allowed: 0 or more (a whole number)")
    require(int(seed) <= LARGEST_SEED, f"{name} is {seed}; allowed: at most {LARGEST_SEED}")


def require(condition: bool, message: str) -> None:
    """Raise SettingError(message) unless `condition` holds."""
    if not condition:
        raise SettingError(message)
