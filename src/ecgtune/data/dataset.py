"""`Dataset`, the one form in which windows travel through the house, and `read_dataset`, which makes one of a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.data.cache import read_cached, read_uncached
from ecgtune.data.leads import channel_of, lead_argument
from ecgtune.data.seeds import check_seed
from ecgtune.data.subset import representative_rows
from ecgtune.data.tasks import MISSING, Task, strata, task_of
from ecgtune.data.window_files import Columns
from ecgtune.errors import DataError, SettingError

LOWEST_RATE, HIGHEST_RATE = 20.0, 10_000.0
"""Hz. Below 20 Hz a QRS complex is gone; above 10 kHz a number is more likely a slip (Hz for kHz)."""


@dataclass(frozen=True)
class Source:
    """Where windows came from: the path (or one phrase, for simulated ones) and the sha256 of the file.

    Of windows that were cut from recordings also: `signal_path`, how that was done, as plain values; `split_origin`,
    where `Dataset.split` came from, in a phrase; `notes`, what a reader of any table made from them must know; `twins`,
    pairs of recordings with the same signal.
    """

    path: str
    sha256: str
    signal_path: Mapping[str, Any] | None = None
    split_origin: str | None = None
    notes: tuple[str, ...] = ()
    twins: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled windows of one recording setting.

    `signal` float32 (windows, leads, samples), possibly a read-only memory map, in millivolts when `unit` is "mV", as
    the file had it when "unknown"; `label` int64 (windows,), index into `classes`, or for windows that may have several
    labels int8 (windows, labels) of 1, 0 and -1 (missing, which is not negative), with the labels' names as `classes`;
    `sampling_rate` in Hz; `leads` names; `group` (windows,) identifiers of who or what was recorded, or None, and
    `group_name` the kind of group ("patient", "record"); `split` (windows,) "train" / "val" / "test" as the file says,
    or None. Windows that were cut from recordings also have `recording` (windows,), the identifier of each one's, and,
    where the table of labels says it, `site` (windows,), where it was recorded.

    Raises DataError for arrays that do not fit each other. The samples are not looked at, so that a memory map stays
    on disk: `Preprocessing` refuses what is not finite.
    """

    signal: NDArray[np.float32]
    label: NDArray[np.int64] | NDArray[np.int8]
    classes: tuple[str, ...]
    sampling_rate: float
    leads: tuple[str, ...]
    unit: str
    group: NDArray[np.str_] | None
    group_name: str | None
    split: NDArray[np.str_] | None
    source: Source
    recording: NDArray[np.str_] | None = None
    site: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        _check_arrays(self)
        check_rate(self.sampling_rate, f"{self.source.path}: sampling rate")

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.signal)

    @property
    def task(self) -> Task:
        """ "binary" (two classes), "multiclass" (more than two) or "multilabel" (each of `classes` is 0, 1 or -1)."""
        return task_of(self.label, self.classes)

    def pooled(self, rows: NDArray[np.integer]) -> NDArray[np.str_] | None:
        """The recording of each of `rows` where their group may have several of them (a patient), else None."""
        if self.recording is None or self.group is None or np.array_equal(self.recording, self.group):
            return None
        return self.recording[rows]

    @property
    def samples(self) -> int:
        """Samples per lead in one window."""
        return self.signal.shape[2]

    def select(self, rows: ArrayLike) -> "Dataset":
        """The windows `rows` (indices or a mask), in that order, copied into memory."""
        chosen = np.asarray(rows)
        return replace(
            self,
            signal=np.asarray(self.signal[chosen]),
            label=self.label[chosen],
            group=None if self.group is None else self.group[chosen],
            split=None if self.split is None else self.split[chosen],
            recording=None if self.recording is None else self.recording[chosen],
            site=None if self.site is None else self.site[chosen],
        )


def read_dataset(
    path: str | Path,
    *,
    sampling_rate: float | None = None,
    label: str | None = None,
    labels: Sequence[str] | None = None,
    group: str | None = None,
    lead: str | None = None,
    unit: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    cache: bool = True,
) -> Dataset:
    """Read labelled windows from a CSV or NPZ file.

    CSV: one window a row, `signal_0 ... signal_599,label`, plain or gzip, header optional; NPZ: `signal` (windows,
    samples) or (windows, leads, samples) and `label`. Both may have `patient` / `record` (who was recorded), `split`
    (train, val, test); an NPZ also `sampling_rate` or `fs`, `leads` and `unit`.

    `sampling_rate` (Hz, 20 to 10,000) must be given or be in the file, and is never guessed. `label` and `group` name
    columns; without a name the label is `label` or the last column, and the group is `patient` before `record`. `lead`
    ("I" to "V6") names the one lead of a file that does not say, which is "II" otherwise, and picks one lead of a file
    that has several; without it all are kept. `unit` ("mV", "uV", "V") is the file's unit; signals become
    millivolts, or stay as they are with `unit == "unknown"`. Labels have two values or more (50 at most), numbers or
    text, and become indices into the sorted `classes`.

    `labels` names several columns (CSV) or arrays (NPZ) of 0 and 1 instead, one per label; what is empty, nan or -1 is
    missing. An NPZ may also hold `label` (windows, labels) with their names as `classes`; `labels` then picks some.

    `limit` keeps that many windows: the same for the same seed, with the shares of the labels and of the file's
    splits, whole groups at a time (one group per label and split may be cut to meet the number).

    The first read of a file fills a cache (`$ECGTUNE_CACHE`, else the platform's cache folder); later reads map it.

    Raises DataError, one line with file, row and column, for a file that cannot be used, and SettingError for an
    argument that is not allowed.
    """
    if limit is not None and limit < 2:
        raise SettingError(f"limit {limit} is too small; at least 2 windows are needed")
    check_seed(seed)
    asked = None if lead is None else lead_argument(lead)
    if sampling_rate is not None:
        check_rate(sampling_rate, "sampling rate")
    read = read_cached if cache else read_uncached
    contents = read(Path(path), Columns(label, group, _several(label, labels)), unit)
    parsed = contents.parsed
    signal, leads = _leads(path, contents.signal, parsed.leads, asked)
    dataset = Dataset(
        signal=signal,
        label=parsed.label,
        classes=parsed.classes,
        sampling_rate=rate_of_file(path, parsed.sampling_rate, sampling_rate),
        leads=leads,
        unit=parsed.unit,
        group=parsed.group,
        group_name=parsed.group_name,
        split=parsed.split,
        source=Source(str(path), contents.sha256),
    )
    return dataset if limit is None else limited(dataset, limit, seed)


