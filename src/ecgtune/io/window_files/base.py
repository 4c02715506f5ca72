"""What every reader of a file type gives, and nothing more.

A reader opens a file, says what the file knows about itself (`Header`) and then gives its windows in blocks of bounded
size, so that a file larger than memory can be read. Checks that do not depend on the file type are not its business.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PATIENT_NAMES = ("patient", "patient_id", "subject", "subject_id")
RECORD_NAMES = ("record", "record_id", "recording", "recording_id")
MAX_TEXT = 200  # characters of a label or identifier; one long cell would make every row of a text array as long


@dataclass(frozen=True)
class Columns:
    """Which columns (CSV) or arrays (NPZ) the caller names; None: the usual names are looked for.

    `label` holds one class per window; `labels` are several columns of 0, 1 or nothing, one per label. `labelled`
    False: labels and splits are left alone, whether there are any or not.
    """

    label: str | None = None
    group: str | None = None
    labels: tuple[str, ...] | None = None
    labelled: bool = True


@dataclass(frozen=True)
class Header:
    """What a file says about all of its windows; None where it is silent.

    `place` is the file type's word for where one window stands ("row" of a CSV, "window" of an array), and `sample`
    names sample j of lead i in that file, for error messages. `labels` are the names of several 0/1 labels, None when
    each window has one class.
    """

    leads: tuple[str, ...] | None
    sampling_rate: float | None
    unit: str | None
    group_name: str | None
    place: str
    sample: Callable[[int, int], str]
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Block:
    """Some windows: `signal` float32 (windows, leads, samples), in the file's own unit.

    `row` is where each window stands in the file (lines count from 1, array indices from 0); the others are text:
    `label` (windows,) the class, or (windows, labels) one cell per label of the header.
    """

    signal: NDArray[np.float32]
    row: NDArray[np.int64]
    label: NDArray[np.str_]
    group: NDArray[np.str_] | None
    split: NDArray[np.str_] | None


@dataclass(frozen=True)
class Reader:
    """One file type: its name, the suffixes it goes by and `open(path, columns)`, which gives header and blocks."""

    name: str
    suffixes: tuple[str, ...]
    open: Callable[[Path, Columns], tuple[Header, Generator[Block]]]


def group_name(column: str) -> str:
    """The kind of group that a column name speaks of: "patient", "record", or the name itself if it is neither."""
    name = column.strip().casefold()
    if name in PATIENT_NAMES:
        return "patient"
    if name in RECORD_NAMES:
        return "record"
    return column.strip()
