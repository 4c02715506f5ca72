"""Settings of the commands `predict`, `pretrain` and `sweep`, beside their data and recipes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ecgtune.config.base import choose, require
from ecgtune.config.reading import ReadSettings
from ecgtune.config.space import Span

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class PredictSettings(ReadSettings):
    """How new files are read, and where they are predicted; everything else is as in the training of the run.

    Raises SettingError for a value outside its range.
    """

    records: str | Path | None = None
    """Folder of recordings (WFDB, EDF, DICOM, HDF5, ...), or an HDF5 file of many recordings; DATA is then a
    table that names those to predict."""
    recording_column: str | None = None
    """Column of the table that names the recordings."""
    match_numbers: bool = False
    """Match a recording that the table names by a number, 1, with the only one that has it in its name, 00001_hr."""
    lead: str | None = None
    """Lead to take, for a run of one lead; the run's when not given."""
    drop_invalid: bool = False
    """Leave out windows with samples that are no number and windows in which no lead changes."""
    group: str | None = None
    """Column that says which windows of a file belong to one recording; `patient` or `record` when not given."""
    step: float | None = None
    """Seconds from one window of a recording to the next; as in the training when not given, less overlaps."""
    longest_gap: float | None = None
    """Longest run of invalid samples, in seconds, that is interpolated; as in the training when not given."""
    recording: Literal["mean", "maximum"] | None = None
    """A recording's probability: the mean or the maximum over its windows; as the run was measured when not given."""
    max_skipped: float = 1.0
    """Fraction of recordings that may be unusable; they are listed in OUT/skipped.csv."""
    workers: int | None = None
    """Processes that read recordings; as many as cores when not given."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto takes CUDA, then MPS, then the CPU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choose(self.device, DEVICES, "device")
        if self.recording is not None:
            choose(self.recording, ("mean", "maximum"), "recording")
        require(self.step is None or self.step > 0, f"step is {self.step}; allowed: above 0 seconds")
        require(0 <= self.max_skipped <= 1, f"max_skipped is {self.max_skipped}; allowed: 0 to 1")


@dataclass(frozen=True)
class PretrainSettings(ReadSettings):
    """How recordings are read for a pretraining, and what is written beside the encoder."""

    leave_out: str | Path | None = None
    """NPZ file of windows; recordings in its val and test split are not used."""
    export_float16: bool = False
    """Write the encoder in half precision too, RUN/float16."""


@dataclass(frozen=True)
class SweepSettings:
    """Trials of a sweep. Raises SettingError for a value outside its range."""

    trials: int = 20
    """Trials of each method; the first is the method as it is."""
    space: Mapping[str, Mapping[str, Span | None]] | None = None
    """Changes to the values that are tried, by "all", method or recipe, then by setting (see `recipes.space`)."""
    fixed: Collection[str] = ()
    """Names of settings that keep the value of the recipe."""
    backend: Literal["local", "ray"] = "local"
    """One trial after the other in this process, or as many at a time as a Ray cluster has resources for."""

    def __post_init__(self) -> None:
        require(self.trials >= 1, f"trials is {self.trials}; allowed: 1 or more")
        choose(self.backend, ("local", "ray"), "backend")
