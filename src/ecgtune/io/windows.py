"""Files of labelled windows to a `Dataset`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import check_seed, check_settings, require
from ecgtune.config.reading import Layout, Unit
from ecgtune.data.dataset import Dataset, Source, check_rate, limited, plain_values
from ecgtune.data.leads import channel_of, lead_argument
from ecgtune.data.tasks import MISSING
from ecgtune.errors import DataError, SettingError, answered
from ecgtune.io.joining import files_by_split, joined
from ecgtune.io.labels import class_notes
from ecgtune.io.readers.base import ReadOptions, WindowColumns, stated_rate
from ecgtune.io.readers.registry import window_reader
from ecgtune.io.window_files import read_cached, read_uncached
from ecgtune.utils.formatting import counted


@dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """How files of windows are read, beside the arguments of `read_dataset`. Lists become tuples.

    Raises SettingError for a value that is not allowed.
    """

    val_file: str | Path | None = None
    """File of the validation windows; that of `read_dataset` then has the training windows. All are copied into
    memory."""
    test_file: str | Path | None = None
    """File of the test windows, alike."""
    label_separator: str | None = None
    """Character between several labels in one column, of which `labels` are used, or all."""
    missing: Sequence[str] = ()
    """Values that mean a missing label: windows without any are left out, with a note."""
    positive: str | None = None
    """Positive class of two; chosen by name, else by frequency, when not given (`Dataset.with_positive`)."""
    unit: Unit | None = None
    """Unit of the files; signals become millivolts, or stay as they are with `unit == "unknown"`."""
    lead_names: Sequence[str] | None = None
    """Leads of the channels of an NPZ file in order, where it has no `leads`; "-" leaves a channel out."""
    layout: Layout | None = None
    """Axes of `signal`: "NCT" for (windows, leads, samples), "NTC" for (windows, samples, leads)."""
    drop_invalid: bool = False
    """Leave out windows with samples that are no number and windows in which no lead changes, which are errors
    otherwise; `dataset.source.notes` has their number."""
    limit: int | None = None
    """Number of windows to keep, with the fractions of labels and splits, whole groups at a time (one group per label
    and split may be divided to meet the number)."""
    seed: int = 0
    """Seed of the windows that are kept."""
    cache: bool = True
    """Keep the parsed file in the cache (`$ECGTUNE_CACHE`, else the platform's cache folder); later reads map it."""

    def __post_init__(self) -> None:
        require(
            self.limit is None or self.limit >= 2,
            f"limit {self.limit} is too small; at least 2 windows are needed",
        )
        check_seed(self.seed)
        names = None if self.lead_names is None else tuple(self.lead_names)
        options = ReadOptions(unit=self.unit, lead_names=names, layout=self.layout)
        object.__setattr__(self, "lead_names", options.lead_names)
        object.__setattr__(self, "missing", tuple(self.missing))


@dataclass(frozen=True)
class WindowFiles:
    """A file of labelled windows and how it is read: the arguments of `read_dataset`."""

    path: str | Path
    label: str | None = None
    labels: Sequence[str] | None = None
    group: str | None = None
    sampling_rate: float | None = None
    lead: str | None = None
    settings: WindowSettings = field(default_factory=WindowSettings)

    def plain(self) -> dict[str, Any]:
        """The files as `Source.reading`: what is not the default, as plain values."""
        paths = ("path", "val_file", "test_file")
        own = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "settings"}
        values = own | {item.name: getattr(self.settings, item.name) for item in fields(self.settings)}
        values |= {name: os.path.realpath(values[name]) for name in paths if values[name]}
        limit, seed, _ = (values.pop(name) for name in ("limit", "seed", "cache"))
        values["limit"] = None if limit is None else [limit, seed]
        return {"kind": "windows"} | {
            name: value for name, value in plain_values(values).items() if value not in (None, [], False)
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> WindowFiles:
        """The files of `plain`, without their limit."""
        own = {item.name for item in fields(cls)}
        rest = {name: value for name, value in plain.items() if name not in {*own, "kind", "limit"}}
        return cls(**{name: plain[name] for name in own if name in plain}, settings=WindowSettings(**rest))


DEFAULTS = WindowSettings()


def read_dataset(
    path: str | Path,
    *,
    label: str | None = None,
    labels: Sequence[str] | None = None,
    group: str | None = None,
    sampling_rate: float | None = None,
    lead: str | None = None,
    settings: WindowSettings = DEFAULTS,
) -> Dataset:
    """Read labelled windows from a CSV or NPZ file.

    CSV: one window a row, `signal_0 ... signal_599,label`, plain or gzip, header optional. NPZ: `signal` (windows,
    samples) or (windows, leads, samples) and `label`. Both may have `patient` or `record`, and `split` (train, val,
    test); an NPZ also `sampling_rate` or `fs`, `leads` and `unit`.

    Parameters
    ----------
    label, group
        Names of columns. Defaults: `label`, else the only other column whose name may be one of labels (the last
        without a header), and `patient` before `record`. Labels have 2 to 50 values, numbers or text, and become
        indices into `classes`, which are sorted; of two the positive one is second.
    labels
        Names of several columns (CSV) or arrays (NPZ) of 0 and 1, one per label; empty, nan or -1 is missing. Of an NPZ
        with `label` (windows, labels) and `classes`, the labels to keep.
    sampling_rate
        Hz, 20 to 10,000; required unless the file states it.
    lead
        "I" to "V6": the lead of a file that does not state it ("II" by default), or the one to keep of several.
    settings
        Unit, missing labels, positive class, files of other splits, and more.

    Raises DataError, one line with file, row and column, for a file that cannot be used, and SettingError for an
    argument that is not allowed.
    """
    check_settings(settings, WindowSettings)
    return read_window_files(WindowFiles(path, label, labels, group, sampling_rate, lead, settings))


def read_window_files(given: WindowFiles) -> Dataset:
    """`read_dataset` of these files."""
    settings, sampling_rate = given.settings, given.sampling_rate
    asked = None if given.lead is None else lead_argument(given.lead)
    if sampling_rate is not None:
        check_rate(sampling_rate, "sampling rate")
    read = read_cached if settings.cache else read_uncached
    separator = settings.label_separator
    columns = WindowColumns(
        given.label,
        given.group,
        None if separator else _several(given.label, given.labels),
        lead_names=None if settings.lead_names is None else tuple(settings.lead_names),
        layout=settings.layout,
        drop_invalid=settings.drop_invalid,
        label_separator=separator,
        wanted=_several(None, given.labels) if separator else None,
        missing=tuple(settings.missing),
    )

    def windows_of(file: Path) -> Dataset:
        reader = window_reader(file)
        contents, _ = answered(
            lambda: read(file, columns, settings.unit),
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
        return _changing(dataset, settings.drop_invalid) if asked is not None and parsed.leads is not None else dataset

    by_split = files_by_split(given.path, settings.val_file, settings.test_file)
    files = {name: windows_of(file) for name, file in by_split.items()}
    dataset = joined(files, 0 if separator else MISSING) if len(files) > 1 else files["train"]
    dataset = dataset.with_positive(settings.positive)
    reading = replace(given, settings=replace(settings, limit=None)).plain()
    dataset = replace(dataset, source=replace(dataset.source, reading=reading))
    return dataset if settings.limit is None else limited(dataset, settings.limit, settings.seed)


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
