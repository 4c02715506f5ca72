"""A file of windows: parsed block by block into checked arrays, and kept in the cache as memory maps.

A cache entry is a folder, `<file and options>-<version of the file>`, with `signal.f32` (raw float32), one `.npy` per
column and `entry.json`. A damaged entry is built again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.reading import ReadSettings, Unit
from ecgtune.data.leads import leads_in_file
from ecgtune.data.sampling import number_within
from ecgtune.data.signal.quality import MOST_MILLIVOLTS
from ecgtune.errors import DataError
from ecgtune.io.labels import (
    Where,
    check_groups,
    check_labels,
    check_no_leak,
    identifiers,
    joined_labels,
    label_codes,
    label_flags,
    separated,
    split_names,
)
from ecgtune.io.readers.base import WindowBlock, WindowColumns, WindowHeader, millivolt_factor
from ecgtune.io.readers.bounded import check_text, check_windows
from ecgtune.io.readers.registry import code_of, window_reader
from ecgtune.utils.cache import cache_folder, cache_key, cached, file_version
from ecgtune.utils.files import file_sha256
from ecgtune.utils.formatting import counted

FORMAT = 10  # raise it with every change of the stored content or of the checks
MIN_SAMPLES = 2

Write = Callable[[NDArray[np.float32]], object]


@dataclass(frozen=True)
class Parsed:
    """Contents of a file without its samples. `leads` and `sampling_rate` are None where the file states none.

    window: number of each window in its group, or in the file without groups, from 0. dropped: windows left out because
    of samples that are no number, because no lead changes, and because the label is missing. doubts: sentences on
    samples that no ECG has. assumed: sentences on what was assumed about the columns.
    """

    shape: tuple[int, int, int]
    label: NDArray[np.int64] | NDArray[np.int8]
    classes: tuple[str, ...]
    group: NDArray[np.str_] | None
    group_name: str | None
    split: NDArray[np.str_] | None
    leads: tuple[str, ...] | None
    sampling_rate: float | None
    unit: str
    window: NDArray[np.int64]
    dropped: tuple[int, int, int] = (0, 0, 0)
    doubts: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What every result from these windows must say."""
        reasons = ("samples that are no number", "no lead that changes", "no label")
        pairs = zip(self.dropped, reasons, strict=True)
        total = len(self.window) + sum(self.dropped)
        left_out = [f"{count} of {counted(total, 'window')} left out: {why}" for count, why in pairs if count]
        return (*self.assumed, *self.doubts, *left_out)


def parse(path: Path, columns: WindowColumns, unit: Unit | None, write: Write) -> Parsed:
    """Parse a file and pass its samples to `write`: float32 (windows, leads, samples) in file order, mV if known.

    Raises DataError, one line with file, row and column, for contents that cannot be used.
    """
    reader = window_reader(path)
    assert reader.open_windows is not None
    header, blocks = reader.open_windows(path, columns)
    size = sum(file.stat().st_size for file in reader.files(path))
    return parse_blocks(path, header, blocks, columns, unit, write, size)


