"""Match the names in a table with the recordings in a folder."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ecgtune.errors import DataError
from ecgtune.text import plain_number, shown

_MOST_DIGITS = 18  # of a number that stands for a name
_SUFFIX = re.compile(r"\.[A-Za-z]\w{0,5}$")


@dataclass(frozen=True)
class Matched:
    """identifier: of each name's recording, or None. unused: recordings that no name means."""

    identifier: tuple[str | None, ...]
    unused: tuple[str, ...]


def match_recordings(names: Iterable[str], found: Mapping[str, object], what: str, *, several: bool = False) -> Matched:
    """Match each name of a table with a recording; `what` names the table in errors.

    found: paths by id, the path in the folder, without suffix where that is clear. A name may have a suffix, or a
    number the ".0" of data frames, and may begin in another folder than the ids, as long as the components that both
    have are equal from the end: "00001_hr" and "ptb-xl/records500/00000/00001_hr.dat" both mean
    "records500/00000/00001_hr". Raises DataError when a name may mean two recordings or has ".." in its path, or,
    unless `several` is allowed, two names mean one.
    """
    by_tail: dict[str, list[str]] = defaultdict(list)
    for identifier, path in found.items():
        whole = isinstance(path, Path) and path.name == PurePosixPath(identifier).name
        for name in dict.fromkeys((identifier, _SUFFIX.sub("", identifier) if whole else identifier)):
            parts = _parts(_composed(name))
            for first in range(len(parts)):
                by_tail["/".join(parts[first:])].append(identifier)
    matched: list[str | None] = []
    owner: dict[str, str] = {}
    for name in names:
        identifier = _find(name, found, by_tail, what)
        if identifier is not None:
            if identifier in owner and not several:
                raise DataError(
                    f"{what}: {owner[identifier]!r} and {name!r} are the same recording, {identifier}; one row per"
                    " recording is needed"
                )
            owner[identifier] = name
        matched.append(identifier)
    return Matched(tuple(matched), tuple(identifier for identifier in found if identifier not in owner))


def _composed(name: str) -> str:
    """Return letters with their accents as one character each; macOS stores them apart in file names."""
    return unicodedata.normalize("NFC", name)


def _parts(name: str) -> list[str]:
    """Return the components of a path; the class of paths takes five times as long."""
    return [part for part in name.split("/") if part not in ("", ".")]


def match_numbers(names: Iterable[str], found: Iterable[str]) -> dict[str, str]:
    """Match names that are whole numbers, such as "1", with the only id whose last part has it: "a/00001_hr".

    Spreadsheets remove the zeros at the start of a cell.
    """
    by_number: dict[int, list[str]] = defaultdict(list)
    for identifier in found:
        number = re.search(r"\d+", PurePosixPath(identifier).name)
        if number is not None and len(number[0]) <= _MOST_DIGITS:
            by_number[int(number[0])].append(identifier)
    numbers = {name: plain_number(name) for name in names}
    whole = {
        name: int(number) for name, number in numbers.items() if number.isdecimal() and len(number) <= _MOST_DIGITS
    }
    candidates = {name: by_number.get(number, []) for name, number in whole.items()}
    return {name: ids[0] for name, ids in candidates.items() if len(ids) == 1}


def _find(name: str, found: Mapping[str, object], by_tail: Mapping[str, list[str]], what: str) -> str | None:
    plain = _composed(name).replace("\\", "/").removeprefix("./").strip("/")
    if ".." in _parts(plain):
        raise DataError(
            f"{what}: {shown(name)} has '..' in its path; name recordings by their path in the folder of recordings"
        )
    forms = [plain]
    while _SUFFIX.search(forms[-1]):
        forms.append(_SUFFIX.sub("", forms[-1]))
    forms.append(plain_number(plain))
    for form in forms:
        if form in found:
            return form
    for form in forms:
        parts = _parts(form)
        for first in range(len(parts)):
            candidates = by_tail.get("/".join(parts[first:]), [])
            if len(candidates) > 1:
                raise DataError(
                    f"{what}: {name!r} may be {candidates[0]} or {candidates[1]}; write more of its path, or its suffix"
                )
            if candidates:
                return candidates[0]
    return None
