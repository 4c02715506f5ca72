"""What every reader of one recording gives, and what the readers share: the answers of the user, units, rates, sizes.

A reader takes the path of one recording and gives its ECG leads by name, in millivolts, at the file's own rate. What a
file does not say, or says in a word that nobody knows, is never guessed: the error names the flag that answers it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.leads import STANDARD_LEADS, known_lead
from ecgtune.errors import DataError, SettingError
from ecgtune.utils.text import shown

LEFT_OUT = "-"  # in the place of a lead's name: a channel that is not wanted
UNNAMED = "II"  # the one lead of a file that does not say which, as in a file of windows
UNITS = ("mV", "uV", "V", "nV")
_FACTOR = {"mv": 1.0, "millivolt": 1.0, "uv": 1e-3, "microvolt": 1e-3, "v": 1e3, "volt": 1e3, "nv": 1e-6}


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording: `signal` float32 (leads, samples) in millivolts, NaN where the file marks a sample as invalid.

    leads: names of `data.leads.STANDARD_LEADS`, each once. sampling_rate: Hz. path: the file it was read from.
    """

    signal: NDArray[np.float32]
    leads: tuple[str, ...]
    sampling_rate: float
    path: str

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.signal.shape[1] / self.sampling_rate


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about files that do not say it themselves; a file that says something else is refused.

    sampling_rate (--sampling-rate): Hz. unit (--unit): "mV", "uV", "V" or "nV". lead_names (--lead-names): of the
    file's channels in order, "-" for a channel to leave out. ignore_checksums (--ignore-checksums): read a file whose
    samples do not have the checksum that its header states. max_values: leads x samples that are read at most; the
    peak of memory is up to 40 bytes for each. Raises SettingError.
    """

    sampling_rate: float | None = None
    unit: str | None = None
    lead_names: tuple[str, ...] | None = None
    ignore_checksums: bool = False
    max_values: int = 1 << 24

    def __post_init__(self) -> None:
        if self.sampling_rate is not None and not 0 < self.sampling_rate < math.inf:
            raise SettingError(f"sampling_rate {self.sampling_rate} is not allowed; above 0 (Hz) is needed")
        if self.unit is not None and self.unit.casefold() not in _FACTOR:
            raise SettingError(f"unit {self.unit!r} is unknown; allowed: {', '.join(UNITS)}")
        names = [known_lead(name) or name for name in self.lead_names or () if name != LEFT_OUT]
        allowed = f"{', '.join(STANDARD_LEADS)}, or {LEFT_OUT} to leave a channel out"
        for name in names:
            if name not in STANDARD_LEADS:
                raise SettingError(f"lead_names has {name!r}; allowed: {allowed}")
            if names.count(name) > 1:
                raise SettingError(f"lead_names has {name} twice; each channel must be another lead")


@dataclass(frozen=True)
class Reader:
    """One file format: its name, the suffixes it goes by, `read`, and `files`: all that a recording consists of."""

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, ReadOptions], Recording]
    files: Callable[[Path], tuple[Path, ...]] = lambda path: (path,)


def wanted_leads(path: Path, names: Sequence[str | None], options: ReadOptions) -> dict[str, int]:
    """Lead to channel, in the file's order, of the channels that are leads; None stands for a channel without a name.

    A lone channel without a name, or with one that only says "ECG", is lead II unless `lead_names` says otherwise.
    Raises DataError for unknown names, a name that stands there twice, and a `lead_names` that does not fit the file.
    """
    found = [known_lead(name) if name is not None else None for name in names]
    if options.lead_names is not None:
        found = _answered(path, names, found, options.lead_names)
    elif len(names) == 1 and (names[0] is None or names[0].strip().casefold() in ("", "ecg", "ekg")):
        found = [UNNAMED]
    leads: dict[str, int] = {}
    for channel, lead in enumerate(found):
        if lead == LEFT_OUT:
            continue
        if lead is None:
            got = "has no name" if names[channel] is None else f"{shown(names[channel])} is no known lead"
            raise DataError(
                f"{path}: its channel {channel + 1} of {len(names)}, {got}; name the channels in order with "
                f"--lead-names (of {', '.join(STANDARD_LEADS)}, or {LEFT_OUT} to leave a channel out)"
            )
        if lead in leads:
            raise DataError(
                f"{path}: its channels {leads[lead] + 1} and {channel + 1} are both lead {lead}; name the channels in "
                f"order with --lead-names, {LEFT_OUT} for one to leave out"
            )
        leads[lead] = channel
    if not leads:
        raise DataError(f"{path}: none of its {len(names)} channels is a lead that is wanted; see --lead-names")
    return leads


def _answered(path: Path, names: Sequence[str | None], found: list[str | None], answer: tuple[str, ...]):
    if len(answer) != len(names):
        raise DataError(
            f"{path}: has {len(names)} channels, but --lead-names has {len(answer)} names; give one for each, "
            f"{LEFT_OUT} for a channel to leave out"
        )
    given = [LEFT_OUT if name == LEFT_OUT else known_lead(name) for name in answer]
    for channel, (told, lead) in enumerate(zip(found, given, strict=True)):
        if told is not None and lead not in (told, LEFT_OUT) and found.count(told) == 1:
            raise DataError(
                f"{path}: says that its channel {channel + 1} is lead {told}, but --lead-names says {lead}; "
                "leave the flag out, or correct it"
            )
    return given


def millivolts(path: Path, unit: str | None, options: ReadOptions) -> float:
    """What a sample in `unit` is multiplied with. Raises DataError for a unit that is unknown, or not told."""
    told = None if unit is None or not unit.strip() else unit.strip().casefold().replace("µ", "u").replace("μ", "u")
    factor = None if told is None else _FACTOR.get(told, _FACTOR.get(told.removesuffix("s")))
    answer = None if options.unit is None else _FACTOR[options.unit.casefold()]
    if factor is not None and answer is not None and factor != answer:
        raise DataError(f"{path}: says that its unit is {unit}, but --unit says {options.unit}; leave the flag out")
    if factor is None and answer is None:
        got = "does not say its unit" if told is None else f"its unit {shown(unit)} is unknown"
        raise DataError(f"{path}: {got}; give it with --unit ({', '.join(UNITS)})")
    return factor if factor is not None else answer  # type: ignore[return-value]


def rate(path: Path, in_file: float | None, options: ReadOptions) -> float:
    """The sampling rate in Hz. Raises DataError when it is nowhere told, or no rate."""
    told = in_file if in_file is not None else options.sampling_rate
    if told is None:
        raise DataError(f"{path}: does not say its sampling rate; give it, for example --sampling-rate 500 (Hz)")
    if options.sampling_rate is not None and told != options.sampling_rate:
        raise DataError(
            f"{path}: says that its sampling rate is {told:g} Hz, but --sampling-rate says {options.sampling_rate:g}; "
            "leave the flag out"
        )
    if not 0 < told < math.inf:
        raise DataError(f"{path}: its sampling rate is {told:g} Hz; above 0 is needed, the file is damaged")
    return float(told)


def check_size(path: Path, leads: int, samples: int, options: ReadOptions) -> None:
    """Refuse, before any memory is taken, a recording without samples or of more than `max_values`. DataError."""
    if samples < 1 or leads < 1:
        raise DataError(f"{path}: holds {max(samples, 0)} samples of {leads} leads; at least one of each is needed")
    if leads * samples > options.max_values:
        raise DataError(
            f"{path}: holds {samples} samples of {leads} leads, {leads * samples} values; at most {options.max_values} "
            "are read at once, cut it into shorter recordings"
        )


def recording(path: Path, signal: NDArray, leads: Sequence[str], sampling_rate: float) -> Recording:
    """The values as a Recording; infinite ones are no measurements and become NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.ascontiguousarray(signal, dtype=np.float32)
    if not np.isfinite(values).all():
        values = np.where(np.isfinite(values), values, np.float32(np.nan))
    return Recording(values, tuple(leads), sampling_rate, str(path))


def missing(library: str, extra: str, path: Path) -> DataError:
    """The error for a format whose library is not installed."""
    return DataError(f"{path}: needs the library {library}, which is not installed; pip install 'ecgtune[{extra}]'")
