"""`Dataset`: labelled windows with their metadata."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.config.base import check_seed
from ecgtune.data.leads import channel_of, lead_argument
from ecgtune.data.positive import BY_POSITION, POSITIVE, positive_second, positive_sentence
from ecgtune.data.sampling import representative_rows
from ecgtune.data.tasks import MISSING, Task, strata, task_of
from ecgtune.errors import DataError, SettingError
from ecgtune.text import name_problem, shown
from ecgtune.utils.formatting import counted

LOWEST_RATE, HIGHEST_RATE = 20.0, 10_000.0
"""Hz. Below 20 Hz a QRS complex is lost; above 10 kHz a number is more likely a mistake (Hz for kHz)."""


@dataclass(frozen=True)
class Source:
    """Source of windows: the path (or a phrase, for simulated ones) and the sha256 of the file.

    reading: how they were read, as plain values for `io.again.read_again`; None for arrays of a Python session.
    near_duplicates: pairs of recordings, else of groups, with the same signal; None where they were not searched for.

    Of windows that were cut from recordings also: signal_path: its settings as plain values. split_origin: a phrase
    about the source of `Dataset.split`. notes: limits of all results from them. positive: the reason for the choice of
    the positive class of two, as a phrase.
    """

    path: str
    sha256: str
    signal_path: Mapping[str, Any] | None = None
    split_origin: str | None = None
    notes: tuple[str, ...] = ()
    near_duplicates: tuple[tuple[str, str], ...] | None = None
    positive: str = BY_POSITION
    reading: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "reading", plain_values(self.reading))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled windows with the same leads, rate and length.

    signal: float32 (windows, leads, samples), possibly a read-only memory map; in millivolts when `unit` is "mV", as in
    the file when "unknown". label: int64 (windows,), index into `classes`, or int8 (windows, labels) of 1, 0 and -1
    (missing, which is not negative) with the labels' names as `classes`. Of two classes the second is the positive one
    (`with_positive`). sampling_rate: Hz. group: (windows,)
    identifiers of patients or recordings, or None; group_name: the kind of group ("patient", "record"). split:
    (windows,) "train", "val", "test" of the file, or None. recording, site: (windows,) identifiers, for windows that
    were cut from recordings, and for tables of labels that name sites. recorded: (windows,) text on the recording of
    each window as it was recorded: "rate", "length" and "leads"; empty for files of windows.

    Raises DataError for arrays that do not fit each other. Samples are not read, so that a memory map stays on disk:
    `Preprocessing` refuses values that are not finite.
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
    recorded: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_arrays(self)
        check_rate(self.sampling_rate, f"{self.source.path}: sampling rate")

    def __repr__(self) -> str:
        windows, leads, samples = self.signal.shape
        size = f"{counted(windows, 'window')} of {counted(leads, 'lead')} and {samples} samples"
        groups = "" if self.group is None else f", {counted(len(np.unique(self.group)), self.group_name or 'group')}"
        classes = ", ".join(self.classes)
        return f"Dataset({size} at {self.sampling_rate:g} Hz, {self.task}: {classes}{groups}, from {self.source.path})"

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.signal)

    @property
    def task(self) -> Task:
        """ "binary" (two classes), "multiclass" (more than two) or "multilabel" (each of `classes` is 0, 1 or -1)."""
        return task_of(self.label, self.classes)

    @property
    def positive(self) -> str | None:
        """Name of the positive class of two; None for more classes, or for labels."""
        return self.classes[POSITIVE] if self.task == "binary" else None

    @property
    def positive_sentence(self) -> str:
        """One line on the positive class and its choice; "" for more than two classes, or for labels."""
        return "" if self.positive is None else positive_sentence(self.positive, self.source.positive, self.classes[0])

    def with_positive(self, name: str | None = None) -> "Dataset":
        """Return the dataset with the positive class of two in the second place of `classes`.

        name: of the positive class; None to choose it (`data.positive.choose_positive`). Raises SettingError for a name
        that is not among the classes, or with more classes or labels.
        """
        if self.task != "binary":
            if name is None:
                return self
            raise SettingError(
                f"--positive {name}: each of the {len(self.classes)} classes or labels has its own metrics; leave the"
                " flag out"
            )
        label, classes, reason = positive_second(self.label.astype(np.int64, copy=False), self.classes, name)
        return replace(self, label=label, classes=classes, source=replace(self.source, positive=reason))

    def with_leads(self, leads: tuple[str, ...]) -> "Dataset":
        """Return the dataset with some of its leads, in that order; a memory map stays one where they are adjacent.

        Raises DataError for a lead that the windows do not have, SettingError for one that is given twice.
        """
        if leads == self.leads:
            return self
        names = tuple(lead_argument(lead) for lead in leads)
        if len(set(names)) != len(names):
            raise SettingError(f"a lead is given twice in {', '.join(leads)}; name each lead once")
        rows = [channel_of(self.source.path, self.leads, name) for name in names]
        adjacent = rows == list(range(rows[0], rows[0] + len(rows)))
        chosen = slice(rows[0], rows[0] + len(rows)) if adjacent else rows
        return replace(self, signal=self.signal[:, chosen], leads=names)

    def pooled(self, rows: NDArray[np.integer]) -> NDArray[np.str_] | None:
        """Return the recording of each of `rows` where a group (a patient) may have several, else None."""
        if self.recording is None or self.group is None or np.array_equal(self.recording, self.group):
            return None
        return self.recording[rows]

    @property
    def samples(self) -> int:
        """Samples per lead in one window."""
        return self.signal.shape[2]

    def select(self, rows: ArrayLike) -> "Dataset":
        """Return the windows `rows` (indices or a mask), in that order, copied into memory."""
        names = ("label", "group", "split", "recording", "site")
        arrays = {name: values for name in names if (values := getattr(self, name)) is not None}
        rows = np.asarray(rows)
        chosen = {name: values[rows] for name, values in arrays.items()}
        recorded = {name: values[rows] for name, values in self.recorded.items()}
        return replace(self, signal=np.asarray(self.signal[rows]), recorded=recorded, **chosen)


def plain_values(value: Any) -> Any:
    """`value` as JSON holds it: NumPy's numbers and arrays, tuples and paths may be among a caller's arguments."""
    if isinstance(value, Mapping):
        return {name: plain_values(part) for name, part in value.items()}
    if isinstance(value, (tuple, list, np.ndarray)):
        return [plain_values(part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def limited(dataset: Dataset, limit: int, seed: int = 0) -> Dataset:
    """Return `limit` windows of a dataset, drawn as by `read_dataset`; the dataset itself when it has no more.

    Raises SettingError for fewer than 2 or a negative seed.
    """
    if limit < 2:
        raise SettingError(f"limit {limit} is too small; at least 2 windows are needed")
    check_seed(seed)
    if limit >= len(dataset):
        return dataset
    chosen = dataset.select(representative_rows(strata(dataset.label), dataset.group, dataset.split, limit, seed))
    reading = dataset.source.reading
    if reading is None:
        return chosen
    return replace(chosen, source=replace(dataset.source, reading={**reading, "limit": [limit, seed]}))


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
        raise DataError(
            f"{what}: leads {dataset.leads!r} do not name the {counted(signal.shape[1], 'lead')} of the signal"
        )
    for name in map(str, dataset.classes):
        if problem := name_problem(name):
            raise DataError(f"{what}: label {shown(name)} {problem}")
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


def check_rate(rate: float, what: str) -> None:
    """Raise DataError for a rate (Hz) outside of 20 to 10,000; `what` starts the message."""
    if not isfinite(rate) or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise DataError(f"{what} {rate:g} Hz is not allowed; between {LOWEST_RATE:g} and {HIGHEST_RATE:g} Hz is")
