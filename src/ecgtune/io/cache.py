"""Parsed files as memory maps, so that the second read of a file costs next to nothing.

An entry is a folder, `<file and options>-<version of the file>`, with `signal.f32` (raw float32), one `.npy` per column
and `entry.json`. It is written under another name and renamed when complete, so a reader sees a whole entry or none,
and an interrupted or refused read leaves nothing. A broken entry is built again.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.reading import Parsed, parse
from ecgtune.io.window_files import reader_for
from ecgtune.io.window_files.base import Columns

FORMAT = 3  # raise it whenever what is stored, or what is refused on reading, changes
_STALE_SECONDS = 24 * 3600
UNFINISHED = "unfinished-"


@dataclass(frozen=True)
class Contents:
    """A file as read: samples float32 (windows, leads, samples), everything else, and the sha256 of the file."""

    signal: NDArray[np.float32]
    parsed: Parsed
    sha256: str


def cache_folder() -> Path:
    """Where entries go: `$ECGTUNE_CACHE`, else `ecgtune` in the cache folder of the platform (XDG on Linux)."""
    chosen = os.environ.get("ECGTUNE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "ecgtune"


def read_cached(path: Path, columns: Columns, unit: str | None) -> Contents:
    """Read a file through the cache; the samples are a read-only memory map.

    Raises DataError for a file that cannot be used, and when the cache folder cannot be written.
    """
    reader_for(path)
    entry = _entry(path, columns, unit)
    contents = _load(entry)
    if contents is None:
        with new_entry(entry, _load) as folder, (folder / "signal.f32").open("wb") as file:
            parsed, digest = _parse_and_hash(path, columns, unit, lambda block: file.write(block.data))
            _store(folder, parsed, digest)
        contents = _load(entry)
    if contents is None:
        raise DataError(f"{entry}: this cache entry was damaged while it was written; remove it and read again")
    return contents


def read_uncached(path: Path, columns: Columns, unit: str | None) -> Contents:
    """Read a file into memory and leave nothing on disk. Raises DataError."""
    blocks: list[NDArray[np.float32]] = []
    parsed, digest = _parse_and_hash(path, columns, unit, blocks.append)
    signal = np.concatenate(blocks)
    signal.flags.writeable = False
    return Contents(signal, parsed, digest)


def _parse_and_hash(
    path: Path, columns: Columns, unit: str | None, write: Callable[[NDArray[np.float32]], object]
) -> tuple[Parsed, str]:
    """Parse the file while another thread hashes it; a file that changes meanwhile is refused."""
    reader_for(path)
    before = version_of(path)
    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(_sha256, path)
        parsed = parse(path, columns, unit, write)
    if version_of(path) != before:
        raise DataError(f"{path}: changed while it was read; read it again when it is complete")
    return parsed, digest.result()


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); is the file complete and readable?") from error


def version_of(path: Path) -> list[int]:
    """Size and time of the last change: when they are the same, the file is taken to be."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _entry(path: Path, columns: Columns, unit: str | None) -> Path:
    what = [FORMAT, str(path.resolve()), columns.label, columns.labels, columns.group, unit]
    what += [] if columns.labelled else ["unlabelled"]
    return cache_folder() / f"{short_hash(what)}-{short_hash(version_of(path))}"


def short_hash(value: object) -> str:
    """20 hexadecimal digits that stand for a value that JSON can say."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:20]


@contextmanager
def new_entry(entry: Path, load: Callable[[Path], object | None]) -> Iterator[Path]:
    """A folder to write into, renamed to `entry` when the body ends well and removed when it does not.

    `load` gives None for an entry that is not there or is damaged. The name of an entry is what it is of, a hyphen, and
    which version of that it holds; entries of other versions are removed.
    """
    root, folder = entry.parent, None
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_outdated(entry)
        folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=root))
        yield folder
        if load(entry) is None:  # else another process was faster, with the same content
            _remove(entry)
            _rename(folder, entry, load)
    except OSError as error:
        raise unwritable(root, error) from error
    finally:
        if folder is not None:
            _remove(folder)


def _rename(folder: Path, entry: Path, load: Callable[[Path], object | None]) -> None:
    try:
        folder.rename(entry)
    except OSError:
        if load(entry) is None:  # not another process between the look and the rename: a real failure
            raise


def _remove(path: Path) -> None:
    """Remove a folder or a file; what another process has removed meanwhile is well gone."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_outdated(entry: Path) -> None:
    """Remove what nobody reads again: older versions of the same file, and leftovers of a crash a day ago."""
    same_file = entry.name.partition("-")[0] + "-"
    for other in entry.parent.iterdir():
        old = other.name.startswith(same_file) and other != entry
        if old or (other.name.startswith(UNFINISHED) and _age(other) > _STALE_SECONDS):
            _remove(other)


def _age(path: Path) -> float:
    """Seconds since the last change; 0 when another process has just removed it."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _store(folder: Path, parsed: Parsed, digest: str) -> None:
    facts = {
        "format": FORMAT,
        "shape": parsed.shape,
        "classes": parsed.classes,
        "several_labels": parsed.label.ndim == 2,
        "group_name": parsed.group_name,
        "leads": parsed.leads,
        "sampling_rate": parsed.sampling_rate,
        "unit": parsed.unit,
        "sha256": digest,
    }
    for name, values in (("label", parsed.label), ("group", parsed.group), ("split", parsed.split)):
        if values is not None:
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
    (folder / "entry.json").write_text(json.dumps(facts), encoding="utf-8")


def _load(entry: Path) -> Contents | None:
    """The entry, or None when there is none or it is damaged in any way: the file itself can always be read again."""
    try:
        facts = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
        shape = windows, _, _ = tuple(facts["shape"])
        path = entry / "signal.f32"
        if facts["format"] != FORMAT or path.stat().st_size != 4 * prod(shape):
            return None
        column = {}
        for name in ("label", "group", "split"):
            file = entry / f"{name}.npy"
            column[name] = np.load(file, allow_pickle=False) if file.exists() else None
            several = name == "label" and facts["several_labels"]
            expected = (windows, len(facts["classes"])) if several else (windows,)
            if column[name] is not None and column[name].shape != expected:
                return None
        leads = facts["leads"]
        parsed = Parsed(
            shape=shape,
            label=column["label"].astype(np.int8 if facts["several_labels"] else np.int64, copy=False),
            classes=tuple(facts["classes"]),
            group=column["group"],
            group_name=facts["group_name"],
            split=column["split"],
            leads=None if leads is None else tuple(leads),
            sampling_rate=facts["sampling_rate"],
            unit=facts["unit"],
        )
        return Contents(np.memmap(path, dtype=np.float32, mode="r", shape=shape), parsed, facts["sha256"])
    except Exception:
        return None


def unwritable(folder: Path, error: OSError) -> DataError:
    """The error for a cache folder that refuses to be written."""
    return DataError(
        f"{folder}: the cache folder cannot be written ({error.strerror or error}); set ECGTUNE_CACHE to a"
        " folder that can, or read with cache=False"
    )
