"""Plain values of files against type hints."""

import math
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from ecgtune.errors import RunError
from ecgtune.utils.schema import Count, check_schema


class Inner(TypedDict):
    value: float | None


class Table(TypedDict):
    name: str
    seed: Count
    kind: Literal["a", "b"]
    scores: dict[str, Inner]
    leads: list[str]
    share: NotRequired[Annotated[float, 0, 1]]
    free: NotRequired[Any]


GOOD = {"name": "x", "seed": 3, "kind": "a", "scores": {"auroc": {"value": 0.5}}, "leads": ["II"], "unknown": [1]}


@pytest.mark.parametrize("more", [{}, {"share": 1}, {"free": {"x": math.nan}}, {"scores": {"auroc": {"value": None}}}])
def test_values_that_fit(more):
    check_schema(GOOD | more, Table, "file", RunError)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "the content is 'None'; a table is needed"),
        ([], "the content is a list; a table is needed"),
        ({}, "name is missing"),
        (GOOD | {"name": 3}, "name is '3'; a text is needed"),
        (GOOD | {"seed": math.nan}, "seed is 'nan'; a whole number"),
        (GOOD | {"seed": True}, "seed is 'True'; a whole number"),
        (GOOD | {"seed": -1}, "seed is '-1'; 0 to 9.0072e"),
        (GOOD | {"kind": "c"}, "kind is 'c'; 'a' or 'b' is needed"),
        (GOOD | {"scores": {"auroc": {"value": math.inf}}}, r"scores\.auroc\.value is 'inf'; a finite number"),
        (GOOD | {"scores": {"auroc": {}}}, r"scores\.auroc\.value is missing"),
        (GOOD | {"leads": "II"}, "leads is 'II'; a list is needed"),
        (GOOD | {"leads": ["II", 3]}, r"leads\[1\] is '3'; a text"),
        (GOOD | {"share": 1.5}, "share is '1.5'; 0 to 1 is needed"),
    ],
)
def test_values_that_do_not_are_named_with_their_place(value, message):
    with pytest.raises(RunError, match=f"^file: {message}"):
        check_schema(value, Table, "file", RunError)
