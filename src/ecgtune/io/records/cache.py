"""The result of the first pass in the cache: windows as a memory map, facts and near-duplicates beside it.

An entry depends on the recordings, their preparation, the contents of their files, and the code of a reader from
outside the package. Contents are hashed when size or time of a file has changed, so a second look costs one `stat` per
file and the checksum of the entry, and a folder that was only copied or touched is not decoded again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.near_duplicates import DuplicatePair, find_near_duplicates
from ecgtune.errors import DataError, RunError
from ecgtune.io.readers.base import FileReader
from ecgtune.io.readers.registry import code_of, files_of, recording_reader
from ecgtune.io.records.first_pass import Preparation, Progress, RecordingFacts, RecordingOutcome, first_pass
from ecgtune.io.records.selection import Selection
from ecgtune.text import utf8
from ecgtune.utils.cache import cache_folder, cache_key, cached, file_version, loaded
from ecgtune.utils.files import file_sha256, open_file, write_text

FORMAT = 7  # raise it with every change of the stored content or of the signal path
_VERSIONS = "versions.json"
_HASHERS = 4  # threads; hashing releases the interpreter's lock, reading waits for the disk


@dataclass(frozen=True, eq=False)
class PreparedRecords:
    """All recordings after the first pass.

    signal: float32 (windows, leads, samples), a read-only memory map; None when no recording can be used. facts,
    reasons: one per recording, a reason where there are no facts. near_duplicates: pairs with the same signal. sha256:
    of the files' contents.
    """

    signal: NDArray[np.float32] | None
    facts: tuple[RecordingFacts | None, ...]
    reasons: tuple[str | None, ...]
    near_duplicates: tuple[DuplicatePair, ...]
    sha256: str

    @property
    def windows(self) -> NDArray[np.int64]:
        """Number of windows of each recording."""
        return np.array([0 if known is None else known.windows for known in self.facts], dtype=np.int64)


Outcomes = Sequence[RecordingOutcome]


def prepare_records(
    selection: Selection,
    preparation: Preparation,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    check: Callable[[Outcomes], object],
) -> PreparedRecords:
    """Return the first pass over the selected recordings, from the cache if it is there.

    check: called with the outcomes before they are stored; an error that it raises leaves nothing behind. Raises
    DataError, also when a file changes meanwhile.
    """
    expected = preparation.expected
    settings = [asdict(preparation.options), preparation.signal_path.to_dict(), preparation.fingerprints]
    settings += [expected.sampling_rate, sorted(expected.leads or ()), expected.seconds]
    subject = cache_key([FORMAT, "records", os.path.realpath(selection.folder), list(selection.paths), settings])
    known = [_reader_and_files(path) for path in selection.paths.values()]
    files = list(dict.fromkeys(file for _, of_recording in known for file in of_recording))
    code = code_of(reader for reader, _ in known if reader is not None)
    versions = _versions(files)
    stored = [*versions, *([code] if code else [])]
    entry = next((found for found in cache_folder().glob(f"{subject}-*") if _versions_in(found) == stored), None)
    prepared = None if entry is None else loaded(entry, _load)
    if prepared is not None:
        return prepared
    sha256 = _contents(files)

    def make(entry: Path) -> None:
        paths = list(selection.paths.values())
        outcomes = first_pass(paths, preparation, entry, workers=workers, progress=progress)
        if _versions(files) != versions:
            raise DataError(
                f"{selection.folder}: a recording changed while it was read; read again when the folder is complete"
            )
        check(outcomes)
        _store(entry, list(selection.paths), outcomes, len(preparation.signal_path.leads), sha256)

    entry = cache_folder() / f"{subject}-{cache_key([sha256, code]) if code else sha256[:20]}"
    prepared = cached(entry, _load, make)
    with suppress(RunError):  # a shared cache that this user cannot write: the next call hashes again
        write_text(entry / _VERSIONS, json.dumps(stored))
    return prepared


def _reader_and_files(path: Path) -> tuple[FileReader | None, tuple[Path, ...]]:
    reader = None
    try:
        reader = recording_reader(path)
        return reader, files_of(path, reader)
    except (DataError, OSError):  # the first pass reports it
        return reader, (path,)


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
            whole.update(utf8(file.name) + b"\0" + value)
    return whole.hexdigest()


def _store(entry: Path, names: list[str], outcomes: Outcomes, leads: int, sha256: str) -> None:
    windows = sum(outcome.facts.windows for outcome in outcomes if outcome.facts is not None)
    samples = (entry / "signal.f32").stat().st_size // (4 * leads * max(windows, 1))
    prints = {name: each.fingerprint for name, each in zip(names, outcomes, strict=True)}
    compared = {name: each for name, each in prints.items() if each is not None}
    pairs = find_near_duplicates(np.stack(list(compared.values())), list(compared)) if compared else ()
    content = {
        "format": FORMAT,
        "shape": [windows, leads, samples],
        "sha256": sha256,
        "facts": [None if outcome.facts is None else asdict(outcome.facts) for outcome in outcomes],
        "reasons": [outcome.reason for outcome in outcomes],
        "near_duplicates": [asdict(pair) for pair in pairs],
    }
    (entry / "entry.json").write_text(json.dumps(content), encoding="utf-8")


def _versions_in(entry: Path) -> list[Any] | None:
    try:
        with open_file(entry / _VERSIONS) as file:
            return json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None


def _load(entry: Path) -> PreparedRecords | None:
    """Return the entry, or None when it is missing or damaged in any way: the recordings can be read again."""
    try:
        content = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
        shape, path = tuple(content["shape"]), entry / "signal.f32"
        if content["format"] != FORMAT or path.stat().st_size != 4 * prod(shape):
            return None
        return PreparedRecords(
            np.memmap(path, dtype=np.float32, mode="r", shape=shape) if shape[0] else None,
            tuple(None if facts is None else _facts(facts) for facts in content["facts"]),
            tuple(content["reasons"]),
            tuple(DuplicatePair(**pair) for pair in content["near_duplicates"]),
            content["sha256"],
        )
    except Exception:
        return None


def _facts(plain: dict[str, Any]) -> RecordingFacts:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    return RecordingFacts(**values)
