"""A file of windows, block by block, into checked arrays: the checks that hold for every file type."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.leads import leads_in_file
from ecgtune.errors import DataError
from ecgtune.io.labels import Where, check_groups, check_no_leak, label_codes, label_flags, split_names
from ecgtune.io.window_files import reader_for
from ecgtune.io.window_files.base import Block, Columns, Header
from ecgtune.utils.text import shown

MILLIVOLTS = {"mV": 1.0, "uV": 1e-3, "V": 1e3}
MIN_SAMPLES = 2


@dataclass(frozen=True)
class Parsed:
    """Everything about a file but its samples. `leads` and `sampling_rate` are None where the file is silent."""

    shape: tuple[int, int, int]
    label: NDArray[np.int64] | NDArray[np.int8]
    classes: tuple[str, ...]
    group: NDArray[np.str_] | None
    group_name: str | None
    split: NDArray[np.str_] | None
    leads: tuple[str, ...] | None
    sampling_rate: float | None
    unit: str


def parse(path: Path, columns: Columns, unit: str | None, write: Callable[[NDArray[np.float32]], object]) -> Parsed:
    """Read a whole file; `write` gets its samples in file order, float32 (windows, leads, samples), mV where known.

    Raises DataError, in one line with file, row and column, for anything that cannot be used.
    """
    header, blocks = reader_for(path).open(path, columns)
    unit, scale = _unit(path, header.unit, unit)
    leads = None if header.leads is None else leads_in_file(path, header.leads)
    kept: list[Block] = []
    constant: list[int] = []
    shape = (0, 0, 0)
    # Closed here and now: the CSV reader works in threads, and a generator left to the garbage collector joins them
    # from wherever the collector happens to run, even from a thread that holds the lock that joining needs.
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
            kept.append(Block(block.signal[:0], block.row, block.label, block.group, block.split))
    if not kept:
        raise DataError(f"{path}: no windows below the header; rows of samples and a label are needed")
    if constant:
        raise DataError(
            f"{path}: {header.place} {constant[0]}: all samples of the window are equal, and so in"
            f" {len(constant)} of {shape[0]} windows; a z-score needs a spread, remove these windows"
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
    return Parsed(shape, label, classes, group, header.group_name, split, leads, header.sampling_rate, unit)


def _joined(parts: list[NDArray[np.str_] | None]) -> NDArray[np.str_] | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None


def _unit(path: Path, in_file: str | None, asked: str | None) -> tuple[str, float]:
    """The unit of the result ("mV" or "unknown") and the factor to it."""
    if asked is not None and asked not in MILLIVOLTS:
        raise DataError(f"unit '{asked}' is unknown; allowed are {', '.join(MILLIVOLTS)}")
    if in_file is not None and in_file not in MILLIVOLTS:
        raise DataError(f"{path}: its unit {shown(in_file)} is unknown; allowed are {', '.join(MILLIVOLTS)}")
    if in_file and asked and in_file != asked:
        raise DataError(
            f"{path}: says that its unit is {shown(in_file)}, but '{asked}' was asked for; leave the unit out"
        )
    unit = in_file or asked
    return ("mV", MILLIVOLTS[unit]) if unit else ("unknown", 1.0)


def _check_samples(path: Path, header: Header, block: Block) -> list[int]:
    """Refuse samples that are not finite; give the rows whose every lead is constant (one flat lead of many may be)."""
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
