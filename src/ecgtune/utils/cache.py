"""Cache folder: keys, atomic creation of entries, and removal of entries that are outdated or exceed the budget.

An entry is a folder or a file. It is written under a temporary name and renamed when complete, so readers never see an
incomplete entry. Checksums find one that changed since, by another program or a defect of the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import platformdirs

from ecgtune.errors import DataError
from ecgtune.utils.files import open_file, write_reason
from ecgtune.utils.locks import exclusive

STALE_SECONDS = 24 * 3600  # leftovers of a crash are removed after this time
_UNFINISHED, _LOCK, _CHECKSUMS = "unfinished-", ".lock-", "checksums.json"
_PIECE = 1 << 20  # bytes that are read at once
T = TypeVar("T")


def cache_folder() -> Path:
    """Return `$ECGTUNE_CACHE`, else `ecgtune` in the user's cache folder of the platform (XDG on Linux).

    Raises DataError for a user without a home folder, as in a container that runs under a number alone.
    """
    chosen = os.environ.get("ECGTUNE_CACHE")
    try:
        return Path(chosen).expanduser() if chosen else _platform_folder()
    except RuntimeError:
        raise DataError("the cache has no place: this user has no home folder; set ECGTUNE_CACHE to a folder") from None


def _platform_folder() -> Path:
    found = platformdirs.user_cache_path("ecgtune", appauthor=False, opinion=False)
    if not found.is_absolute():  # earlier versions of platformdirs return "~/.cache/ecgtune"
        raise RuntimeError
    return found


def cache_key(facts: object, chunks: Iterable[Any] = (), digits: int = 20) -> str:
    """Return hexadecimal digits of a SHA-256 over `facts` (JSON values) and `chunks` (contiguous buffers)."""
    digest = hashlib.sha256(json.dumps(facts).encode())
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()[:digits]


def file_version(path: Path) -> list[int]:
    """Return size and time of the last change; a file with the same values is taken to be unchanged."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def cached(entry: Path, load: Callable[[Path], T | None], make: Callable[[Path], object]) -> T:
    """Return `load(entry)`; if it is None, call `make(folder)` to write the entry first.

    `load` returns None for an entry that is missing or damaged; it is not called where a checksum differs. The name of
    an entry is `<subject>-<version>`; entries of other versions of the subject are removed. Of several processes one
    writes it, and the others wait. Raises DataError when the folder cannot be written.
    """
    found = loaded(entry, load)
    if found is None:
        with _alone(entry):
            found = loaded(entry, load)  # another process may have just written it
            if found is None:
                with _new_entry(entry, lambda folder: loaded(folder, load)) as folder:
                    make(folder)
                    sums = {file.name: checksum(file) for file in folder.iterdir()}
                    (folder / _CHECKSUMS).write_text(json.dumps(sums), encoding="utf-8")
                found = loaded(entry, load)
    if found is None:
        raise DataError(f"{entry}: this cache entry was damaged while it was written; remove it and rerun")
    return found


def loaded(entry: Path, load: Callable[[Path], T | None]) -> T | None:
    """Return `load(entry)` if the files that the entry was made of are as they were then; else None."""
    try:
        with open_file(entry / _CHECKSUMS) as file:
            sums = json.loads(file.read())
        same = bool(sums) and all(checksum(entry / name) == value for name, value in sums.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return load(entry) if same else None


def checksum(file: Path, left_out: int = 0) -> int:
    """Return the CRC-32 of a file (3 GB/s) without its last `left_out` bytes. Raises OSError."""
    with open_file(file) as source:
        value, left = 0, file.stat().st_size - left_out
        while left > 0 and (part := source.read(min(left, _PIECE))):
            value, left = zlib.crc32(part, value), left - len(part)
    return value


@contextmanager
def _alone(entry: Path) -> Iterator[None]:
    """Keep other processes from writing the entry; they wait."""
    folder = entry.parent / f"{_LOCK}{entry.name}"
    try:
        with exclusive(folder, "reading data", wait=True, refusal=lambda _, error: unwritable(entry.parent, error)):
            yield
    finally:
        with suppress(OSError):  # another process has it now
            folder.rmdir()


@contextmanager
def _new_entry(entry: Path, load: Callable[[Path], object | None]) -> Iterator[Path]:
    """Yield a folder to write into; rename it to `entry` on success, remove it on an error."""
    root, folder = entry.parent, None
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_outdated(entry)
        folder = Path(tempfile.mkdtemp(prefix=f"{_UNFINISHED}{entry.name}-", dir=root))
        yield folder
        if load(entry) is None:  # else another process has written the same content
            _remove(entry)
            _rename(folder, entry, load)
    except OSError as error:
        raise unwritable(root, error) from error
    finally:
        if folder is not None:
            _remove(folder)


def evict(folder: Path, pattern: str, budget: float) -> None:
    """Remove the least recently used files `pattern` beyond `budget` bytes, and old leftovers of crashes.

    A process can still read a removed file that it has open.
    """
    for leftover in folder.glob(f".{pattern}.partial-*"):
        if _age(leftover) > STALE_SECONDS:
            leftover.unlink(missing_ok=True)
    for entry in sorted(folder.glob(pattern), key=_age):
        with suppress(FileNotFoundError):  # another process has just removed it
            budget -= entry.stat().st_size
            if budget < 0:
                entry.unlink()


def unwritable(folder: Path, error: OSError) -> DataError:
    """Return the error for a cache folder that cannot be written."""
    return DataError(
        f"{folder}: the cache folder cannot be written ({write_reason(error)}); set ECGTUNE_CACHE to a"
        " folder that can, or read with cache=False"
    )


def _rename(folder: Path, entry: Path, load: Callable[[Path], object | None]) -> None:
    try:
        folder.rename(entry)
    except OSError:
        if load(entry) is None:  # else another process has written the entry meanwhile
            raise


def _remove(path: Path) -> None:
    """Remove a folder or a file; another process may have removed it already."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_outdated(entry: Path) -> None:
    """Remove other versions of the same subject and what killed processes left: of this entry, which the caller has
    locked, and of others when older than `STALE_SECONDS`.
    """
    subject = entry.name.rpartition("-")[0] + "-"
    for other in entry.parent.iterdir():
        old = other.name.startswith(subject) and other != entry
        mine = other.name.startswith(f"{_UNFINISHED}{entry.name}-")
        if old or mine or (other.name.startswith((_UNFINISHED, _LOCK)) and _age(other) > STALE_SECONDS):
            _remove(other)


def _age(path: Path) -> float:
    """Return the seconds since the last change; 0 if another process has removed the file."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
