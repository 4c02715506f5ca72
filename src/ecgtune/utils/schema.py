"""Check plain values of a file against type hints: a TypedDict is a table whose other keys are not looked at."""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from ecgtune.errors import EcgtuneError
from ecgtune.text import shown

Count = Annotated[int, 0, 1 << 53]
Positive = Annotated[float, math.ulp(0.0), 1e15]
Fraction = Annotated[float, 0, 1]
_WORDS = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false", type(None): "null"}


DAMAGED = "the file is damaged, or was not written by ecgtune"


def check_schema(value: Any, hint: Any, source: str, error: type[EcgtuneError], remedy: str = DAMAGED) -> None:
    """Raise `error`, one line with the place and `remedy`, unless `value` fits `hint`.

    hint: a plain type, `Any`, `Literal`, a union, `list[X]`, `dict[K, X]`, a TypedDict, or with `Annotated` a number in
    a range (`[float, low, high]`), a list or table of a length in a range, a table with certain keys, or a text that
    fits a regular expression as a whole. A number is never NaN or infinite, and true is no number.
    """
    problem = _problem(value, hint, "")
    if problem:
        raise error(f"{source}: {problem}; {remedy}")


def _problem(value: Any, hint: Any, place: str) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return ""
    if origin is NotRequired:
        return _problem(value, arguments[0], place)
    if origin in (Union, UnionType):
        problems = [_problem(value, option, place) for option in arguments]
        return "" if "" in problems else problems[0]
    if origin is Annotated:
        kind, *limits = arguments
        return _problem(value, kind, place) or _limit_problem(value, limits, place)
    if origin is Literal:
        return "" if value in arguments else _sentence(place, value, " or ".join(map(repr, arguments)))
    if is_typeddict(hint):
        return _table_problem(value, hint, place)
    if origin is dict:
        if not isinstance(value, dict):
            return _sentence(place, value, "a table")
        keys = ((f"a key of {place.lstrip('.') or 'the content'}", key, arguments[0]) for key in value)
        entries = ((f"{place}.{shown(key)[1:-1]}", part, arguments[1]) for key, part in value.items())
        parts = itertools.chain(keys, entries)
    elif origin is list:
        if not isinstance(value, (list, tuple)):
            return _sentence(place, value, "a list")
        parts = ((f"{place}[{number}]", part, arguments[0]) for number, part in enumerate(value))
    else:
        fits = isinstance(value, (int, float) if hint is float else hint)
        wrong = not fits or (isinstance(value, bool) and hint is not bool)
        wrong = wrong or (isinstance(value, float) and not math.isfinite(value))
        wrong = wrong or (hint is float and abs(value) > sys.float_info.max)  # a whole number
        return _sentence(place, value, _WORDS.get(hint, hint.__name__)) if wrong else ""
    return next((problem for name, part, kind in parts if (problem := _problem(part, kind, name))), "")


def _limit_problem(value: Any, limits: list[Any], place: str) -> str:
    if isinstance(value, str):
        return "" if re.fullmatch(limits[0], value) else _sentence(place, value, f"text of the form {limits[0]}")
    if isinstance(limits[0], str):
        return next((f"{place.lstrip('.')}.{name} is missing" for name in limits if name not in value), "")
    low, high = limits
    if isinstance(value, (dict, list, tuple)):
        fits = low <= len(value) <= high
        return "" if fits else f"{place.lstrip('.')} has {len(value)} entries; {low:g} to {high:g} are needed"
    return "" if low <= value <= high else _sentence(place, value, f"{low:g} to {high:g}")


def _table_problem(value: Any, hint: Any, place: str) -> str:
    if not isinstance(value, Mapping):
        return _sentence(place, value, "a table")
    for name, kind in _hints(hint).items():
        at = f"{place}.{name}"
        if name in value:
            problem = _problem(value[name], kind, at)
        else:
            problem = "" if get_origin(kind) is NotRequired else f"{at.lstrip('.')} is missing"
        if problem:
            return problem
    return ""


@cache
def _hints(table: type) -> dict[str, Any]:
    return get_type_hints(table, include_extras=True)


def _sentence(place: str, value: Any, needed: str) -> str:
    kind = f"a {type(value).__name__}" if isinstance(value, (dict, list, tuple)) else shown(value)
    return f"{place.lstrip('.') or 'the content'} is {kind}; {needed} is needed"