def limited(dataset: Dataset, limit: int, seed: int = 0) -> Dataset:
    """`limit` windows of a dataset, as `read_dataset` keeps them; the dataset itself when it has no more.

    Raises SettingError for fewer than 2 or a negative seed.
    """
    if limit < 2:
        raise SettingError(f"limit {limit} is too small; at least 2 windows are needed")
    check_seed(seed)
    if limit >= len(dataset):
        return dataset
    return dataset.select(representative_rows(strata(dataset.label), dataset.group, dataset.split, limit, seed))


def _several(label: str | None, labels: Sequence[str] | None) -> tuple[str, ...] | None:
    """The names of several label columns, each once. Raises SettingError."""
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


def _check_arrays(dataset: Dataset) -> None:
    """Shapes, lengths, types and labels. Raises DataError."""
    what = dataset.source.path
    signal, label = dataset.signal, dataset.label
    if signal.dtype != np.float32 or signal.ndim != 3 or 0 in signal.shape[1:]:
        raise DataError(
            f"{what}: the signal is {signal.dtype} of shape {signal.shape}; float32 of (windows, leads, samples) is"
            " needed"
        )
    if isinstance(dataset.leads, str) or len(dataset.leads) != signal.shape[1]:
        raise DataError(f"{what}: leads {dataset.leads!r} do not name the {signal.shape[1]} leads of the signal")
    of_window = label[:, 0] if label.ndim == 2 else label
    for name, values in (("label", of_window), ("group", dataset.group), ("split", dataset.split)):
        if values is not None and values.shape != (len(signal),):
            raise DataError(f"{what}: {name} has shape {values.shape}; ({len(signal)},), one per window, is needed")
    if label.ndim == 2:
        _check_several(dataset)
        return
    if label.dtype != np.int64:
        raise DataError(f"{what}: labels are {label.dtype}; int64 indices into classes are needed, label.astype(int)")
    wrong = np.flatnonzero((label < 0) | (label >= len(dataset.classes)))
    if len(wrong):
        raise DataError(
            f"{what}: window {wrong[0]} has label {label[wrong[0]]}; allowed are 0 to {len(dataset.classes) - 1},"
            f" indices into the classes {', '.join(dataset.classes)}"
        )


def _check_several(dataset: Dataset) -> None:
    """Labels (windows, labels). Raises DataError."""
    what, label = dataset.source.path, dataset.label
    if label.dtype != np.int8 or label.shape[1] != len(dataset.classes):
        raise DataError(
            f"{what}: labels are {label.dtype} of shape {label.shape}; int8 ({len(dataset)}, {len(dataset.classes)}),"
            " one per window and name in classes, is needed"
        )
    wrong = np.argwhere((label < MISSING) | (label > 1))
    if len(wrong):
        window, column = wrong[0]
        raise DataError(
            f"{what}: window {window} has label {label[window, column]} for {dataset.classes[column]}; allowed are 1, 0"
            f" and {MISSING} (missing)"
        )


def _leads(
    path: str | Path, signal: NDArray[np.float32], in_file: tuple[str, ...] | None, asked: str | None
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """The signal and its leads: all that the file has, or the one that was asked for."""
    if in_file is None:
        return signal, (asked or "II",)
    if asked is None:
        return signal, in_file
    channel = channel_of(path, in_file, asked)
    chosen = signal[:, channel]
    flat = np.flatnonzero(chosen.min(axis=1) == chosen.max(axis=1))  # among several leads a flat one is allowed
    if len(flat):
        raise DataError(
            f"{path}: window {flat[0]}: all samples of lead {asked} are equal, and so in {len(flat)} of {len(signal)}"
            " windows; remove these windows or name another lead"
        )
    return chosen[:, None], (asked,)


def rate_of_file(path: str | Path, in_file: float | None, given: float | None) -> float:
    """The rate (Hz) that a file states or the caller gives. Raises DataError for neither, or two that differ."""
    if in_file is not None:
        check_rate(in_file, f"{path}: its sampling rate")
        if given is not None and given != in_file:
            raise DataError(
                f"{path}: says that its sampling rate is {in_file:g} Hz, but {given:g} Hz was given; leave"
                " the sampling rate out or correct the file"
            )
        return in_file
    if given is None:
        raise DataError(
            f"{path}: the file does not say its sampling rate, and it is never guessed; give it, for"
            " example --sampling-rate 100 (Hz)"
        )
    return float(given)


def check_rate(rate: float, what: str) -> None:
    """Raise DataError for a rate (Hz) at which no ECG is recorded; `what` starts the message."""
    if not isfinite(rate) or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise DataError(f"{what} {rate:g} Hz is not allowed; between {LOWEST_RATE:g} and {HIGHEST_RATE:g} Hz is")
