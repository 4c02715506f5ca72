"""Files of labelled windows to a `Dataset`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import check_seed
from ecgtune.config.reading import Layout, Unit
from ecgtune.data.dataset import Dataset, Source, check_rate, limited
from ecgtune.data.leads import channel_of, lead_argument
from ecgtune.data.tasks import MISSING
from ecgtune.errors import DataError, SettingError, answered
from ecgtune.io.joining import files_by_split, joined
from ecgtune.io.labels import class_notes
from ecgtune.io.readers.base import ReadOptions, WindowColumns, stated_rate
from ecgtune.io.readers.registry import window_reader
from ecgtune.io.window_files import read_cached, read_uncached
from ecgtune.utils.formatting import counted


def read_dataset(
    path: str | Path,
    *,
    val_file: str | Path | None = None,
    test_file: str | Path | None = None,
    sampling_rate: float | None = None,
    label: str | None = None,
    labels: Sequence[str] | None = None,
    label_separator: str | None = None,
    missing: Sequence[str] = (),
    positive: str | None = None,
    group: str | None = None,
    lead: str | None = None,
    unit: Unit | None = None,
    lead_names: Sequence[str] | None = None,
    layout: Layout | None = None,
    drop_invalid: bool = False,
    limit: int | None = None,
    seed: int = 0,
    cache: bool = True,
) -> Dataset:
    """Read labelled windows from a CSV or NPZ file.

    CSV: one window a row, `signal_0 ... signal_599,label`, plain or gzip, header optional. NPZ: `signal` (windows,
    samples) or (windows, leads, samples) and `label`. Both may have `patient` or `record`, and `split` (train, val,
    test); an NPZ also `sampling_rate` or `fs`, `leads` and `unit`.

    Parameters
    ----------
    val_file, test_file
        Files of the validation and test windows; `path` is then that of the training windows. All are copied into
        memory.
    sampling_rate
        Hz, 20 to 10,000; required unless the file states it.
    label, group
        Names of columns. Defaults: `label`, else the only column that is no sample (the last without a header), and
        `patient` before `record`. Labels have 2 to 50 values, numbers or text, and become indices into `classes`, which
        are sorted; of two the positive one is second.
    label_separator, missing
        Character between several labels in one column, of which `labels` are used, or all; values that mean a missing
        label: windows without any are left out, with a note.
    positive
        Name of the positive class of two; chosen by name, else by frequency, when not given (`Dataset.with_positive`).
    labels
        Names of several columns (CSV) or arrays (NPZ) of 0 and 1, one per label; empty, nan or -1 is missing. Of an NPZ
        with `label` (windows, labels) and `classes`, the labels to keep.
    lead
        "I" to "V6": the lead of a file that does not state it ("II" by default), or the one to keep of several.
    unit
        Unit of the file, "mV", "uV" or "V"; signals become millivolts, or stay as they are with `unit == "unknown"`.
    lead_names
        Leads of the channels of an NPZ file in order, where it has no `leads`; "-" leaves a channel out.
    layout
        Axes of `signal`: "NCT" for (windows, leads, samples), "NTC" for (windows, samples, leads).
    drop_invalid
        Leave out windows with samples that are no number and windows in which no lead changes, which are errors
        otherwise; `dataset.source.notes` has their number.
    limit, seed
        Keep so many windows, with the fractions of labels and splits, whole groups at a time (one group per label and
        split may be divided to meet the number).
    cache
        Keep the parsed file in the cache (`$ECGTUNE_CACHE`, else the platform's cache folder); later reads map it.

    Raises DataError, one line with file, row and column, for a file that cannot be used, and SettingError for an
    argument that is not allowed.
    """
    reading = {name: value for name, value in locals().items() if name not in ("limit", "seed", "cache")}
    paths = ("path", "val_file", "test_file")
    reading |= {"kind": "windows"} | {name: str(Path(reading[name]).resolve()) for name in paths if reading[name]}
    if limit is not None and limit < 2:
        raise SettingError(f"limit {limit} is too small; at least 2 windows are needed")
    check_seed(seed)
    asked = None if lead is None else lead_argument(lead)
    if sampling_rate is not None:
        check_rate(sampling_rate, "sampling rate")
    read = read_cached if cache else read_uncached
    options = ReadOptions(lead_names=None if lead_names is None else tuple(lead_names), layout=layout)
    columns = WindowColumns(
        label,
        group,
        None if label_separator else _several(label, labels),
        lead_names=options.lead_names,
        layout=options.layout,
        drop_invalid=drop_invalid,
        label_separator=label_separator,
        wanted=_several(None, labels) if label_separator else None,
        missing=tuple(missing),
    )

    def windows_of(file: Path) -> Dataset:
        reader = window_reader(file)
        contents, _ = answered(
            lambda: read(file, columns, unit),
            lambda: None if reader.windows_state_facts else stated_rate(file, None, sampling_rate),
        )
        parsed = contents.parsed
        signal, leads = _leads(file, contents.signal, parsed.leads, asked)
        dataset = Dataset(
            signal=signal,
            label=parsed.label,
            classes=parsed.classes,
            sampling_rate=stated_rate(file, parsed.sampling_rate, sampling_rate),
            leads=leads,
            unit=parsed.unit,
            group=parsed.group,
            group_name=parsed.group_name,
            split=parsed.split,
            source=Source(str(file), contents.sha256, notes=(*class_notes(parsed.classes), *parsed.notes)),
        )
        return _changing(dataset, drop_invalid) if asked is not None and parsed.leads is not None else dataset

    files = {name: windows_of(file) for name, file in files_by_split(path, val_file, test_file).items()}
    dataset = (joined(files, 0 if label_separator else MISSING) if len(files) > 1 else files["train"]).with_positive(
        positive
    )
    dataset = replace(dataset, source=replace(dataset.source, reading=reading))
    return dataset if limit is None else limited(dataset, limit, seed)


def _several(label: str | None, labels: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the names of several label columns, each once. Raises SettingError."""
    if labels is None:
        return None
    names = (labels,) if isinstance(labels, str) else tuple(labels)
    if label is not None:
        raise SettingError(
            f"label {label!r} and labels {', '.join(names)} are both given; give label for one column of classes, or"
            " labels for several columns of 0 and 1"
        )
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice or not names:
        got = f"name {twice[0]!r} twice" if twice else "are empty"
        raise SettingError(f"labels {got}; give the name of each label column once")
    return names


def _leads(
    path: str | Path, signal: NDArray[np.float32], in_file: tuple[str, ...] | None, asked: str | None
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the signal and its leads: all of the file, or the one that is asked for."""
    if in_file is None:
        return signal, (asked or "II",)
    if asked is None:
        return signal, in_file
    channel = channel_of(path, in_file, asked)
    return signal[:, channel : channel + 1], (asked,)


def _changing(dataset: Dataset, drop: bool) -> Dataset:
    """Return the windows in which the lead that was taken changes: among several leads a flat one is allowed."""
    flat = (dataset.signal.min(axis=2) == dataset.signal.max(axis=2))[:, 0]
    if not flat.any():
        return dataset
    source = dataset.source
    found = f"all samples of lead {dataset.leads[0]} are equal"
    if not drop or flat.all():
        raise DataError(
            f"{source.path}: window {flat.argmax()}: {found} (in {flat.sum()} of {counted(len(flat), 'window')}); name"
            " another lead, or leave these windows out with --drop-invalid"
        )
    note = f"in {flat.sum()} of {counted(len(flat), 'window')} {found}; they were left out"
    return replace(dataset.select(~flat), source=replace(source, notes=(*source.notes, note)))
