"""Small files that ecgtune wrote and reads again: bounded, held against a schema, and refused with the way out.

Somebody may have edited them, or a disk may have damaged them. Each refusal is one line with the file, the entry and
`remedy`, an imperative.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ecgtune.errors import EcgtuneError, RunError
from ecgtune.text import reason_of
from ecgtune.utils.archives import checked_zip
from ecgtune.utils.csv_cells import read_csv
from ecgtune.utils.files import json_lines, json_value, small_bytes, small_text, toml_value
from ecgtune.utils.schema import check_schema

#: Remedies. A file that the command which wrote it makes again; a result that only its command in another place makes.
REMOVE = "remove it and rerun the command, which makes it again"
ELSEWHERE = "rerun the command that wrote it with another --out"
MOST_PACKED_BYTES = 1 << 28
T = TypeVar("T")


def read_json(path: Path, schema: Any, remedy: str = ELSEWHERE, error: type[EcgtuneError] = RunError) -> Any:
    """Return the JSON value of a file that fits `schema` (as of `check_schema`). Raises `error`, one line."""
    try:
        value = json_value(path)
    except (OSError, ValueError) as problem:
        raise unreadable(path, problem, remedy, error) from None
    check_schema(value, schema, str(path), error, remedy)
    return value


def is_there(path: Path) -> bool:
    """Whether something has this name: a file, or what the readers refuse, such as a pipe or a link to nothing."""
    return os.path.lexists(path)


def read_json_lines(path: Path, schema: Any, most: int, remedy: str = ELSEWHERE) -> list[Any]:
    """Return the JSON value of each of at most `most` lines; their list fits `schema`. Raises RunError, one line."""
    try:
        rows = json_lines(path, most)
    except (OSError, ValueError) as problem:
        raise unreadable(path, problem, remedy) from None
    check_schema(rows, schema, str(path), RunError, remedy)
    return rows


def read_toml(path: Path, remedy: str = ELSEWHERE) -> dict[str, Any]:
    """Return the tables of a TOML file. Their values are checked by the classes of settings. Raises RunError."""
    try:
        return toml_value(path)
    except (OSError, ValueError) as problem:
        raise unreadable(path, problem, remedy) from None


def read_text(path: Path, remedy: str = ELSEWHERE) -> str:
    """Return the text of a small file. Raises RunError."""
    try:
        return small_text(path)
    except (OSError, ValueError) as problem:
        raise unreadable(path, problem, remedy) from None


def read_rows(path: Path, parse: Callable[[dict[str, str]], T], remedy: str = ELSEWHERE) -> list[T]:
    """Return `parse(row)` of each row of a CSV file of `csv_text`.

    Raises RunError, one line with the number of that in the file, also where `parse` raises KeyError or ValueError.
    """
    try:
        rows = read_csv(path)
    except (OSError, ValueError) as problem:
        raise unreadable(path, problem, remedy) from None
    found = []
    for number, row in enumerate(rows, 2):
        try:
            found.append(parse(row))
        except KeyError as problem:
            raise RunError(f"{path} has no column {problem}; {remedy}") from None
        except ValueError as problem:
            raise RunError(f"{path}, line {number}: {reason_of(problem)}; {remedy}") from None
    return found


def read_packed(
    path: Path, unpack: Callable[[bytes], T], remedy: str = ELSEWHERE, error: type[EcgtuneError] = RunError
) -> T:
    """Return `unpack(content)` of an NPZ file, in bounded memory. Raises `error`, one line, also for its errors."""
    try:
        return unpack(checked_zip(small_bytes(path, MOST_PACKED_BYTES)))
    except Exception as problem:  # numpy and zipfile fail in many ways on damaged files
        raise unreadable(path, problem, remedy, error) from None


def fraction(text: str) -> float:
    """Return a number from 0 to 1 of a cell. Raises ValueError for other text."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(f"{text} is outside 0 to 1")
    return value


def unreadable(path: Path, problem: Exception, remedy: str, error: type[EcgtuneError] = RunError) -> EcgtuneError:
    """Return the error for a file whose content cannot be read at all."""
    if isinstance(problem, FileNotFoundError):
        return error(f"{path} is missing; {remedy}")
    reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else reason_of(problem)
    return error(f"{path} cannot be read ({reason}); {remedy}")
