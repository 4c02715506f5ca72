"""The interface of a file format, and helpers that all readers share: lead names, units, rates, sizes.

A reader returns what a file states. A rate, unit or lead name that is missing or unknown is never guessed: the error
names the flag that gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import separate
from ecgtune.config.reading import UNITS, ReadSettings
from ecgtune.data.dataset import HIGHEST_RATE, LOWEST_RATE
from ecgtune.data.leads import STANDARD_LEADS, known_lead
from ecgtune.errors import DataError, QuestionError, SettingError
from ecgtune.text import reason_of, shown
from ecgtune.utils.formatting import counted

LEFT_OUT = "-"  # given as the lead name of a channel that is not read
_DASHES = ("\N{MINUS SIGN}", "\N{EN DASH}")  # a minus from the command line (`cli.app`), and one from a web page
MOST_CHANNELS = 16  # of a usual recording: an array with more rows, and fewer columns, is taken for a transposed one
#: Larger samples, in millivolts, are cut to this one: float32 holds their sums and differences, and no ECG has them.
LARGEST = 1e30
_FACTOR = {"mv": 1.0, "millivolt": 1.0, "uv": 1e-3, "microvolt": 1e-3, "v": 1e3, "volt": 1e3, "nv": 1e-6}

MAX_TEXT = 200  # characters of a label or identifier; one long cell would make every row of a text array as long


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording.

    signal: float32 (leads, samples) in millivolts, NaN where the file marks a sample as invalid. leads: names of
    `data.leads.STANDARD_LEADS`, each once. sampling_rate: Hz. path: the file it was read from. notes: what a user of
    the signal must know, such as channels that were left out or an implausible amplitude.
    """

    signal: NDArray[np.float32]
    leads: tuple[str, ...]
    sampling_rate: float
    path: str
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Duration of the recording."""
        return self.signal.shape[1] / self.sampling_rate


@dataclass(frozen=True, kw_only=True)
class ReadOptions(ReadSettings):
    """The settings, checked; a file that states another value is refused.

    leads (--leads): those that are needed; a channel of unknown name is left out when the file has all of them.
    max_values: largest number of values (leads x samples) read from a file; memory peaks at up to 40 bytes for each.
    Raises SettingError.
    """

    leads: tuple[str, ...] | None = None
    max_values: int = 1 << 24

    @classmethod
    def of(cls, settings: ReadSettings) -> ReadOptions:
        """The options of settings that have others beside them."""
        return cls(**{item.name: getattr(settings, item.name) for item in fields(ReadSettings)})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lead_names is not None:
            names = tuple(LEFT_OUT if name in _DASHES else name for name in self.lead_names)
            object.__setattr__(self, "lead_names", names)
        names = [known_lead(name) or name for name in self.lead_names or () if name != LEFT_OUT]
        allowed = f"{', '.join(STANDARD_LEADS)}, or {LEFT_OUT} to leave a channel out"
        for name in names:
            if name not in STANDARD_LEADS:
                hint = separate(name, (*STANDARD_LEADS, LEFT_OUT))
                raise SettingError(f"lead_names has {name!r}; allowed: {allowed}{hint}")
            if names.count(name) > 1:
                raise SettingError(f"lead_names has {name} twice; each channel must be another lead")


@dataclass(frozen=True)
class WindowColumns:
    """Names of the columns (CSV) or arrays (NPZ) that the caller gives; None: the usual names are searched.

    label: one class per window. labels: several columns of 0, 1 or nothing, one per label. group: patients or
    recordings. labelled: False to ignore labels and splits. lead_names, layout: as in `ReadOptions`. drop_invalid:
    leave out windows with samples that are no number, and those in which no lead changes. label_separator: between
    several labels in the one column, of which `wanted` are used, or all. missing: labels that mean a missing one.
    samples: of a window, by which a label at the end of the rows is known in a file without header that is read without
    labels.
    """

    label: str | None = None
    group: str | None = None
    labels: tuple[str, ...] | None = None
    labelled: bool = True
    lead_names: tuple[str, ...] | None = None
    layout: str | None = None
    drop_invalid: bool = False
    label_separator: str | None = None
    wanted: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    samples: int | None = None


@dataclass(frozen=True)
class WindowHeader:
    """Facts that a file states about all of its windows; None where it states none.

    place: the format's word for the position of a window ("row" of a CSV, "window" of an array). sample: the name of
    sample j of lead i in the file, for error messages. labels: names of several 0/1 labels, None for one class each.
    notes: on what was assumed.
    """

    leads: tuple[str, ...] | None
    sampling_rate: float | None
    unit: str | None
    group_name: str | None
    place: str
    sample: Callable[[int, int], str]
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class WindowBlock:
    """Some windows of a file.

    signal: float32 (windows, leads, samples) in the file's unit. row: position of each window in the file (lines count
    from 1, array indices from 0). label: text (windows,), or (windows, labels) for the labels of the header. group,
    split: text (windows,).
    """

    signal: NDArray[np.float32]
    row: NDArray[np.int64]
    label: NDArray[np.str_]
    group: NDArray[np.str_] | None
    split: NDArray[np.str_] | None

    @classmethod
    def of_array(
        cls,
        values: NDArray[Any],
        first: int,
        label: NDArray[np.str_],
        group: NDArray[np.str_] | None,
        split: NDArray[np.str_] | None,
    ) -> Self:
        """The windows of an array from row `first` on; the other arrays have all rows."""
        rows = slice(first, first + len(values))
        with np.errstate(over="ignore"):  # too large for float32: infinite, and refused as such later
            signal = np.ascontiguousarray(values, dtype=np.float32)
        parts = (None if each is None else each[rows] for each in (group, split))
        return cls(signal, np.arange(rows.start, rows.stop, dtype=np.int64), label[rows], *parts)


@dataclass(frozen=True)
class FileReader:
    """One file format: see `registry.register_reader` for one of your own.

    name: for messages. suffixes: of recordings, lower case. signatures: (offset, bytes) by which the content is known
    whatever the suffix is; recognises: the same as a function of the first 256 bytes. read_recording: one recording.
    files: all files that a recording consists of; parts: those among them that are also recordings of their own.
    members: names of the recordings in a file of many, None for a file of one; FILE/NAME is the path of one of them.
    parts_of_time: whether `read_recording` reads only the part between `options.start` and `options.stop`.
    window_suffixes, open_windows: for formats that also hold windows; blocks are of bounded size. windows_state_facts:
    whether a file of windows can state its sampling rate and unit.
    """

    name: str
    suffixes: tuple[str, ...]
    read_recording: Callable[[Path, ReadOptions], Recording]
    signatures: tuple[tuple[int, bytes], ...] = ()
    files: Callable[[Path], tuple[Path, ...]] = lambda path: (path,)
    parts: Callable[[Path], tuple[Path, ...]] = lambda path: ()
    recognises: Callable[[bytes], bool] = lambda start: False
    members: Callable[[Path], tuple[str, ...] | None] = lambda path: None
    parts_of_time: bool = False
    window_suffixes: tuple[str, ...] = ()
    open_windows: Callable[[Path, WindowColumns], tuple[WindowHeader, Generator[WindowBlock]]] | None = None
    windows_state_facts: bool = True


@dataclass(frozen=True)
class Remarks:
    """Notes about a recording that is read, and the units of its channels; dictionaries as ordered sets."""

    notes: dict[str, None] = field(default_factory=dict)
    units: dict[str, None] = field(default_factory=dict)


_REMARKS: ContextVar[Remarks | None] = ContextVar("remarks", default=None)


@contextmanager
def collected_remarks() -> Iterator[Remarks]:
    """Yield the remarks to which the helpers below add while the body reads a recording."""
    remarks = Remarks()
    token = _REMARKS.set(remarks)
    try:
        yield remarks
    finally:
        _REMARKS.reset(token)


def note(text: str) -> None:
    """Add a note to the recording that is read. Equal texts of several recordings are counted together."""
    remarks = _REMARKS.get()
    if remarks is not None:
        remarks.notes[text] = None


@contextmanager
def one_line_errors(path: Path, name: str) -> Iterator[None]:
    """Raise DataError, one line that names the file, for any error of the body: damaged files fail in any library."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{path}: cannot be read ({error.strerror}); check path and permissions") from error
        raise DataError(
            f"{path}: cannot be read as {name} ({reason_of(error)}); it is damaged, or of a kind that is not read"
        ) from error


