"""Facts that files of recordings or windows may not state: the flags of all commands that read files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from ecgtune.config.base import require

Unit = Literal["mV", "uV", "V", "nV"]
UNITS: tuple[Unit, ...] = get_args(Unit)
Layout = Literal["NCT", "NTC"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
#: What is asked for a file without a unit.
UNIT_NEEDED = (
    "without normalisation the amplitude matters, but the unit of the signals is unknown; give it, for example"
    " --unit uV"
)
#: Settings that files of windows do not have, with their flags.
OF_RECORDINGS = {
    "dataset": "--dataset",
    "ignore_checksums": "--ignore-checksums",
    "start": "--from",
    "stop": "--to",
}


def flag_of(setting: str) -> str:
    """Return the flag of a setting."""
    return OF_RECORDINGS.get(setting, f"--{setting.replace('_', '-')}")


@dataclass(frozen=True, kw_only=True)
class ReadSettings:
    """Facts that the user gives about files that do not state them.

    Raises SettingError for a value outside its range.
    """

    sampling_rate: float | None = None
    """Sampling rate of the files in Hz; needed unless they hold it."""
    unit: Unit | None = None
    """Unit of the samples; needed where the files do not name it and the amplitude matters to the model."""
    lead_names: tuple[str, ...] | None = None
    """Leads of the channels in order, where the files do not name them; - leaves a channel out."""
    layout: Layout | None = None
    """Axes of arrays (NPZ, NPY, HDF5): NCT is (windows, leads, samples), NTC is (windows, samples, leads); an array of
    one recording has no N."""
    dataset: str | None = None
    """Array of the samples in an HDF5 or MATLAB file, where its name does not identify it."""
    ignore_checksums: bool = False
    """Read files whose samples do not match the checksum in their header."""
    start: float | None = None
    """Start of the part of each recording that is read, in seconds."""
    stop: float | None = None
    """End of the part of each recording that is read, in seconds."""

    def __post_init__(self) -> None:
        rate, unit = self.sampling_rate, self.unit
        known = unit is None or unit.casefold() in [each.casefold() for each in UNITS]
        require(rate is None or 0 < rate < math.inf, f"sampling_rate {rate} is not allowed; above 0 (Hz) is needed")
        start, stop = self.start or 0.0, math.inf if self.stop is None else self.stop
        require(
            0 <= start < stop, f"the part from {start:g} to {stop:g} s; 0 or more, and the end after the start, needed"
        )
        require(known, f"unit {unit!r} is unknown; allowed: {', '.join(UNITS)}")
        require(self.layout in (None, *LAYOUTS), f"layout {self.layout!r} is unknown; allowed: {', '.join(LAYOUTS)}")
