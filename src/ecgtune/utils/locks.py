"""Folders that one process writes at a time, and files that appear in them together."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from ecgtune.errors import EcgtuneError, RunError
from ecgtune.utils.files import (
    is_partial,
    json_value,
    remove_partial,
    remove_temporary,
    temporary_folder,
    unwritable,
    write_json,
)
from ecgtune.utils.formatting import duration

LOCK, OWNER = ".lock", ".owner.json"
#: File by which the folder of a result is known -> what it holds. Two results in one folder would share files.
RESULTS = {
    "recipe.toml": "a run",
    "results.json": "a comparison",
    "rounds.json": "a cross-validation",
    "sweep.json": "a sweep",
    "external.json": "an evaluation",
    "stress.json": "a stress test",
    "fingerprint.json": "an auto",
}
_INTERVAL, _SHORT = 0.2, 0.5  # seconds between two tries, and of a wait that nobody has to know about
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

logger = logging.getLogger(__name__)


@contextmanager
def exclusive(
    folder: Path,
    command: str,
    *,
    result: str | None = None,
    wait: bool = False,
    refusal: Callable[[Path, OSError], EcgtuneError] = unwritable,
) -> Iterator[None]:
    """Create `folder` and keep other processes out of it; folders that are still empty at the end are removed.

    command: shown to a process that finds the folder in use. result: what `check_result` takes. wait: until another
    process has left it, which is logged. refusal: the error for a folder that cannot be written. The lock is the
    operating system's, so it ends with its process, even a killed one, and the next process takes the folder over.
    Raises RunError when another process holds it and `wait` is False, with process, host and age, and for a folder that
    holds another kind of result.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; choose another folder with --out")
    created = [each for each in (folder, *folder.parents) if not each.exists()]
    lock = None
    try:
        try:
            lock = _acquired(folder, wait)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise refusal(folder, error) from None
            logger.warning("%s: its file system has no locks; start no second process in this folder", folder)
        try:
            check_result(folder, result)
            remove_partial(folder)
            remove_temporary()
            write_json(folder / OWNER, _this_process(command))
            yield
        finally:
            for name in (OWNER, LOCK):
                with suppress(OSError):
                    (folder / name).unlink()
            if lock is not None:
                lock.release()
    finally:
        for each in created:
            with suppress(OSError):  # not empty
                each.rmdir()


def write_together(folder: Path, write: Callable[[Path], object], last: str) -> None:
    """Call `write(temporary folder)`, then move its files into `folder`, that named `last` at the end.

    A failure of `write`, such as a full disk, leaves the files of `folder` as they were; a process that ends amid the
    moves leaves no `last`. Raises RunError when the files cannot be written.
    """
    try:
        with temporary_folder(folder) as partial:
            write(partial)
            (folder / last).unlink(missing_ok=True)
            for name in sorted(os.listdir(partial), key=lambda name: (name == last, name)):
                os.replace(partial / name, folder / name)
    except OSError as error:
        raise unwritable(folder, error) from None


@contextmanager
def one_writer(path: Path, command: str) -> Iterator[None]:
    """Keep other processes from writing `path`, and files that belong to it, in the body; they wait."""
    beside = path.with_name(f".{path.name}{LOCK}")
    try:
        with exclusive(beside, command, wait=True, refusal=lambda _, error: unwritable(path, error)):
            yield
    finally:
        with suppress(OSError):  # another process has it now
            beside.rmdir()


def _acquired(folder: Path, wait: bool) -> BaseFileLock:
    """The lock of a folder, which is created; while another process holds it, ask again."""
    since, reported = time.monotonic(), False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)  # opened anew: the last owner removes the file
        try:
            lock.acquire()
            if (folder / LOCK).exists():
                return lock
            lock.release()  # of a file that its last owner has just removed
        except FileNotFoundError:  # the last owner has just removed the folder
            continue
        except Timeout:
            busy = f"{folder} is in use by {_owner(folder)}"
            if not wait:
                raise RunError(f"{busy}; wait for it with --wait") from None
            if not reported and time.monotonic() - since > _SHORT:
                logger.info("%s; waiting for it", busy)
                reported = True
            time.sleep(_INTERVAL)


def check_result(folder: Path, own: str | None) -> None:
    """Raise RunError for a folder with a result of another kind than that of the file `own`; None allows all."""
    found = [what for name, what in RESULTS.items() if name != own and (folder / name).is_file()]
    if own is not None and found:
        raise RunError(f"{folder} holds {found[0]}; choose another folder with --out")


def is_empty(folder: Path, *apart: str) -> bool:
    """Whether a folder holds nothing, apart from files of `exclusive`, `apart`, and those not written to the end."""
    return all(path.name in (LOCK, OWNER, *apart) or is_partial(path) for path in folder.iterdir())


def _this_process(command: str) -> dict[str, object]:
    return {"process": os.getpid(), "host": socket.gethostname(), "started": time.time(), "command": command}


def _owner(folder: Path) -> str:
    """The process that holds the lock: its number, host, age and command."""
    try:
        owner = json_value(folder / OWNER)
        age = duration(max(0.0, time.time() - owner["started"]))
        return f"process {owner['process']} on {owner['host']}, started {age} ago ({owner['command']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has just started
        return "another process"
