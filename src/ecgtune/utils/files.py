"""Atomic files and folders: readers see the old or the new content, even if the writing process is killed."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import math
import os
import re
import shutil
import socket
import stat
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from ecgtune.errors import DataError, EcgtuneError, RunError
from ecgtune.text import MOST_REASON, UNENCODABLE, printable_json, shortened
from ecgtune.utils.formatting import size

MOST_JSON_BYTES = 16 << 20  # of a file of results; values in memory take up to 30 times as much
_MOST_LEVELS = 64  # of nesting
_MOST_PARTS = 1 << 18  # lists and tables of JSON; an empty one takes 2 characters, and over 100 bytes where it is read
_MOST_TOML = 1 << 18  # characters of settings, which can take up to 700 bytes of memory each
#: Strings and comments of TOML, also those without an end.
_TOML_STRINGS = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+"{0,5}'
    r"|'''(?:[^']++|'(?!''))*+'{0,5}"
    r'|"(?:[^"\\\n]++|\\.)*+"?|\'[^\'\n]*+\'?|#[^\n]*+',
    re.DOTALL,
)
_PARTIAL, _OLD = ".partial", ".old"
_TEMPORARY = f"ecgtune{_PARTIAL}-"
_UNFINISHED = re.compile(rf"\.(?:ecgtune|(.+))\{_PARTIAL}-.*")  # the name that it gets; none of a temporary folder
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class FolderEntry:
    """Attribute of a class with a `path`: the path of a file or folder inside it, at the relative path `name`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: Any, owner: object = None) -> Path:
        return folder.path / self._name


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary path)`, then rename to `path`. Raises RunError when it cannot be written.

    The content is on the disk before the name is, so that not even a power cut leaves a file without its content.
    """
    partial = path.with_name(f".{path.name}{_PARTIAL}-{_process()}")
    try:
        with _write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(path.parent, f".{path.name}{_PARTIAL}-")
            write(partial)
            _on_disk(partial)
            os.replace(partial, path)
            _on_disk(path.parent)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def temporary_folder(place: Path | None = None) -> Iterator[Path]:
    """Yield a new folder that only this user may read; it is removed at the end, and after a kill by the next command.

    place: the folder in which it is made, hidden; None for the system's folder of temporary files.
    """
    remove_temporary(place)
    stem = f"{_TEMPORARY if place is None else f'.{_TEMPORARY}'}{_process()}-"
    folder = Path(tempfile.mkdtemp(prefix=stem, dir=place))
    try:
        yield folder
    finally:
        _remove(folder)


def remove_temporary(place: Path | None = None) -> None:
    """Remove the folders of `temporary_folder` whose processes on this machine are gone."""
    if place is None:
        _remove_abandoned(Path(tempfile.gettempdir()), _TEMPORARY)
    else:
        _remove_abandoned(place, f".{_TEMPORARY}")


def _process() -> str:
    """The machine and number of this process, for the name of a file or folder that no other one writes."""
    return f"{socket.gethostname()}-{os.getpid()}"


def _remove_abandoned(folder: Path, stem: str) -> None:
    """Remove the files and folders `stem` and a process of this machine that is gone."""
    stem = f"{stem}{socket.gethostname()}-"
    for left in folder.glob(f"{glob.escape(stem)}*"):
        import psutil

        number = left.name.removeprefix(stem).partition("-")[0]
        if re.fullmatch(r"[0-9]{1,9}", number) and not psutil.pid_exists(int(number)):
            _remove(left)


def _remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, as far as possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def is_partial(path: Path) -> bool:
    """Whether a path is the temporary one of a file or folder that was not written to its end."""
    return path.name.startswith(".") and _PARTIAL in path.name


def remove_partial(folder: Path) -> None:
    """Remove what killed processes left unfinished in a folder, to which no other process writes now."""
    for path in folder.glob(f".*{_PARTIAL}-*"):
        _remove(path)


def _on_disk(path: Path) -> None:
    """Wait until a file or folder is on the disk; some file systems cannot say so of a folder."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():  # Windows opens no folder
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Turn the error of a file or folder that cannot be written into a RunError, also where a library hides it."""
    try:
        yield
    except EcgtuneError:
        raise
    except Exception as error:
        reason = system_error(error)
        if reason is None:
            raise
        raise unwritable(path, reason) from None


def system_error(error: BaseException | None) -> OSError | None:
    """The operating system's error behind that of a library; None for one of another kind."""
    while error is not None:
        number = re.search(r"(?:os error|Os \{ code:|\[Errno) (\d+)", str(error))  # safetensors, shutil.copytree
        if isinstance(error, OSError) and not isinstance(error, shutil.Error):
            return error
        if number:
            return OSError(int(number[1]), os.strerror(int(number[1])))
        error = error.__cause__ or error.__context__  # torch
    return None


def write_text(path: Path, text: str) -> None:
    """Write `text` atomically, in UTF-8 as `text.utf8` returns it."""
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8", errors=UNENCODABLE))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented, printable JSON, atomically. NaN and infinities become null."""
    write_text(path, printable_json(json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False)) + "\n")


def open_file(path: Path) -> BufferedReader:
    """Open a file for reading. Raises OSError, also for a pipe or device, which may never end, and for odd names."""
    try:
        mode = path.stat().st_mode
    except ValueError:  # a zero byte
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a pipe or a device", str(path))
    return path.open("rb")


def is_special(path: Path) -> bool:
    """Whether a path is a pipe, a socket or a device: neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def refuse_pointer(path: Path, error: type[EcgtuneError] = DataError) -> None:
    """Raise `error` when a file holds no content of its own, only a Git LFS pointer to it."""
    with suppress(OSError), open_file(path) as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise error(f"{path}: is a Git LFS pointer, not the file itself; fetch the file with 'git lfs pull'")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits. Raises DataError when it cannot be read."""
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); is the file complete and readable?") from error


def json_value(path: Path) -> Any:
    """Return the JSON value of a file of at most `MOST_JSON_BYTES`, and as `parsed_json`. Raises OSError or ValueError.

    NaN and infinities are refused: `write_json` never writes them, and they would pass every comparison with a limit.
    """
    return parsed_json(small_text(path))


def json_lines(path: Path, most: int) -> list[Any]:
    """Return the JSON value of each of at most `most` lines, under the limits of `json_value`, and raise as it does."""
    lines = small_text(path).splitlines()
    if len(lines) > most:
        raise ValueError(f"over {most} lines")
    return [parsed_json(line) for line in lines if line.strip()]


def small_bytes(path: Path, most: int) -> bytes:
    """Return the content of a file of at most `most` bytes. Raises OSError or ValueError."""
    with open_file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"over {most} bytes")
    return content


def small_text(path: Path) -> str:
    """Return the text of a file of at most `MOST_JSON_BYTES`. Raises OSError or ValueError."""
    return small_bytes(path, MOST_JSON_BYTES).decode("utf-8")


def toml_value(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file. Raises OSError, or ValueError for one beyond the limits of `parsed_toml`."""
    return parsed_toml(small_text(path))


def parsed_toml(text: str) -> dict[str, Any]:
    """Return the tables of TOML under the limits of `parsed_json`. Raises ValueError.

    They are checked before the parser runs, which takes up to 1 kB for a level, and keeps each part of a key a.b.c with
    all parts before it.
    """
    if len(text) > _MOST_TOML:
        raise ValueError(f"over {_MOST_TOML} characters")
    outside = _TOML_STRINGS.sub("", text.replace("\r\n", "\n"))
    if any(part.count(".") >= _MOST_LEVELS for part in re.split(r"[][{},=\n]", outside)):
        raise ValueError("nested too deep")
    try:
        value = tomllib.loads(text)
    except (RecursionError, MemoryError):
        raise ValueError("nested too deep, or too large for the memory") from None
    except ValueError as error:  # it may hold a key of any length
        raise ValueError(shortened(str(error), MOST_REASON)) from None
    _check_depth(value)
    return value


def parsed_json(text: str) -> Any:
    """Return a JSON value of at most `_MOST_LEVELS` and `_MOST_PARTS`. Raises ValueError."""
    if text.count("[") + text.count("{") > _MOST_PARTS:  # brackets in texts are few
        raise ValueError(f"over {_MOST_PARTS} lists and tables")

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number")

    def number(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            raise ValueError("a number is beyond those of 64 bits")
        return value

    try:
        value = json.loads(text, parse_constant=refuse, parse_float=number)
    except RecursionError:
        raise ValueError("nested too deep") from None
    _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    """Raise ValueError where a value has over `_MOST_LEVELS`, or a whole number beyond the 64 bits that TOML has."""
    level, depth = [value], 0
    while level:  # what reads the value goes into it by recursion, which has a limit of its own
        depth += 1
        if depth > _MOST_LEVELS:
            raise ValueError("nested too deep")
        if any(isinstance(each, int) and abs(each) >> 63 for each in level):
            raise ValueError("a whole number is beyond 64 bits")
        parts = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list)))
        level = [part for each in parts for part in each]


def replace_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary folder)`, then replace the folder `path` by it; a failure leaves the old one unchanged.

    Of several processes each writes a whole folder, and that of the last one stays. Leftovers of a killed process are
    removed first. Files get the permissions of the user's umask, because safetensors makes them readable for their
    owner only. Raises RunError when the folder cannot be written.
    """
    partial, old = (path.with_name(f".{path.name}{kind}-{_process()}") for kind in (_PARTIAL, _OLD))
    try:
        with _write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _put_back(path)
            for kind in (_PARTIAL, _OLD):
                _remove_abandoned(path.parent, f".{path.name}{kind}-")
            _remove(partial)
            partial.mkdir()
            write(partial)
            for file in (path for path in partial.rglob("*") if path.is_file()):
                file.chmod(file_mode())
                _on_disk(file)
            _exchange(path, partial, old)
            _on_disk(path.parent)
    finally:
        _put_back(path)
        _remove(partial)
        _remove(old)


def _exchange(path: Path, partial: Path, old: Path) -> None:
    """Give `partial` the name `path`, and what had it before the name `old`, also while other processes do the same."""
    while True:
        _remove(old)
        with suppress(FileNotFoundError):
            path.rename(old)
        try:
            partial.rename(path)
            return
        except OSError:
            if not path.exists():  # else another process has just put its own folder there
                raise


def _put_back(path: Path) -> None:
    """Give a folder its name again where a process was killed between the two steps of `_exchange`."""
    for old in [] if path.exists() else path.parent.glob(f"{glob.escape(f'.{path.name}{_OLD}-')}*"):
        with suppress(OSError):
            old.rename(path)


def check_space(folder: Path, needed: int) -> None:
    """Raise RunError unless the disk of `folder`, which need not exist yet, has `needed` bytes free."""
    place = next(each for each in (folder, *Path(os.path.realpath(folder)).parents) if each.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise RunError(
            f"{folder}: its disk has {size(free)} free, but about {size(needed)} are needed; free some space, or"
            " choose another folder with --out"
        )


def unwritable(path: Path, error: OSError) -> RunError:
    """Return the error for a file or folder that cannot be written, with the name that it has at the end."""
    path = Path(*(_UNFINISHED.sub(r"\1", part) for part in path.parts))
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "written" in str(error)  # the last is numpy's
    remedy = "free some space and run it again; what was complete before is kept" if full else "choose another folder"
    return RunError(f"{path} cannot be written ({write_reason(error)}); {remedy}")


def write_reason(error: OSError) -> str:
    """Return why a file could not be written; numpy reports a full disk by how much it wrote."""
    return error.strerror or (f"{os.strerror(errno.ENOSPC)}: {error}" if "written" in str(error) else str(error))


def file_mode() -> int:
    """Return the permissions that the user's umask gives to a new file."""
    current = os.umask(0)  # reading the umask requires setting it
    os.umask(current)
    return 0o666 & ~current


def finite(value: Any) -> Any:
    """Return `value` with every float that is not finite, at any depth, replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return value