def decoded(content: bytes) -> str:
    """Return text in UTF-8, with or without a byte-order mark, or else in Latin-1: no character is dropped."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def swapped_axes(path: Path, shape: tuple[int, int], named: int | None, layout: str | None) -> bool:
    """Whether the last two axes of an array, of this shape, are (samples, leads).

    named: number of leads that the file names. Raises DataError for an array that looks so while no `layout` is given.
    """
    if layout is not None:
        return layout == "NTC"
    if named != shape[0] and (named == shape[1] or shape[0] > MOST_CHANNELS >= shape[1]):
        raise QuestionError(
            path,
            f"the signal looks transposed, {shape[0]} leads of {counted(shape[1], 'sample')}; give --layout NTC to read"
            f" {counted(shape[1], 'lead')} of {shape[0]} samples, or --layout NCT to read it as it is",
        )
    return False


def millivolt_factor(path: Path, unit: str | None, given: str | None) -> float:
    """Return the factor to millivolts from the file's unit, or the one given. Raises DataError for none or two."""
    stated = None if unit is None or not unit.strip() else unit.strip().casefold().replace("µ", "u").replace("μ", "u")
    factor = None if stated is None else _FACTOR.get(stated, _FACTOR.get(stated.removesuffix("s")))
    given_factor = None if given is None else _FACTOR[given.casefold()]
    if factor is not None and given_factor is not None and factor != given_factor:
        raise DataError(f"{path}: says that its unit is {unit}, but --unit says {given}; leave the flag out")
    if factor is None and given_factor is None:
        got = "does not say its unit" if stated is None else f"its unit {shown(unit)} is unknown"
        raise QuestionError(path, f"{got}; give it with --unit ({', '.join(UNITS)})")
    remarks = _REMARKS.get()
    if remarks is not None:
        remarks.units[f"{unit} (stated by the file)" if factor is not None else f"{given} (--unit)"] = None
    return factor if factor is not None else given_factor  # type: ignore[return-value]


