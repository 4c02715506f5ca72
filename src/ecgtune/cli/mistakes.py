"""Errors of a command line as one line that says what to type."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, get_args, get_origin

from cyclopts import CycloptsError
from cyclopts.exceptions import CoercionError, MissingArgumentError, UnknownOptionError, UnusedCliTokensError

from ecgtune.config.base import KINDS, suggest
from ecgtune.config.synonyms import known_name
from ecgtune.methods.registry import find_method, method_names
from ecgtune.recipes.pretraining import FINE_TUNING_ONLY
from ecgtune.recipes.recipe import list_recipes

#: Names of the options of every command, which take a while to collect.
Options = Callable[[], Mapping[str, Collection[str]]]


#: (command, option) -> what to type in place of an option that people expect there.
_ELSEWHERE = {
    **dict.fromkeys(
        (("compare", "seed"), ("plan", "seed")),
        "--seeds N trains seeds 0 to N - 1; for one seed, `ecgtune fine-tune DATA --method lora --seed 3`",
    ),
    **dict.fromkeys(
        (("compare", "resume"), ("sweep", "resume")),
        "rerun the same command to resume: finished parts are kept",
    ),
    ("export", "format"): "the name of the file gives it: model.onnx, or model.pte of ExecuTorch",
    ("fine-tune", "seeds"): "it trains one seed (--seed); for several, `ecgtune compare DATA --methods lora --seeds 3`",
}


def explain(
    error: CycloptsError, command: str, tokens: Sequence[str], common: Collection[str], options: Options
) -> str:
    """The message for an error of `ecgtune COMMAND TOKENS`; common: the options that every command has."""
    if isinstance(error, UnknownOptionError):
        flag = (error.token.keyword or error.token.value or "").partition("=")[0]
        names = {name for argument in error.argument_collection for name in argument.names}
        own = {name[2:] for name in names if name.startswith("--")}.union(common)
        return _unknown_option(flag, own, command, options)
    if isinstance(error, CoercionError) and error.token is not None and error.token.keyword:
        kinds = [kind for kind in get_args(error.target_type) if kind is not type(None)] or [error.target_type]
        value, kind = error.token.value, next((KINDS[kind] for kind in kinds if kind in KINDS), None)
        if kind or get_origin(error.target_type) is Literal:
            needed = f"{kind} is needed" if kind else suggest(value, map(str, kinds))
            return f"{error.token.keyword} is {value!r}; {needed}"
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return _unexpected(error.unused_tokens[0], command, tokens)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        given = f"{name} needs a value" if name.startswith("-") else f"{name} is missing"
        return f"{given}; see `ecgtune {command} --help`"
    return str(error)


def _unknown_option(flag: str, own: Collection[str], command: str, options: Options) -> str:
    """What to type in place of an option that the command does not have: by meaning, then by spelling."""
    asked = flag.lstrip("-")
    field = asked.replace("-", "_")
    start = f"no option {flag}"
    if (command, field) in _ELSEWHERE:
        return f"{start} in `ecgtune {command}`; {_ELSEWHERE[command, field]}"
    fields = {name.replace("-", "_") for name in own}
    meant = known_name(field, fields)
    if meant is not None:
        return f"{start}; use --{meant.replace('_', '-')}"
    if command == "pretrain" and field in FINE_TUNING_ONLY:
        return f"{flag} is for fine-tuning only; leave it out: a pretraining has no labels, head or frozen encoder"
    close = difflib.get_close_matches(asked, sorted(own), n=1, cutoff=0.85)
    methods = _methods_with(field) if not close and {"method", "methods"} & fields else []
    known = {} if close or methods else options()
    homes = [name for name, names in known.items() if asked in names and name != command]
    close = close or ([] if homes or methods else difflib.get_close_matches(asked, sorted(own), n=1, cutoff=0.7))
    if close:
        return f"{start}; did you mean --{close[0]}?"
    if methods:
        return (
            f"{start}; {field} is a setting of {', '.join(methods)}: write it under [method] in a TOML file (copy one "
            "of the recipes) and give that file as the method"
        )
    if homes:
        return f"{start} in `ecgtune {command}`; it is an option of {', '.join(homes)}"
    return f"{start}; `ecgtune {command} --help` lists the options"


def _unexpected(token: str, command: str, tokens: Sequence[str]) -> str:
    """What to do about a word that no argument takes."""
    if tokens and _is_method(tokens[0]) and command in _METHOD_FLAGS:
        return _method_first(command, tokens[0], token)
    if command == "fine-tune" and _is_method(token):
        return f"unexpected argument {token!r}; the method is an option, --method {token}"
    if token in list_recipes():
        return f"unexpected argument {token!r}; join several methods by commas, --methods full,lora"
    return f"unexpected argument {token!r}; see `ecgtune {command} --help`"


#: Command -> its option of methods.
_METHOD_FLAGS = {"fine-tune": "--method", **dict.fromkeys(("compare", "plan", "sweep"), "--methods")}


def _method_first(command: str, method: str, data: str = "DATA") -> str:
    """The right order for a method that was typed in place of the data."""
    return f"{method!r} is a method, and DATA comes first: `ecgtune {command} {data} {_METHOD_FLAGS[command]} {method}`"


def _is_method(token: str) -> bool:
    """Whether a word names recipes: one of their names, several joined by commas, or a file."""
    names = [name.strip() for name in token.split(",")]
    return all(name in list_recipes() or name.endswith(".toml") for name in names)


def _methods_with(field: str) -> list[str]:
    """Names of the methods that have a setting `field`."""
    methods = [(name, find_method(name)) for name in method_names()]
    return [name for name, method in methods if field in {item.name for item in dataclasses.fields(method)}]
