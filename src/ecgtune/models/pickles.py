"""Interpret a pickle as data: nothing that it names is imported or called, and memory follows from its size.

A pickle is a program for a stack machine. The interpreter here builds numbers, texts, lists, tuples and dictionaries.
Named functions and classes are texts, and what the program makes with them is chosen by the hooks of a subclass.
"""

from __future__ import annotations

import io
import pickletools
import sys
from collections.abc import Callable, Iterable
from typing import Any

MOST_BYTES = 32 << 20  # of one pickle; that of the published ECG-FM has below 1 MB
#: Instructions of a file, each of which makes one value at most, and values that its calls read or copy; also the
#: values that a walk through the result meets. The published ECG-FM has 50,000 instructions.
MOST_VALUES = 500_000
MOST_NUMBER_KEYS = 10_000  # of a file; an optimizer has one for each parameter
LONGEST_NAME = 1000  # letters of a name or key; equal ones are compared letter by letter
DEEPEST = 100  # levels of containers in containers
_LARGEST_INTEGER = 128  # bits; longer ones belong to random states, and take long to print
_CONTAINERS = (list, tuple, dict)
_NOTHING = object()  # under a number that no value has


class PickleError(ValueError):
    """A pickle that is damaged, too large, or that asks for more than data."""


class Inert:
    """Stands for an object of a pickle that is neither a container nor a plain value; takes what is done to it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "an object that is not read"


class Named(str):
    """The dotted name of a function or class, of which only the name is known."""


class Interpreter:
    """Interpreter of one pickle after the other in `data`. A subclass overrides the three hooks."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self._left, self._number_keys_left = MOST_VALUES, MOST_NUMBER_KEYS

    @property
    def position(self) -> int:
        """Bytes that were read so far."""
        return self._file.tell()

    def check_name(self, name: str) -> None:
        """Raise an error for a function or class that no data need."""

    def call(self, name: str, arguments: tuple) -> Any:
        """Return the value of a call, without calling anything."""
        return Inert()

    def stored(self, identifier: Any) -> Any:
        """Return the value that lies outside of the pickle."""
        return Inert()

    def run(self) -> Any:
        """Return the value of the next pickle. Raises PickleError, or any exception for a damaged one."""
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: list[Any] = []
        while code := self._file.read(1):
            self.count(1)
            if code == b".":
                value = self._stack.pop()
                _check_extent(value, {})
                return value
            if code not in _TABLE:
                raise PickleError(f"instruction {code!r}")
            action, reader = _TABLE[code]
            action(self, None if reader is None else reader(self._file))
        raise PickleError("no end")

    def count(self, values: int) -> None:
        """Count values that are made, copied or looked at, so that a small file cannot have much of that done."""
        self._left -= values
        if self._left < 0:
            raise PickleError(f"over {MOST_VALUES} instructions and values that calls copy")

    def fill(self, target: Any, entries: Iterable[tuple[Any, Any]]) -> None:
        """Set entries of a dictionary; nothing else has any."""
        if isinstance(target, dict):
            for key, value in entries:
                target[self._key(key)] = value

    def _key(self, key: Any) -> Any:
        """Return a key if it is plain and quick to hash and compare. Any other is never looked up, and stays unread.

        Hashes of numbers are no secret, so that chosen ones can all collide: they are few, and have different hashes.
        """
        if isinstance(key, (str, bytes)):
            return key if len(key) <= LONGEST_NAME else Inert()
        if isinstance(key, (int, float)):
            self._number_keys_left -= 1
            if self._number_keys_left < 0:
                raise PickleError(f"over {MOST_NUMBER_KEYS} numbers as keys")
            return key if abs(key) < sys.hash_info.modulus else Inert()
        return key if key is None else Inert()

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _to_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._marked.pop()
        return values

    def _name(self, module: object, name: object) -> Named:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("a name that is no text")
        if len(module) + len(name) > LONGEST_NAME:
            raise PickleError(f"a name of {len(module) + len(name)} letters")
        full = f"{module.replace('__builtin__', 'builtins')}.{name}"
        self.check_name(full)
        return Named(full)

    def _made_by(self, function: object, arguments: object) -> Any:
        if isinstance(function, Named) and isinstance(arguments, tuple):
            self.count(len(arguments))
            return self.call(function, arguments)
        return Inert()


# One function for each instruction that is more than a value; `argument` is that of the instruction.


def _mark(machine: Interpreter, argument: Any) -> None:
    machine._marked.append(machine._stack)
    machine._stack = []


def _integer(machine: Interpreter, argument: Any) -> None:
    machine._push(argument if argument.bit_length() <= _LARGEST_INTEGER else Inert())


def _value(machine: Interpreter, argument: Any) -> None:
    machine._push(argument)


def _made(make: Callable[[], Any]) -> Callable[[Interpreter, Any], None]:
    return lambda machine, argument: machine._push(make())


def _tuple(count: int | None) -> Callable[[Interpreter, Any], None]:
    def make(machine: Interpreter, argument: Any) -> None:
        values = machine._to_mark() if count is None else [machine._stack.pop() for _ in range(count)][::-1]
        machine._push(tuple(values))

    return make


def _list(machine: Interpreter, argument: Any) -> None:
    machine._push(machine._to_mark())


def _dict(machine: Interpreter, argument: Any) -> None:
    values = machine._to_mark()
    machine._push({})
    machine.fill(machine._stack[-1], _pairs(values))