def stated_rate(path: Path, in_file: float | None, given: float | None) -> float:
    """Return the sampling rate (Hz) of the file, or the one given. Raises DataError for none, two or that of no ECG."""
    rate = in_file if in_file is not None else given
    if rate is None:
        raise QuestionError(path, "does not say its sampling rate; give it, for example --sampling-rate 500 (Hz)")
    if given is not None and rate != given:
        raise DataError(
            f"{path}: says that its sampling rate is {rate:g} Hz, but --sampling-rate says {given:g}; "
            "leave the flag out"
        )
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        allowed = f"an ECG has {LOWEST_RATE:g} to {HIGHEST_RATE:g} Hz"
        raise DataError(f"{path}: its sampling rate is {rate:g} Hz; {allowed}, the file or the flag is wrong")
    return float(rate)


#: What to do with a long recording in a format that cannot be read in parts.
SAVE_LONG = "save it as WFDB, EDF, NPY or HDF5, which are cut into windows piece by piece, or as shorter recordings"


def check_bytes(path: Path, most: int) -> None:
    """Raise DataError for a file of more than `most` bytes."""
    size = path.stat().st_size
    if size > most:
        raise DataError(f"{path}: has {size} bytes; at most {most} are read of this format; {SAVE_LONG}")


def check_size(path: Path, leads: int, samples: int, options: ReadOptions) -> None:
    """Raise DataError, before memory is taken, for a recording without samples or of more than `max_values`."""
    if samples < 1 or leads < 1:
        raise DataError(
            f"{path}: holds {counted(max(samples, 0), 'sample')} of {counted(leads, 'lead')}; at least one of each "
            "is needed"
        )
    if leads * samples > options.max_values:
        raise DataError(
            f"{path}: holds {samples} samples of {counted(leads, 'lead')}, {leads * samples} values; at most "
            f"{options.max_values} "
            f"are read at once; {SAVE_LONG}"
        )


