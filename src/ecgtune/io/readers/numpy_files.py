"""NumPy files: `.npz` archives of windows or of one recording, and `.npy` arrays of one recording.

Windows: `signal` (windows, samples) or (windows, leads, samples) and `label`, one class per window or (windows, labels)
of 0, 1 and nan or -1 (missing) with the labels' names as `classes`. A recording: `signal` (samples,) or (leads,
samples). Optional: `patient` or `record` and `split` (one value per window), `sampling_rate` or `fs` (Hz), `leads`,
`unit`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import DataError, answered
from ecgtune.io.readers.base import (
    MAX_TEXT,
    FileReader,
    ReadOptions,
    Recording,
    WindowBlock,
    WindowColumns,
    WindowHeader,
    check_size,
    chosen_part,
    in_millivolts,
    make_recording,
    millivolt_factor,
    one_line_errors,
    stated_rate,
    swapped_axes,
)
from ecgtune.io.readers.bounded import check_windows
from ecgtune.io.readers.channels import wanted_leads
from ecgtune.io.readers.column_names import PATIENT_NAMES, RECORD_NAMES, group_kind
from ecgtune.io.readers.npz_archive import (
    ARCHIVE,
    NEEDED,
    Archive,
    ArrayFacts,
    ArrayHeader,
    read_header,
)
from ecgtune.text import shown
from ecgtune.utils.files import open_file
from ecgtune.utils.formatting import counted

_BLOCK_BYTES = 8 << 20


def read_array(path: Path) -> NDArray:
    """Return the array of a `.npy` file as a read-only memory map. Raises DataError."""
    with open_file(path) as file:
        read_header(path, "signal", file, path.stat().st_size)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def read_npy(path: Path, options: ReadOptions) -> Recording:
    """Read a bare array as a recording."""
    array = read_array(path)
    return array_recording(path, array.shape, array.dtype, array.__getitem__, ArrayFacts(), options)


def read_npz(path: Path, options: ReadOptions) -> Recording:
    """Read an archive as a recording."""
    with Archive(path) as archive:
        if "signal" not in archive:
            raise DataError(f"{path}: has no array 'signal' (leads, samples); the file has: {archive.listed()}")
        header = archive.header("signal")
        if header.shape and prod(header.shape):  # its arrays cannot be read in parts
            check_size(path, header.shape[0], prod(header.shape[1:]), options)
        return array_recording(
            path,
            header.shape,
            header.dtype,
            lambda index: archive.read("signal")[index],
            archive.facts(),
            options,
        )


def array_recording(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype,
    load: Callable[[tuple[slice, ...]], NDArray],
    facts: ArrayFacts,
    options: ReadOptions,
) -> Recording:
    """Return the recording of an array (samples,) or (leads, samples); `load` returns a part of it.

    HDF5 files use it too.
    """
    if dtype.kind not in "iuf" or len(shape) not in (1, 2):
        raise DataError(f"{path}: the signal is {dtype} of shape {shape}; numbers (leads, samples) are needed")
    channels, samples = shape if len(shape) == 2 else (1, shape[0])
    named = None if facts.leads is None else len(facts.leads)
    swapped = len(shape) == 2 and swapped_axes(path, shape, named, options.layout)
    if swapped:
        channels, samples = samples, channels
    if named not in (None, channels):
        raise DataError(f"{path}: names {counted(named, 'lead')}, but the signal has shape {shape}")
    leads, factor, rate = answered(
        lambda: wanted_leads(path, facts.leads or [None] * channels, options),
        lambda: millivolt_factor(path, facts.unit, options.unit),
        lambda: stated_rate(path, facts.sampling_rate, options.sampling_rate),
    )
    leads, part = chosen_part(path, leads, samples, rate, options)
    index = (part,) if len(shape) == 1 else (part, slice(None)) if swapped else (slice(None), part)
    values = load(index)
    rows = (values.T if swapped else values.reshape(channels, -1))[list(leads.values())]
    return make_recording(path, in_millivolts(rows, factor), list(leads), rate)


def open_windows(path: Path, columns: WindowColumns) -> tuple[WindowHeader, Generator[WindowBlock]]:
    """Open an archive of windows. Raises DataError."""
    with one_line_errors(path, ARCHIVE), Archive(path) as archive:
        return _open(archive, columns)


def _open(archive: Archive, columns: WindowColumns) -> tuple[WindowHeader, Generator[WindowBlock]]:
    path, label_key = archive.path, columns.label or "label"
    apart = columns.labels is not None and any(name in archive for name in columns.labels)
    label_keys = columns.labels or () if apart else (label_key,) if columns.labelled else ()
    for key in ("signal", *label_keys, *([columns.group] if columns.group else [])):
        if key not in archive:
            other = "; name the labels with --label" if key in label_keys else ""
            raise DataError(f"{path}: no array '{key}' (the file has: {archive.listed()}); {NEEDED}{other}")
    signal = archive.header("signal")
    if signal.dtype.kind not in "iuf":
        raise DataError(f"{path}: 'signal' holds {signal.dtype.name}, numbers (int or float) are needed")
    if len(signal.shape) not in (2, 3) or 0 in signal.shape:
        raise DataError(
            f"{path}: 'signal' has shape {signal.shape}; (windows, samples) or (windows, leads, samples)"
            " with none of them 0 is needed"
        )
    count = signal.shape[0]
    check_windows(path, count, signal.shape[1:], archive.size)

    def text(key: str) -> NDArray[np.str_]:
        header = archive.header(key)
        if header.shape != (count,):
            raise DataError(
                f"{path}: '{key}' has shape {header.shape}; one value for each of the {counted(count, 'window')} of"
                f" 'signal', shape ({count},), is needed"
            )
        if header.dtype.itemsize > 4 * MAX_TEXT:
            raise DataError(f"{path}: '{key}' holds text of over {MAX_TEXT} characters; short identifiers are needed")
        return archive.text(key)

    names: tuple[str, ...] | None = None
    if not columns.labelled:
        label = np.zeros(count, dtype="U1")
    elif apart:
        names = label_keys
        label = np.stack([text(key) for key in label_keys], axis=1)
    elif len(archive.header(label_key).shape) == 2:
        label, names = _several_labels(archive, label_key, columns.labels, count)
    elif columns.labels is not None:
        raise DataError(
            f"{path}: no arrays {', '.join(columns.labels)} for the labels (the file has: {archive.listed()})"
        )
    else:
        label = text(label_key)
    group_key = columns.group or archive.first_of(PATIENT_NAMES + RECORD_NAMES)
    group = text(group_key) if group_key else None
    split = text("split") if "split" in archive and columns.labelled else None
    facts = archive.facts()
    leads, swapped = window_leads(path, signal.shape, facts.leads, columns)
    header = WindowHeader(
        leads=None if leads is None else tuple(leads),
        sampling_rate=facts.sampling_rate,
        unit=facts.unit,
        group_name=group_kind(group_key) if group_key else None,
        place="window",
        sample=lambda lead, sample: f"lead {[*leads][lead] if leads else lead}, sample {sample} (counted from 0)",
        labels=names,
    )
    channels = None if leads is None else list(leads.values())
    return header, _blocks(path, signal, swapped, channels, label, group, split)


def window_leads(
    path: Path, shape: tuple[int, ...], names: tuple[str, ...] | None, columns: WindowColumns
) -> tuple[dict[str, int] | None, bool]:
    """The leads of windows and their channels, None for one without a name, and whether the array has them last."""
    named = None if names is None else len(names)
    swapped = len(shape) == 3 and swapped_axes(path, (shape[1], shape[2]), named, columns.layout)
    count = 1 if len(shape) == 2 else shape[2 if swapped else 1]
    if named not in (None, count):
        raise DataError(f"{path}: 'leads' names {counted(named, 'lead')}, but 'signal' has {count}")
    if names is None and count == 1 and columns.lead_names is None:
        return None, swapped
    return wanted_leads(path, names or [None] * count, ReadOptions(lead_names=columns.lead_names)), swapped


def _several_labels(
    archive: Archive, key: str, wanted: tuple[str, ...] | None, count: int
) -> tuple[NDArray[np.str_], tuple[str, ...]]:
    """Labels (windows, labels) as text and their names: all, or those wanted. Raises DataError."""
    path, header = archive.path, archive.header(key)
    if header.shape[0] != count or header.shape[1] == 0:
        raise DataError(f"{path}: '{key}' has shape {header.shape}; ({count}, labels), one row per window, is needed")
    if "classes" not in archive:
        raise DataError(
            f"{path}: '{key}' has shape {header.shape} but no array 'classes' names its columns; add for example"
            " classes=np.array(['MI', 'HYP', ...]), or give one class per window"
        )
    if header.dtype.kind not in "biuf":
        raise DataError(f"{path}: '{key}' holds {header.dtype.name}; 0, 1 and nan or -1 (missing) are needed")
    named = prod(archive.header("classes").shape)
    names = tuple(archive.text("classes").ravel().tolist()) if named == header.shape[1] else ()
    if len(set(names)) != header.shape[1]:
        found = counted(len(set(names)), "different name") if names else counted(named, "name")
        raise DataError(f"{path}: 'classes' has {found}, but '{key}' has {counted(header.shape[1], 'column')}")
    unknown = [name for name in wanted or () if name not in names]
    if unknown:
        raise DataError(f"{path}: no label {shown(unknown[0])}; its labels are {', '.join(map(shown, names[:20]))}")
    chosen = [names.index(name) for name in wanted or names]
    return archive.as_text(key, archive.read(key)[:, chosen]), tuple(names[place] for place in chosen)


def _blocks(
    path: Path, signal: ArrayHeader, swapped: bool, channels: list[int] | None, label, group, split
) -> Generator[WindowBlock]:
    """Yield the windows, a few megabytes at a time. channels: the leads to keep, None for all."""
    shape = (-1, 1, signal.shape[1]) if len(signal.shape) == 2 else (-1, *signal.shape[1:])
    step = max(1, _BLOCK_BYTES // (prod(signal.shape[1:]) * signal.dtype.itemsize))
    first = 0
    with one_line_errors(path, ARCHIVE), Archive(path) as archive:
        for values in archive.blocks("signal", step):
            values = values.reshape(shape).swapaxes(1, 2) if swapped else values.reshape(shape)
            values = values if channels is None else values[:, channels]
            yield WindowBlock.of_array(values, first, label, group, split)
            first += len(values)


NPY = FileReader("a NumPy array", (".npy",), read_npy, signatures=((0, b"\x93NUMPY"),), parts_of_time=True)
NPZ = FileReader(
    ARCHIVE,
    (".npz",),
    read_npz,
    parts_of_time=True,
    signatures=((0, b"PK"),),
    window_suffixes=(".npz",),
    open_windows=open_windows,
)
