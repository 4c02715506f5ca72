"""Parsed files of windows as memory maps, so that the second read of a file costs next to nothing.

An entry is a folder, `<file and options>-<version of the file>`, with `signal.f32` (raw float32), one `.npy` per column
and `entry.json`. A broken entry is built again.
"""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError
from ecgtune.io.reading import Parsed, parse
from ecgtune.io.window_files import reader_for
from ecgtune.io.window_files.base import Columns
from ecgtune.utils.cache import cache_folder, cache_key, file_version, new_entry

FORMAT = 3  # raise it whenever what is stored, or what is refused on reading, changes


@dataclass(frozen=True)
class Contents:
    """A file as read: samples float32 (windows, leads, samples), everything else, and the sha256 of the file."""

    signal: NDArray[np.float32]
    parsed: Parsed
    sha256: str


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
    before = file_version(path)
    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(_sha256, path)
        parsed = parse(path, columns, unit, write)
    if file_version(path) != before:
        raise DataError(f"{path}: changed while it was read; read it again when it is complete")
    return parsed, digest.result()


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); is the file complete and readable?") from error


def _entry(path: Path, columns: Columns, unit: str | None) -> Path:
    what = [FORMAT, str(path.resolve()), columns.label, columns.labels, columns.group, unit]
    what += [] if columns.labelled else ["unlabelled"]
    return cache_folder() / f"{cache_key(what)}-{cache_key(file_version(path))}"


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
