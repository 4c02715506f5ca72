"""What a sweep may change in a recipe: settings by name, each with the values that it may take.

A setting is called by its table and its field, "optimisation.learning_rate" or "method.rank". A recipe's own value is
always among those that may be tried, so that a sweep can begin with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from ecgtune.config.base import require, suggest
from ecgtune.config.space import Around, Choice, Range, Span, Value, _number
from ecgtune.errors import SettingError
from ecgtune.methods.registry import method_names
from ecgtune.recipes.recipe import Recipe
from ecgtune.utils.files import toml_value

#: What one recipe's settings may become, by the name of the setting.
Space: TypeAlias = dict[str, Range | Choice]
#: By "all", a method or a recipe: what is tried in the place of the table below; None: the setting stays as it is.
Changes: TypeAlias = Mapping[str, Mapping[str, Span | None]]

RATE = "optimisation.learning_rate"
#: Tried for every method.
SHARED: Mapping[str, Span] = {RATE: Around(10.0), "optimisation.weight_decay": Choice((0.0, 0.01, 0.1))}
_TABLES = ("method", "model", "optimisation", "augmentation")
#: Settings that are no matter of taste: the encoder, what a trial costs, where and how it runs, what AUROC cannot see
#: or would favour of itself.
NOT_SEARCHED = frozenset(
    (
        *("model.name", "model.checkpoint", "model.lead_mode"),
        *("optimisation.epochs", "optimisation.patience", "optimisation.checkpoint_metric"),
    )
)


def space_of(recipe: Recipe, changes: Changes | None = None, *, fixed: Collection[str] = ()) -> Space:
    """What a sweep of `recipe` tries: the table of this module, `changes` to it, without the settings in `fixed`.

    Of `changes`, "all" counts first, then the method, then the recipe's name. Raises SettingError for a setting that
    the recipe does not have or a value that it does not allow.
    """
    spans: dict[str, Span | None] = {**SHARED, **recipe.method.search_space}
    for key in ("all", recipe.method.name, recipe.name):
        spans |= (changes or {}).get(key, {})
    return {name: _bind(recipe, name, span) for name, span in spans.items() if span is not None and name not in fixed}


def own_value(recipe: Recipe, setting: str) -> Any:
    """What `setting` is in `recipe`; the method's learning rate where the recipe gives none. Raises SettingError."""
    table, _, name = setting.partition(".")
    where = getattr(recipe, table) if table in _TABLES else None
    allowed = [] if where is None else [field.name for field in dataclasses.fields(where)]
    allowed = [field for field in allowed if f"{table}.{field}" not in NOT_SEARCHED]
    if name not in allowed:
        names = [f"{table}.{field}" for field in allowed] or [f"{table}.SETTING" for table in _TABLES]
        raise SettingError(f"a sweep of {recipe.name} cannot change {setting!r}; {suggest(setting, names)}")
    value = getattr(where, name)
    return recipe.method.learning_rate if setting == RATE and value is None else value


def with_settings(recipe: Recipe, values: Mapping[str, Value]) -> Recipe:
    """The recipe with `values`, by name of the setting, in the place of its own. Raises SettingError."""
    changed: dict[str, dict[str, Value]] = {}
    for setting, value in values.items():
        table, _, name = setting.partition(".")
        changed.setdefault(table, {})[name] = value
    return replace(recipe, **{table: replace(getattr(recipe, table), **own) for table, own in changed.items()})


def read_space(path: Path) -> Changes:
    """Changes to the table of this module from a TOML file, by "all", method or recipe, then by table and setting.

        [all.optimisation]
        learning_rate = { around = 30 }
        [lora.method]
        rank = { choices = [2, 4] }
        dropout = { low = 0.0, high = 0.3 }
        targets = false                       # stays as it is

    Raises SettingError, one line with file, table and setting.
    """
    try:
        tables = toml_value(path)
    except FileNotFoundError:
        raise SettingError(
            f"{path}: no such file; give --space a TOML file with tables such as [lora.method]"
        ) from None
    except (OSError, ValueError) as error:
        raise SettingError(f"{path} is no readable TOML: {error}") from None
    changes: dict[str, dict[str, Span | None]] = {}
    for variant, parts in tables.items():
        require(isinstance(parts, Mapping), f"{path}: {variant} must be a table, written [{variant}.method]")
        for table, settings in parts.items():
            require(
                isinstance(settings, Mapping),
                f"{path}: {table} of {variant} must be a table, written [{variant}.{table}]",
            )
            for name, span in settings.items():
                where = f"{name} in [{variant}.{table}] of {path}"
                changes.setdefault(variant, {})[f"{table}.{name}"] = _span(span, where)
    return changes


def check_changes(changes: Changes, recipes: Collection[Recipe]) -> None:
    """Raise SettingError when a key of `changes` means neither all, a method, nor one of the recipes."""
    known = {"all", *method_names(), *(recipe.name for recipe in recipes)}
    for key in changes:
        require(key in known, f"the space has a part {key!r} that no method is called; {suggest(key, known)}")


def space_table(space: Space) -> dict[str, Any]:
    """The space as plain values, for a file; equal spaces give equal tables."""
    return {
        name: {"choices": list(span.values)} if isinstance(span, Choice) else dataclasses.asdict(span)
        for name, span in space.items()
    }


def stored_space(table: Mapping[str, Any]) -> Space:
    """The space of `space_table`. Raises SettingError."""
    return {
        name: Choice(tuple(span["choices"])) if "choices" in span else Range(span["low"], span["high"], span["log"])
        for name, span in table.items()
    }


def _bind(recipe: Recipe, setting: str, span: Span) -> Range | Choice:
    """The span with the recipe's own value in it, every end and choice allowed."""
    own = own_value(recipe, setting)
    what = f"{setting} of {recipe.name}"
    if isinstance(span, Choice):
        if not any(_same(own, value) for value in span.values):
            span = Choice((own, *span.values))
        ends = span.values
    else:
        require(_number(own), f"{what} is {own!r}, no number to search around; give choices = [...]")
        if isinstance(span, Around):
            require(own > 0, f"{what} is {own}; around needs one above 0, give low and high")
            span = Range(own / span.factor, own * span.factor, log=True)
        require(span.low <= own <= span.high, f"{what} is {own}, outside of {span.low} to {span.high}; widen them")
        whole = not isinstance(own, int) or (float(span.low).is_integer() and float(span.high).is_integer())
        require(whole, f"{what} is a whole number; low {span.low} and high {span.high} must be such too")
        kind = int if isinstance(own, int) else float
        span = Range(kind(span.low), kind(span.high), span.log)
        ends = (span.low, span.high)
    for value in ends:
        with_settings(recipe, {setting: value})
    return span


def _span(value: Any, where: str) -> Span | None:
    if value is False:
        return None
    keys = set(value) if isinstance(value, Mapping) else set()
    try:
        if keys == {"around"}:
            return Around(value["around"])
        if keys == {"choices"} and isinstance(value["choices"], list):
            return Choice(tuple(value["choices"]))
        if {"low", "high"} <= keys <= {"low", "high", "log"}:
            return Range(**value)
    except SettingError as error:
        raise SettingError(f"{where}: {error}") from None
    raise SettingError(
        f"{where} is {value!r}; allowed: {{ choices = [...] }}, {{ low = , high = , log = true }}, {{ around = 10 }}, "
        "or false to leave it as it is"
    )


def _same(own: Any, value: Any) -> bool:
    """Equal, but true is not 1."""
    return own == value and isinstance(own, bool) == isinstance(value, bool)