def parse_blocks(
    path: Path,
    header: WindowHeader,
    blocks: Generator[WindowBlock],
    columns: WindowColumns,
    unit: Unit | None,
    write: Write,
    size: int | None = None,
) -> Parsed:
    """Parse the windows of an opened file of `size` bytes, or of arrays, as `parse` does; `path` starts messages."""
    known = header.unit is not None or unit is not None
    scale = millivolt_factor(path, header.unit, ReadSettings(unit=unit).unit) if known else 1.0
    leads = None if header.leads is None else leads_in_file(path, header.leads)
    blocks_read: list[WindowBlock] = []
    kept: list[NDArray[np.bool_]] = []
    smallest = scale if known else millivolt_factor(path, None, "nV")  # of an unknown unit: 1 V in any
    faults = _Faults(path, header, MOST_MILLIVOLTS / smallest, float(np.finfo(np.float32).max) / max(scale, 1.0))
    unlabelled = 0
    shape = (0, 0, 0)
    # Closed explicitly: the CSV reader works in threads, and a generator left to the garbage collector joins them
    # wherever the collector runs, even in a thread that holds the lock that joining needs.
    with closing(blocks):
        for block in blocks:
            if not len(block.row):
                continue
            shape = (shape[0] + len(block.row), *block.signal.shape[1:])
            if shape[2] < MIN_SAMPLES:
                raise DataError(
                    f"{path}: 1 sample in a window; at least {MIN_SAMPLES} are needed; a recording is read from its"
                    " folder"
                )
            if size is not None:
                check_windows(path, shape[0], shape[1:], size)
            good = faults.good(block)
            if header.labels is None and columns.labelled:
                missing = np.isin(block.label, columns.missing)
                unlabelled += int((missing & good).sum())
                good = good & ~missing
            if columns.drop_invalid or not faults.any:  # else the file is refused at its end, with the count
                signal = block.signal if good.all() else block.signal[good]
                write(signal if scale == 1.0 else signal * np.float32(scale))
            kept.append(good)
            blocks_read.append(WindowBlock(block.signal[:0], block.row, block.label, block.group, block.split))
    if not blocks_read:
        raise DataError(f"{path}: no windows below the header; rows of samples and a label are needed")
    rows = np.concatenate(kept)
    if not columns.drop_invalid or not rows.any():
        faults.check(len(rows))
    if not rows.any():
        raise DataError(f"{path}: no window has a label; all are missing, {', '.join(columns.missing)}")

    def joined(name: str) -> NDArray[np.str_] | None:
        parts = [part for block in blocks_read if (part := getattr(block, name)) is not None]
        if parts and size is not None:
            longest = max(part.dtype.itemsize for part in parts) // 4
            check_text(path, name, sum(part.size for part in parts), longest, size)
        return np.concatenate(parts) if parts else None

    where = Where(str(path), header.place, np.concatenate([block.row for block in blocks_read])[rows])
    text = joined("label")
    assert text is not None
    text = text[rows]
    label, classes = _labels(text, header, columns, where, unlabelled)
    group = joined("group")
    group = None if group is None else identifiers(group)
    window = (np.arange(len(rows)) if group is None else number_within(group))[rows]
    group = None if group is None else group[rows]
    split = joined("split")
    split = None if split is None else split_names(split[rows], where)
    if group is not None and header.group_name is not None:
        check_groups(group, header.group_name, where)
        if split is not None:
            check_no_leak(group, header.group_name, split, where)
    return Parsed(
        shape=(int(rows.sum()), shape[1], shape[2]),
        label=label,
        classes=classes,
        group=group,
        group_name=header.group_name,
        split=split,
        leads=leads,
        sampling_rate=header.sampling_rate,
        unit="mV" if known else "unknown",
        window=window,
        dropped=(faults.not_finite, faults.constant, unlabelled),
        doubts=faults.doubts,
        assumed=header.notes,
    )