def _append(machine: Interpreter, argument: Any) -> None:
    _extend(machine, [machine._stack.pop()])


def _appends(machine: Interpreter, argument: Any) -> None:
    _extend(machine, machine._to_mark())


def _extend(machine: Interpreter, values: list[Any]) -> None:
    if isinstance(machine._stack[-1], list):
        machine._stack[-1].extend(values)


def _setitem(machine: Interpreter, argument: Any) -> None:
    value, key = machine._stack.pop(), machine._stack.pop()
    machine.fill(machine._stack[-1], [(key, value)])


def _setitems(machine: Interpreter, argument: Any) -> None:
    values = machine._to_mark()
    machine.fill(machine._stack[-1], _pairs(values))


def _pairs(values: list[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(values[::2], values[1::2], strict=True)


def _put(machine: Interpreter, argument: Any) -> None:
    """Remember a value, in a list, as the hashes of its number could collide. Writers count from 0 or 1."""
    if not 0 <= argument < MOST_VALUES:
        raise PickleError("a number of a value that is beyond those of its instructions")
    machine._memo.extend([_NOTHING] * (argument + 1 - len(machine._memo)))
    machine._memo[argument] = machine._stack[-1]


def _memoize(machine: Interpreter, argument: Any) -> None:
    machine._memo.append(machine._stack[-1])


def _get(machine: Interpreter, argument: Any) -> None:
    if not 0 <= argument < len(machine._memo) or machine._memo[argument] is _NOTHING:
        raise PickleError("a number that no value has")
    machine._push(machine._memo[argument])


def _global(machine: Interpreter, argument: Any) -> None:
    machine._push(machine._name(*argument.split(" ", 1)))


def _stack_global(machine: Interpreter, argument: Any) -> None:
    name, module = machine._stack.pop(), machine._stack.pop()
    machine._push(machine._name(module, name))


def _reduce(machine: Interpreter, argument: Any) -> None:
    arguments, function = machine._stack.pop(), machine._stack.pop()
    machine._push(machine._made_by(function, arguments))


def _newobj_ex(machine: Interpreter, argument: Any) -> None:
    machine._stack.pop()  # named arguments
    _reduce(machine, argument)


def _inst(machine: Interpreter, argument: Any) -> None:
    name, arguments = machine._name(*argument.split(" ", 1)), machine._to_mark()
    machine._push(machine._made_by(name, tuple(arguments)))


def _obj(machine: Interpreter, argument: Any) -> None:
    function, *arguments = machine._to_mark()
    machine._push(machine._made_by(function, tuple(arguments)))


def _persid(machine: Interpreter, argument: Any) -> None:
    machine._push(machine.stored(argument if argument is not None else machine._stack.pop()))


_ACTIONS: dict[str, Callable[[Interpreter, Any], object]] = {
    **dict.fromkeys(("BINFLOAT", "FLOAT", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _value),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _value),
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, argument: None),
    **dict.fromkeys(("EMPTY_SET", "BYTEARRAY8"), _made(Inert)),
    "NONE": _made(lambda: None),
    "NEWTRUE": _made(lambda: True),
    "NEWFALSE": _made(lambda: False),
    "EMPTY_TUPLE": _made(tuple),
    "EMPTY_LIST": _made(list),
    "EMPTY_DICT": _made(dict),
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"), _integer),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _reduce),
    **dict.fromkeys(("PERSID", "BINPERSID"), _persid),
    **{f"TUPLE{count}": _tuple(count) for count in (1, 2, 3)},
    "TUPLE": _tuple(None),
    "MARK": _mark,
    "LIST": _list,
    "DICT": _dict,
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _setitem,
    "SETITEMS": _setitems,
    "MEMOIZE": _memoize,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "NEWOBJ_EX": _newobj_ex,
    "INST": _inst,
    "OBJ": _obj,
    "BUILD": lambda machine, argument: machine._stack.pop(),
    "POP": lambda machine, argument: machine._stack.pop(),
    "POP_MARK": lambda machine, argument: machine._to_mark(),
    "DUP": lambda machine, argument: machine._push(machine._stack[-1]),
    "ADDITEMS": lambda machine, argument: machine._to_mark(),
    "FROZENSET": lambda machine, argument: (machine._to_mark(), machine._push(Inert())),
}
_TABLE = {
    each.code.encode("latin-1"): (_ACTIONS[each.name], None if each.arg is None else each.arg.reader)
    for each in pickletools.opcodes
    if each.name in _ACTIONS
}


def _check_extent(value: Any, known: dict[int, tuple[int, int]], level: int = 0) -> tuple[int, int]:
    """Return how many values a walk from a value meets, and through how many levels of containers it goes.

    A container in several others is met in each. Raises PickleError for what breaks a walk: over `MOST_VALUES` or
    `DEEPEST`. known: results of containers by their `id`. level: at which the value is.
    """
    if not isinstance(value, _CONTAINERS):
        return 1, 0
    found = known.get(id(value))
    if found is None and level < DEEPEST:
        parts = value.values() if isinstance(value, dict) else value
        below = [_check_extent(part, known, level + 1) for part in parts]
        found = 1 + sum(values for values, _ in below), 1 + max((levels for _, levels in below), default=0)
        known[id(value)] = found
    if found is None or level + found[1] > DEEPEST:
        raise PickleError(f"containers that are nested more than {DEEPEST} levels deep, or contain themselves")
    if found[0] > MOST_VALUES:
        raise PickleError(f"over {MOST_VALUES} values, where one in several containers counts in each")
    return found
