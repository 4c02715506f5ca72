"""Command-line flags made from the settings dataclasses, so that a setting is written down once."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cyclopts import Parameter


def optional(cls: type, name: str, *, recipe: bool = True) -> Any:
    """A dataclass with the fields of `cls`, each None when the user did not give the flag.

    Help texts are the docstrings under the fields of `cls`; the default shown is that of `cls`, where `recipe` says so
    only for recipes that have none of their own.
    """
    hints, texts = get_type_hints(cls), _field_docstrings(cls)
    fields = []
    for field in dataclasses.fields(cls):
        help_text = texts[field.name]
        told = [f"{field.default}"] if field.default is not None else []
        told = ["the recipe's", *told] if recipe else told
        if told:
            help_text += f" [default: {', else '.join(told)}]"
        kind = hints[field.name] if type(None) in get_args(hints[field.name]) else hints[field.name] | None
        # A setting of several values is typed as one flag with all of them behind it.
        many = any(get_origin(part) is tuple for part in get_args(kind)) and str not in get_args(kind)
        flag = Annotated[kind, Parameter(help=help_text, show_default=False, consume_multiple=many)]
        fields.append((field.name, flag, None))
    made = dataclasses.make_dataclass(name, fields, frozen=True)
    made.__module__ = __name__  # cyclopts takes classes of the module `types`, make_dataclass's default, for built-ins
    return Parameter(name="*")(made)


def given(flags: Any) -> dict[str, Any]:
    """The flags that the user gave, by field name."""
    values = {field.name: getattr(flags, field.name) for field in dataclasses.fields(flags)}
    return {name: value for name, value in values.items() if value is not None}


def _field_docstrings(cls: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body  # type: ignore[attr-defined]
    texts = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            texts[field.target.id] = ast.literal_eval(text.value)
    return texts
