"""A file of windows: parsed block by block into checked arrays, and kept in the cache as memory maps.

A cache entry is a folder, `<file and options>-<version of the file>`, with `signal.f32` (raw float32), one `.npy` per
column and `entry.json`. A damaged entry is built again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.leads import leads_in_file
from ecgtune.errors import DataError
from ecgtune.io.labels import Where, check_groups, check_no_leak, label_codes, label_flags, split_names
from ecgtune.io.readers.base import ReadOptions, WindowBlock, WindowColumns, WindowHeader, millivolt_factor
from ecgtune.io.readers.registry import window_reader
from ecgtune.utils.cache import cache_folder, cache_key, cached, file_version
from ecgtune.utils.files import file_sha256

FORMAT = 3  # raise it with every change of the stored content or of the checks
MIN_SAMPLES = 2

Write = Callable[[NDArray[np.float32]], object]


@dataclass(frozen=True)
class Parsed:
    """Contents of a file without its samples. `leads` and `sampling_rate` are None where the file states none."""

    shape: tuple[int, int, int]
    label: NDArray[np.int64] | NDArray[np.int8]
    classes: tuple[str, ...]
    group: NDArray[np.str_] | None
    group_name: str | None
    split: NDArray[np.str_] | None
    leads: tuple[str, ...] | None
    sampling_rate: float | None
    unit: str


def parse(path: Path, columns: WindowColumns, unit: str | None, write: Write) -> Parsed:
    """Parse a file and pass its samples to `write`: float32 (windows, leads, samples) in file order, mV if known.

    Raises DataError, one line with file, row and column, for contents that cannot be used.
    """
    reader = window_reader(path)
    assert reader.open_windows is not None
    header, blocks = reader.open_windows(path, columns)
    known = header.unit is not None or unit is not None
    scale = millivolt_factor(path, header.unit, ReadOptions(unit=unit).unit) if known else 1.0
    leads = None if header.leads is None else leads_in_file(path, header.leads)
    kept: list[WindowBlock] = []
    constant: list[int] = []
    shape = (0, 0, 0)
    # Closed explicitly: the CSV reader works in threads, and a generator left to the garbage collector joins them
    # wherever the collector runs, even in a thread that holds the lock that joining needs.
    with closing(blocks):
        for block in blocks:
            if not len(block.row):
                continue
            shape = (shape[0] + len(block.row), *block.signal.shape[1:])
            if shape[2] < MIN_SAMPLES:
                raise DataError(f"{path}: 1 sample in a window; at least {MIN_SAMPLES} are needed")
            constant += _check_samples(path, header, block)
            if not constant:  # else the file is refused at its end, with the count
                write(block.signal if scale == 1.0 else block.signal * np.float32(scale))
            kept.append(WindowBlock(block.signal[:0], block.row, block.label, block.group, block.split))
    if not kept:
        raise DataError(f"{path}: no windows below the header; rows of samples and a label are needed")
    if constant:
        raise DataError(
            f"{path}: {header.place} {constant[0]}: all samples of the window are equal, and so in"
            f" {len(constant)} of {shape[0]} windows; a z-score needs variation, remove these windows"
        )

    where = Where(str(path), header.place, np.concatenate([block.row for block in kept]))
    text = np.concatenate([block.label for block in kept])
    if not columns.labelled:
        label, classes = np.zeros(len(text), dtype=np.int64), ()
    elif header.labels is None:
        label, classes = label_codes(text, where)
    else:
        label, classes = label_flags(text, header.labels, where), header.labels
    group = _joined([block.group for block in kept])
    split = _joined([block.split for block in kept])
    if split is not None:
        split = split_names(split, where)
    if group is not None and header.group_name is not None:
        check_groups(group, header.group_name, where)
        if split is not None:
            check_no_leak(group, header.group_name, split, where)
    unit = "mV" if known else "unknown"
    return Parsed(shape, label, classes, group, header.group_name, split, leads, header.sampling_rate, unit)


def _joined(parts: list[NDArray[np.str_] | None]) -> NDArray[np.str_] | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None


def _check_samples(path: Path, header: WindowHeader, block: WindowBlock) -> list[int]:
    """Return the rows of which every lead is constant. Raises DataError for samples that are not finite."""
    low, high = block.signal.min(axis=2), block.signal.max(axis=2)
    bad = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high)).all(axis=1))
    if len(bad):
        window = bad[0]
        lead, sample = np.argwhere(~np.isfinite(block.signal[window]))[0]
        value = block.signal[window, lead, sample]
        raise DataError(
            f"{path}: {header.place} {block.row[window]}, {header.sample(int(lead), int(sample))}: got"
            f" {value}; every sample must be a finite number below 3e38"
        )
    return block.row[(low == high).all(axis=1)].tolist()


@dataclass(frozen=True)
class Contents:
    """A file: samples float32 (windows, leads, samples), its other contents, and its sha256."""

    signal: NDArray[np.float32]
    parsed: Parsed
    sha256: str


def read_cached(path: Path, columns: WindowColumns, unit: str | None) -> Contents:
    """Read a file through the cache; the samples are a read-only memory map.

    Raises DataError for a file that cannot be used, and when the cache folder cannot be written.
    """
    window_reader(path)  # refuses paths that are no file
    subject = [FORMAT, str(path.resolve()), columns.label, columns.labels, columns.group, unit]
    subject += [] if columns.labelled else ["unlabelled"]

    def make(folder: Path) -> None:
        with (folder / "signal.f32").open("wb") as file:
            parsed, digest = _parse_and_hash(path, columns, unit, lambda block: file.write(block.data))
        _store(folder, parsed, digest)

    return cached(cache_folder() / f"{cache_key(subject)}-{cache_key(file_version(path))}", _load, make)


def read_uncached(path: Path, columns: WindowColumns, unit: str | None) -> Contents:
    """Read a file into memory without the cache. Raises DataError."""
    blocks: list[NDArray[np.float32]] = []
    parsed, digest = _parse_and_hash(path, columns, unit, blocks.append)
    signal = np.concatenate(blocks)
    signal.flags.writeable = False
    return Contents(signal, parsed, digest)


def _parse_and_hash(path: Path, columns: WindowColumns, unit: str | None, write: Write) -> tuple[Parsed, str]:
    """Parse the file while another thread hashes it. Raises DataError for a file that changes meanwhile."""
    window_reader(path)
    before = file_version(path)
    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(file_sha256, path)
        parsed = parse(path, columns, unit, write)
    if file_version(path) != before:
        raise DataError(f"{path}: changed while it was read; read it again when it is complete")
    return parsed, digest.result()


def _store(folder: Path, parsed: Parsed, digest: str) -> None:
    facts = {
        "format": FORMAT,
        "shape": parsed.shape,
        "classes": parsed.classes,
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
    """Return the entry, or None when it is missing or damaged in any way: the file can be read again."""
    try:
        facts = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
        shape = windows, _, _ = tuple(facts["shape"])
        path = entry / "signal.f32"
        if facts["format"] != FORMAT or path.stat().st_size != 4 * prod(shape):
            return None
        label = np.load(entry / "label.npy", allow_pickle=False)
        files = {name: entry / f"{name}.npy" for name in ("group", "split")}
        column = {n: np.load(file, allow_pickle=False) if file.exists() else None for n, file in files.items()}
        per_label = (windows, len(facts["classes"]))
        if label.shape != ((windows,) if label.dtype == np.int64 else per_label):
            return None
        if any(values is not None and values.shape != (windows,) for values in column.values()):
            return None
        leads = facts["leads"]
        parsed = Parsed(
            shape=shape,
            label=label,
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