class LongRecordingError(DataError):
    """A recording of more values than are read at once; its facts, by which it can be read in parts."""

    def __init__(self, message: str, leads: tuple[str, ...], sampling_rate: float, seconds: float) -> None:
        super().__init__(message)
        self.leads, self.sampling_rate, self.seconds = leads, sampling_rate, seconds


def chosen_part(
    path: Path, leads: Mapping[str, int], samples: int, rate: float, options: ReadOptions, per_frame: int = 1
) -> tuple[dict[str, int], slice]:
    """Return the leads and the samples to read: those of `options`, before memory is taken.

    per_frame: values of a lead in a sample. Leads that `options.leads` does not need are left out where all of them
    would be more than `max_values`. Raises DataError for no sample, LongRecordingError for too many.
    """
    part = time_span(path, samples, rate, options)
    most = options.max_values // ((part.stop - part.start) * per_frame)
    if len(leads) > most and options.leads is not None:
        needed = options.leads if set(options.leads) <= set(leads) else (*options.leads, "I", "II")  # or derived
        leads = {lead: channel for lead, channel in leads.items() if lead in needed} or leads
    if len(leads) > most:
        count = (part.stop - part.start) * per_frame
        raise LongRecordingError(
            f"{path}: holds {count} samples of {counted(len(leads), 'lead')}, {len(leads) * count} values; at most "
            f"{options.max_values} are read at once; read a part of it with --from and --to (seconds)",
            tuple(leads),
            rate * per_frame,
            (part.stop - part.start) / rate,
        )
    return dict(leads), part


def time_span(path: Path, samples: int, rate: float, options: ReadOptions) -> slice:
    """Return the samples between `options.start` and `options.stop`. Raises DataError for none."""
    start = min(round((options.start or 0) * rate), samples)
    stop = samples if options.stop is None else min(round(options.stop * rate), samples)
    if stop <= start:
        asked = options.start is not None or options.stop is not None
        what = f"lasts {samples / rate:g} s, and nothing of it lies" if asked else "holds 0 samples"
        raise DataError(f"{path}: {what}{' between --from and --to' if asked else ''}; at least one is needed")
    return slice(start, stop)


def in_millivolts(
    values: NDArray[Any], factor: float = 1.0, missing: NDArray[np.bool_] | bool | None = None
) -> NDArray[np.float32]:
    """Return samples times `factor` as float32; those beyond `LARGEST` are cut to it, and the amplitude is noted later.

    missing: which infinite `values` are missing samples and become NaN; None: all. False for values that were computed
    from whole numbers: an infinite one is only too large.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        result = np.ascontiguousarray(values if factor == 1 else values * np.float64(factor), dtype=np.float32)
    beyond = np.abs(result) > LARGEST
    if not beyond.any():
        return result
    missing = np.isinf(values) if missing is None else missing
    cut = np.where(missing, np.float32(np.nan), np.copysign(np.float32(LARGEST), result))
    return np.where(beyond, cut, result)


def make_recording(path: Path, rows: Sequence[NDArray] | NDArray, leads: Sequence[str], rate: float) -> Recording:
    """Return the rows (leads, samples) in millivolts as a Recording, by `in_millivolts`."""
    return Recording(in_millivolts(np.asarray(rows)), tuple(leads), rate, str(path))


def missing_library(library: str, extra: str, path: Path) -> DataError:
    """Return the error for a format whose library is not installed."""
    return DataError(f"{path}: needs the library {library}, which is not installed; pip install 'ecgtune[{extra}]'")