def _labels(
    text: NDArray[np.str_], header: WindowHeader, columns: WindowColumns, where: Where, unlabelled: int
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Labels and classes of the cells `text`. unlabelled: windows that were left out, for the message."""
    if not columns.labelled:
        return np.zeros(len(text), dtype=np.int64), ()
    if header.labels is not None:
        return label_flags(np.where(np.isin(text, columns.missing), "", text), header.labels, where), header.labels
    if columns.label_separator is not None:
        check_labels(text, where)
        return joined_labels(separated(text, columns.label_separator), where, columns.wanted)
    left_out = f"; {counted(unlabelled, 'window')} without a label (--missing)" if unlabelled else ""
    return label_codes(text, where, left_out)


class _Faults:
    """Windows that cannot be used: their numbers, and the first of them in words.

    most: size of a sample above which it is doubted; largest: above which it is infinite in millivolts.
    """

    def __init__(self, path: Path, header: WindowHeader, most: float, largest: float) -> None:
        self.not_finite = self.constant = 0
        self._first = ""
        self._path, self._header, self._most, self._largest = path, header, most, largest
        self._beyond, self._example = 0, ""

    @property
    def doubts(self) -> tuple[str, ...]:
        """A sentence on windows with samples larger than `most` in size; none without any."""
        if not self._beyond:
            return ()
        windows = counted(self._beyond, "window")
        return (
            f"{self._path.name}: {windows} with samples beyond 1 V, which no ECG has, such as {self._example};"
            " check the unit (--unit)",
        )

    @property
    def any(self) -> bool:
        return bool(self.not_finite or self.constant)

    def good(self, block: WindowBlock) -> NDArray[np.bool_]:
        """Return which windows of a block can be used, and count the others."""
        low, high = block.signal.min(axis=2), block.signal.max(axis=2)
        finite = (np.maximum(-low, high) <= self._largest).all(axis=1)  # NaN is not
        constant = finite & (low == high).all(axis=1)
        self.not_finite += int((~finite).sum())
        self.constant += int(constant.sum())
        good = finite & ~constant
        beyond = good & (np.maximum(-low, high) > self._most).any(axis=1)
        if beyond.any() and not self._example:
            window = int(beyond.argmax())
            lead, sample = np.unravel_index(np.abs(block.signal[window]).argmax(), block.signal[window].shape)
            self._example = f"{self._header.place} {block.row[window]}, {self._header.sample(int(lead), int(sample))}"
        self._beyond += int(beyond.sum())
        if not self._first and not good.all():
            self._first = self._described(block, int(good.argmin()), bool(finite[good.argmin()]))
        return good

    def _described(self, block: WindowBlock, window: int, finite: bool) -> str:
        place = f"{self._header.place} {block.row[window]}"
        if finite:
            return f"{place}: all samples of the window are equal, and a z-score needs variation"
        lead, sample = np.argwhere(~(np.abs(block.signal[window]) <= self._largest))[0]
        value, most = block.signal[window, lead, sample], f"{self._largest:.0e}".replace("+", "")
        place = f"{place}, {self._header.sample(int(lead), int(sample))}"
        return f"{place}: got {value}, which is no finite number below {most}"

    def check(self, total: int) -> None:
        """Raise DataError when there are any, of `total` windows."""
        if not self.any:
            return
        count = self.not_finite + self.constant
        hint = "no window can be used" if count == total else "repair them, or leave them out with --drop-invalid"
        raise DataError(f"{self._path}: {self._first} (in {count} of {counted(total, 'window')}); {hint}")


@dataclass(frozen=True)
class Contents:
    """A file: samples float32 (windows, leads, samples), its other contents, and its sha256."""

    signal: NDArray[np.float32]
    parsed: Parsed
    sha256: str


def read_cached(path: Path, columns: WindowColumns, unit: Unit | None) -> Contents:
    """Read a file through the cache; the samples are a read-only memory map.

    Raises DataError for a file that cannot be used, and when the cache folder cannot be written.
    """
    code = code_of([window_reader(path)])
    subject = [FORMAT, os.path.realpath(path), asdict(columns), unit]

    def make(folder: Path) -> None:
        with (folder / "signal.f32").open("wb") as file:
            parsed, digest = _parse_and_hash(path, columns, unit, lambda block: file.write(block.data))
        _store(folder, parsed, digest)

    version = [*file_version(path), *([code] if code else [])]
    return cached(cache_folder() / f"{cache_key(subject)}-{cache_key(version)}", _load, make)


def read_uncached(path: Path, columns: WindowColumns, unit: Unit | None) -> Contents:
    """Read a file into memory without the cache. Raises DataError."""
    blocks: list[NDArray[np.float32]] = []
    parsed, digest = _parse_and_hash(path, columns, unit, blocks.append)
    signal = np.concatenate(blocks)
    signal.flags.writeable = False
    return Contents(signal, parsed, digest)


def _parse_and_hash(path: Path, columns: WindowColumns, unit: Unit | None, write: Write) -> tuple[Parsed, str]:
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
        "dropped": parsed.dropped,
        "doubts": parsed.doubts,
        "assumed": parsed.assumed,
    }
    for name in ("label", "group", "split", "window"):
        values = getattr(parsed, name)
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
            window=np.load(entry / "window.npy", allow_pickle=False),
            dropped=tuple(facts["dropped"]),
            doubts=tuple(facts["doubts"]),
            assumed=tuple(facts["assumed"]),
        )
        return Contents(np.memmap(path, dtype=np.float32, mode="r", shape=shape), parsed, facts["sha256"])
    except Exception:
        return None
