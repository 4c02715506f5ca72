"""Check plain values of a file against type hints: a TypedDict is a table whose other keys are not looked at."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
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
from ecgtune.utils.text import shown

Count = Annotated[int, 0, 1 << 53]
Positive = Annotated[float, math.ulp(0.0), 1e15]
Fraction = Annotated[float, 0, 1]
_WORDS = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false", type(None): "null"}


def check_schema(value: Any, hint: Any, source: str, error: type[EcgtuneError]) -> None:
    """Raise `error`, one line with the place, unless `value` fits `hint`.

    hint: a plain type, `Any`, `Literal`, a union, `list[X]`, `dict[str, X]`, a TypedDict, or `Annotated[X, low, high]`
    for a number in a range. A number is never NaN or infinite, and true is no number.
    """
    problem = _problem(value, hint, "")
    if problem:
        raise error(f"{source}: {problem}; the file is damaged, or was not written by ecgtune")


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
        kind, low, high = arguments
        problem = _problem(value, kind, place)
        return problem or ("" if low <= value <= high else _sentence(place, value, f"{low:g} to {high:g}"))
    if origin is Literal:
        return "" if value in arguments else _sentence(place, value, " or ".join(map(repr, arguments)))
    if is_typeddict(hint):
        return _table_problem(value, hint, place)
    if origin is dict:
        if not isinstance(value, dict):
            return _sentence(place, value, "a table")
        parts = ((f"{place}.{str(key)[:40]}", part, arguments[1]) for key, part in value.items())
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


def _table_problem(value: Any, hint: Any, place: str) -> str:
    if not isinstance(value, Mapping):
        return _sentence(place, value, "a table")
    hints = get_type_hints(hint, include_extras=True)
    for name, kind in hints.items():
        at = f"{place}.{name}"
        if name in value:
            problem = _problem(value[name], kind, at)
        else:
            problem = "" if get_origin(kind) is NotRequired else f"{at.lstrip('.')} is missing"
        if problem:
            return problem
    return ""


def _sentence(place: str, value: Any, needed: str) -> str:
    kind = f"a {type(value).__name__}" if isinstance(value, (dict, list, tuple)) else shown(value)
    return f"{place.lstrip('.') or 'the content'} is {kind}; {needed} is needed"
