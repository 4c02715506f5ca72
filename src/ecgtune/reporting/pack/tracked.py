"""Values of result files that keep their place, so that text made of them links each number to its source.

A tracked number formats itself with marks around its text. The marks survive f-strings, templates and the functions of
`formatting` and `wording`; a `Ledger` replaces them by links when a document is complete.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Private-use characters: text of files never keeps them (`Ledger.track`).
_BEGIN, _MIDDLE, _END = "\ue000", "\ue001", "\ue002"
_MARK = re.compile(f"{_BEGIN}([0-9]+){_MIDDLE}([^{_BEGIN}-{_END}]*){_END}")
_FOREIGN = re.compile(f"[{_BEGIN}-{_END}]")


@dataclass(frozen=True)
class Place:
    """Where a value was read: a file of the pack and a JSON pointer (RFC 6901); in TOML, the same path of keys."""

    file: str
    pointer: str

    def __str__(self) -> str:
        return f"{self.file}#{self.pointer}"

    def child(self, key: object) -> Place:
        """Return the place of an entry."""
        return Place(self.file, f"{self.pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")


@dataclass(frozen=True)
class Shown:
    """A value in a document: its text, its place, and by which factor it was multiplied (100 of a percentage).

    value: as it was read; of a length the list.
    """

    text: str
    place: Place
    factor: float
    value: Any


class Ledger:
    """All values that documents show, in the order in which they were formatted."""

    def __init__(self) -> None:
        self._shown: list[Shown] = []

    def track(self, value: Any, place: Place) -> Any:
        """Return `value` with tracked numbers, texts and lists inside; booleans and None stay."""
        if isinstance(value, dict):
            return {key: self.track(part, place.child(key)) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return TrackedList((self.track(part, place.child(n)) for n, part in enumerate(value)), self, place)
        if isinstance(value, str):
            return TrackedText(_FOREIGN.sub(lambda found: f"\\u{ord(found[0]):04x}", value), self, place)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _number(value, self, place, 1.0, value)
        return value

    def mark(self, shown: Shown) -> str:
        """Return the text of a value with marks that lead to its entry."""
        self._shown.append(shown)
        return f"{_BEGIN}{len(self._shown) - 1}{_MIDDLE}{shown.text}{_END}"

    def resolve(self, text: str, link: Callable[[Shown, str], str]) -> str:
        """Replace each mark by `link(entry, text)`; the text is that in the document, where it may be escaped."""
        return _MARK.sub(lambda found: link(self._shown[int(found[1])], found[2]), text)

    def in_text(self, text: str) -> list[Shown]:
        """Return the values that a text shows."""
        return [self._shown[int(found[1])] for found in _MARK.finditer(text)]


def plain(text: str) -> str:
    """Return text without marks."""
    return _MARK.sub(lambda found: found[2], text)


class _Tracked:
    ledger: Ledger
    place: Place
    factor: float
    read: Any

    def _marked(self, text: str) -> str:
        return self.ledger.mark(Shown(text, self.place, self.factor, self.read))


class _Number(_Tracked):
    """Format with marks, and keep the place through multiplication and division; of two places the first stays."""

    def __format__(self, spec: str) -> str:
        return self._marked(format(_plain_number(self), spec))

    def __str__(self) -> str:
        return self._marked(str(_plain_number(self)))

    __repr__ = __str__

    def __mul__(self, other: Any) -> Any:
        other = _plain_number(other)
        return _number(_plain_number(self) * other, self.ledger, self.place, *self._scaled(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        other = _plain_number(other)
        return _number(_plain_number(self) / other, self.ledger, self.place, *self._scaled(1 / other))

    def _scaled(self, factor: float) -> tuple[float, Any]:
        return self.factor * factor, self.read


class TrackedInt(_Number, int):
    """A whole number with its place."""


class TrackedFloat(_Number, float):
    """A number with its place."""


class TrackedText(_Tracked, str):
    """A text with its place; `marked` has the marks, so do f-strings. Changed texts have no place."""

    def __new__(cls, value: str, ledger: Ledger, place: Place) -> TrackedText:
        made = super().__new__(cls, value)
        made.ledger, made.place, made.factor, made.read = ledger, place, 1.0, value
        return made

    def marked(self, change: Callable[[str], str] = str.__str__) -> str:
        """Return the text, changed by an escape, with marks."""
        return self._marked(change(str.__str__(self)))

    def __format__(self, spec: str) -> str:
        return self._marked(format(str.__str__(self), spec))


class TrackedList(list[Any]):
    """A list with its place; `length` is a tracked number."""

    def __init__(self, items: Any, ledger: Ledger, place: Place) -> None:
        super().__init__(items)
        self.ledger, self.place = ledger, place

    @property
    def length(self) -> Any:
        """The number of entries, whose place is that of the list."""
        return _number(len(self), self.ledger, self.place, 1.0, list(self))


def _plain_number(value: Any) -> Any:
    return int(value) if isinstance(value, int) else float(value)


def _number(value: Any, ledger: Ledger, place: Place, factor: float, read: Any) -> Any:
    made = TrackedInt(value) if isinstance(value, int) else TrackedFloat(value)
    made.ledger, made.place, made.factor, made.read = ledger, place, factor, read
    return made


def follow(content: Any, pointer: str) -> Any:
    """Return the value at a JSON pointer. Raises KeyError, IndexError or ValueError where there is none."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        content = content[int(key)] if isinstance(content, list) else content[key]
    return content
