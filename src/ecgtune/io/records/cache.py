"""What the first pass found, kept: windows as a memory map, facts and fingerprints beside it.

An entry is keyed by which recordings of which folder were prepared how, and by the contents of their files. Contents
are hashed when size or time of a file has changed, so a second look costs one `stat` per file, and a folder that was
only copied or touched is not decoded again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.near_duplicates import DuplicatePair, find_near_duplicates
from ecgtune.data.signal.path import SignalPath
from ecgtune.errors import DataError
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.readers.registry import files_of
from ecgtune.io.records.first_pass import Expected, Facts, Outcome, Progress, first_pass
from ecgtune.utils.cache import cache_folder, cache_key, cached, file_version
from ecgtune.utils.files import file_sha256, write_text

FORMAT = 2  # raise it whenever what is stored, or what the signal path does, changes
_VERSIONS = "versions.json"
_HASHERS = 4  # threads; hashing leaves the interpreter's lock, reading waits for the disk


@dataclass(frozen=True, eq=False)
class Prepared:
    """All recordings after the first pass.

    signal: float32 (windows, leads, samples), a read-only memory map; None when no recording could be used. facts and
    reasons: one per recording; a reason where there are no facts. near_duplicates: pairs with the same signal.
    sha256: of the files' contents.
    """

    signal: NDArray[np.float32] | None
    facts: tuple[Facts | None, ...]
    reasons: tuple[str | None, ...]
    near_duplicates: tuple[DuplicatePair, ...]
    sha256: str


def prepare_cached(
    folder: Path,
    recordings: Mapping[str, Path],
    options: ReadOptions,
    signal_path: SignalPath,
    expected: Expected,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    keep: Callable[[Sequence[Outcome]], object],
) -> Prepared:
    """The first pass over `recordings` (id to path, in `folder`), or what is in the cache of it.

    keep: called with the outcomes before they are kept; what it raises leaves nothing behind. Raises DataError, also
    when a file changes meanwhile.
    """
    settings = [asdict(options), signal_path.to_dict(), _plain(expected)]
    subject = cache_key([FORMAT, "records", str(folder.resolve()), list(recordings), settings])
    files = [file for path in recordings.values() for file in _files(path)]
    versions = _versions(files)
    entry = next((found for found in cache_folder().glob(f"{subject}-*") if _versions_in(found) == versions), None)
    prepared = None if entry is None else _load(entry)
    if prepared is not None:
        return prepared
    sha256 = _contents(files)

    def make(entry: Path) -> None:
        paths = list(recordings.values())
        outcomes = first_pass(paths, options, signal_path, expected, entry, workers=workers, progress=progress)
        if _versions(files) != versions:
            raise DataError(f"{folder}: a recording changed while it was read; read again when the folder is complete")
        keep(outcomes)
        _store(entry, list(recordings), outcomes, len(signal_path.leads), sha256)

    entry = cache_folder() / f"{subject}-{sha256[:20]}"
    prepared = cached(entry, _load, make)
    write_text(entry / _VERSIONS, json.dumps(versions))  # the next call finds the entry without hashing
    return prepared


def _files(path: Path) -> tuple[Path, ...]:
    try:
        return files_of(path)
    except DataError:  # the first pass says what is wrong with it
        return (path,)


def _versions(files: Sequence[Path]) -> list[list[int]]:
    return [file_version(file) if file.is_file() else [] for file in files]


def _contents(files: Sequence[Path]) -> str:
    """sha256 of the names and contents of the files."""

    def digest(file: Path) -> bytes:
        try:
            return bytes.fromhex(file_sha256(file))
        except DataError:  # the first pass reports it
            return b"unreadable"

    whole = hashlib.sha256()
    with ThreadPoolExecutor(_HASHERS) as pool:
        for file, value in zip(files, pool.map(digest, files), strict=True):
            whole.update(file.name.encode() + b"\0" + value)
    return whole.hexdigest()


def _store(entry: Path, names: list[str], outcomes: Sequence[Outcome], leads: int, sha256: str) -> None:
    windows = sum(outcome.facts.windows for outcome in outcomes if outcome.facts is not None)
    samples = (entry / "signal.f32").stat().st_size // (4 * leads * max(windows, 1))
    readable = [row for row, outcome in enumerate(outcomes) if outcome.fingerprint is not None]
    prints = [outcome.fingerprint for outcome in outcomes if outcome.fingerprint is not None]
    near_duplicates = find_near_duplicates(np.stack(prints), [names[row] for row in readable]) if prints else ()
    content = {
        "format": FORMAT,
        "shape": [windows, leads, samples],
        "sha256": sha256,
        "facts": [None if outcome.facts is None else asdict(outcome.facts) for outcome in outcomes],
        "reasons": [outcome.reason for outcome in outcomes],
        "near_duplicates": [asdict(pair) for pair in near_duplicates],
    }
    (entry / "entry.json").write_text(json.dumps(content), encoding="utf-8")


def _versions_in(entry: Path) -> list[list[int]] | None:
    try:
        return json.loads((entry / _VERSIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _load(entry: Path) -> Prepared | None:
    """The entry, or None when there is none or it is damaged in any way: the recordings can always be read again."""
    try:
        content = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
        shape, path = tuple(content["shape"]), entry / "signal.f32"
        if content["format"] != FORMAT or path.stat().st_size != 4 * prod(shape):
            return None
        signal = np.memmap(path, dtype=np.float32, mode="r", shape=shape) if shape[0] else None
        return Prepared(
            signal,
            tuple(None if facts is None else _facts(facts) for facts in content["facts"]),
            tuple(content["reasons"]),
            tuple(DuplicatePair(**pair) for pair in content["near_duplicates"]),
            content["sha256"],
        )
    except Exception:
        return None


def _facts(plain: dict[str, Any]) -> Facts:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    return Facts(**values)


def _plain(expected: Expected) -> list[object]:
    return [expected.sampling_rate, None if expected.leads is None else sorted(expected.leads), expected.seconds]
