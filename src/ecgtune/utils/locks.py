"""Folders that one process writes at a time."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ecgtune.errors import RunError
from ecgtune.utils.files import is_partial, remove_partial, unwritable, write_json
from ecgtune.utils.formatting import duration

LOCK, OWNER = ".lock", ".owner.json"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

logger = logging.getLogger(__name__)


@contextmanager
def exclusive(folder: Path, command: str) -> Iterator[None]:
    """Create `folder` and keep other processes out of it; folders that are still empty at the end are removed.

    command: shown to a process that finds the folder in use. The lock is the operating system's, so it ends with this
    process, even a killed one. Raises RunError when another process holds it, with process, host and age, and for a
    folder that cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; choose another folder with --out")
    created = [each for each in (folder, *folder.parents) if not each.exists()]
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise RunError(f"{folder} is in use by {_owner(folder)}; wait for it, or choose another folder") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise unwritable(folder, error) from None
            logger.warning("%s: its file system has no locks; start no second process in this folder", folder)
        try:
            remove_partial(folder)
            write_json(folder / OWNER, _this_process(command))
            yield
        finally:
            for name in (OWNER, LOCK):
                with suppress(OSError):
                    (folder / name).unlink()
            lock.release()
    finally:
        for each in created:
            with suppress(OSError):  # not empty
                each.rmdir()


def is_empty(folder: Path, *apart: str) -> bool:
    """Whether a folder holds nothing, apart from files of `exclusive`, `apart`, and those not written to the end."""
    return all(path.name in (LOCK, OWNER, *apart) or is_partial(path) for path in folder.iterdir())


def _this_process(command: str) -> dict[str, object]:
    return {"process": os.getpid(), "host": socket.gethostname(), "started": time.time(), "command": command}


def _owner(folder: Path) -> str:
    """The process that holds the lock: its number, host, age and command."""
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        age = duration(max(0.0, time.time() - owner["started"]))
        return f"process {owner['process']} on {owner['host']}, started {age} ago ({owner['command']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has just started
        return "another process"
