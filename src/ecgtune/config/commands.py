"""Settings of the commands, in addition to their data and recipes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ecgtune.config.base import check_fields, check_seed, choose, require
from ecgtune.config.reading import ReadSettings
from ecgtune.config.space import Span

DEVICES = ("auto", "cpu", "cuda", "mps")
#: The prevalence that is estimated from probabilities.
ESTIMATE = "estimate"
#: Names of the disturbances of a stress test (`data.disturbances`).
STRESSES = (
    *("muscle", "motion", "wander", "mains-50", "mains-60", "gain", "leads", "missing", "rate", "clipping", "short"),
)


@dataclass(frozen=True)
class PredictSettings(ReadSettings):
    """How new files are read, and the device; all other settings are those of the run's training.

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
    """Lead to use, for a run of one lead; the lead of the run when not given."""
    drop_invalid: bool = False
    """Skip windows with samples that are not numbers and windows in which all leads are constant."""
    group: str | None = None
    """Column with the recording of each window of a file; `patient` or `record` when not given."""
    step: float | None = None
    """Seconds from one window of a recording to the next; as in the training when not given, less overlaps."""
    longest_gap: float | None = None
    """Longest run of invalid samples, in seconds, that is interpolated; as in the training when not given."""
    recording: Literal["mean", "maximum"] | None = None
    """Probability of a recording: mean or maximum over its windows; as in the evaluation of the run when not given."""
    abstain: float | None = None
    """Fraction without an answer, such as 0.1: the least sure predictions, by a confidence fitted on validation."""
    sets: Literal["overall", "class"] = "overall"
    """Prediction sets that cover 90 % of all patients, or of those of every class, which makes the sets larger."""
    max_skipped: float = 1.0
    """Largest fraction of unusable recordings; they are listed in OUT/skipped.csv."""
    workers: int | None = None
    """Processes that read recordings; the number of cores when not given."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to compute on; auto selects CUDA, then MPS, then the CPU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choose(self.device, DEVICES, "device")
        if self.recording is not None:
            choose(self.recording, ("mean", "maximum"), "recording")
        choose(self.sets, ("overall", "class"), "sets")
        require(self.step is None or self.step > 0, f"step is {self.step}; allowed: above 0 seconds")
        require(
            self.abstain is None or 0 < self.abstain < 1, f"abstain is {self.abstain}; allowed: above 0 and below 1"
        )
        require(0 <= self.max_skipped <= 1, f"max_skipped is {self.max_skipped}; allowed: 0 to 1")


@dataclass(frozen=True)
class ServeSettings:
    """Address, limits and device of a server. Raises SettingError for a value outside its range."""

    host: str = "127.0.0.1"
    """Address to listen on; 127.0.0.1 is reached from this machine alone."""
    port: int = 8000
    """Port to listen on; 0 selects a free one."""
    largest_upload: float = 64.0
    """Largest request in MB; a larger one is refused."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to compute on; auto selects CUDA, then MPS, then the CPU."""

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65535, f"port is {self.port}; allowed: 0 to 65535")
        require(0 < self.largest_upload < 1e5, f"largest_upload is {self.largest_upload}; allowed: above 0 MB")
        choose(self.device, DEVICES, "device")


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(ReadSettings):
    """Weights that a pretraining begins with, how its recordings are read, and additional outputs."""

    model: str | Path | None = None
    """Weights to continue from instead of random ones: a name of `ecgtune models`, a checkpoint file, or the run
    folder of a pretraining."""
    checkpoint: str | Path | None = None
    """Published file of the model that --from names, where it was downloaded by hand."""
    leads: tuple[str, ...] | None = None
    """Leads to pretrain on; a lead that was not recorded is derived from I and II. All when not given."""
    leave_out: str | Path | None = None
    """NPZ file of windows; recordings in its val and test split are not used."""
    export_float16: bool = False
    """Also write the encoder in half precision, to RUN/float16."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.leads is not None:
            require(len(self.leads) > 0, "leads are empty; name one or more, or leave them out")


@dataclass(frozen=True)
class CompareSettings:
    """Runs of a comparison, and what they are compared with. Raises SettingError for a value outside its range."""

    seeds: int = 3
    """Runs of each method, with seeds 0, 1, ..."""
    baselines: bool = True
    """Add the baselines: the majority class, and a residual network trained from scratch."""
    reference: str | None = None
    """Method that differences are computed to; full, or else the first one, when not given."""

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.seeds >= 1, f"seeds is {self.seeds}; allowed: 1 or more")


@dataclass(frozen=True)
class SweepSettings:
    """Trials of a sweep. Raises SettingError for a value outside its range."""

    trials: int = 20
    """Trials of each method; the first has the settings of the recipe."""
    space: Mapping[str, Mapping[str, Span | None]] | None = None
    """Changes to the search space, by "all", method or recipe, then by setting (see `recipes.space`)."""
    fixed: Collection[str] = ()
    """Names of settings that keep the value of the recipe."""
    backend: Literal["local", "ray"] = "local"
    """Run trials one after the other in this process, or in parallel on a Ray cluster."""

    def __post_init__(self) -> None:
        require(self.trials >= 1, f"trials is {self.trials}; allowed: 1 or more")
        choose(self.backend, ("local", "ray"), "backend")


@dataclass(frozen=True)
class EvaluateSettings:
    """How a run is evaluated on other data."""

    map: str | None = None
    """Labels of the data as classes of the run, such as "AFIB=AF,AFL=AF"; * stands for all that are not listed. Names
    that are classes of the run need no entry."""
    prevalence: tuple[str, ...] = ()
    """Prevalence in the data, to which probabilities are moved: LABEL=0.03, repeatable, or estimate, from the
    probabilities without labels. Not moved when not given."""
    sensitivity: float = 0.95
    """Sensitivity that the reported thresholds keep; they are chosen on the run's validation windows."""
    by: tuple[str, ...] = ()
    """Columns of the data that subgroups are formed by, such as sex, age or site; of recordings also rate, length and
    leads, as they were recorded; repeatable."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to compute on; auto selects CUDA, then MPS, then the CPU."""

    def __post_init__(self) -> None:
        choose(self.device, DEVICES, "device")
        require(0 < self.sensitivity <= 1, f"sensitivity is {self.sensitivity}; allowed: above 0 up to 1")
        for text in self.prevalence:
            require(
                text == ESTIMATE or self._stated(text) is not None,
                f"prevalence {text!r}; allowed: LABEL=0.03 (between 0 and 1), or {ESTIMATE}",
            )
        require(
            ESTIMATE not in self.prevalence or len(self.prevalence) == 1,
            f"prevalence {ESTIMATE} and a stated one are both given; give one of them",
        )

    @property
    def stated(self) -> dict[str, float]:
        """The stated prevalences by label."""
        return dict(pair for text in self.prevalence if (pair := self._stated(text)))

    @staticmethod
    def _stated(text: str) -> tuple[str, float] | None:
        name, _, value = text.rpartition("=")
        try:
            return (name, float(value)) if name and 0 < float(value) < 1 else None
        except ValueError:
            return None


@dataclass(frozen=True)
class StressSettings:
    """Windows and disturbances of a stress test."""

    map: str | None = None
    """Labels of the data as classes of the run, as for `ecgtune evaluate`."""
    only: tuple[str, ...] = ()
    """Disturbances to test: muscle, motion, wander, mains-50, mains-60, gain, leads, missing, rate, clipping, short;
    repeatable; all when not given."""
    windows: int = 1000
    """Largest number of windows; of more, whole patients or recordings are drawn."""
    seed: int = 0
    """Seed of the noise, and of the windows that are drawn."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to compute on; auto selects CUDA, then MPS, then the CPU."""

    def __post_init__(self) -> None:
        choose(self.device, DEVICES, "device")
        require(self.windows >= 2, f"windows is {self.windows}; allowed: 2 or more")
        check_seed(self.seed)
        for name in self.only:
            choose(name, STRESSES, "disturbance")


@dataclass(frozen=True)
class ExportSettings:
    """Number format and input of an exported file, and the windows that it is verified on."""

    int8: bool = False
    """Weights of eight bits: a quarter of the size, and faster where the encoder allows it."""
    rate: float | None = None
    """Sampling rate of the file's input in Hz; that of the training data when not given."""
    verify: str | Path | None = None
    """CSV or NPZ file of labelled windows to verify on; the test windows of the run when not given."""
    verify_windows: int | None = None
    """Verify on at most so many of these windows, evenly spread; on all when not given."""

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.rate is None or self.rate > 0, f"rate is {self.rate}; allowed: above 0 (Hz)")
        most = self.verify_windows
        require(most is None or most > 0, f"verify_windows is {most}; allowed: 1 or more")


@dataclass(frozen=True)
class ExplainSettings:
    """Which answer for which window is explained, and how."""

    by: Literal["occlusion", "integrated-gradients", "attention-rollout"] = "occlusion"
    """occlusion: how much the log-odds fall without a stretch, of any model; integrated-gradients: attributions that
    add up to the change of the log-odds; attention-rollout: what the encoder's attention reads, of no class."""
    target: str | None = None
    """Class or label whose probability is explained; the positive class of two, else the most probable one."""
    window: int | None = None
    """Number of the window in the file, from 0; the one with the highest probability when not given."""
    width: float = 0.2
    """Seconds of a stretch."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to compute on; auto selects CUDA, then MPS, then the CPU."""

    def __post_init__(self) -> None:
        choose(self.by, ("occlusion", "integrated-gradients", "attention-rollout"), "by")
        choose(self.device, DEVICES, "device")
        require(self.window is None or self.window >= 0, f"window is {self.window}; allowed: 0 or more")
        require(0.02 <= self.width <= 2, f"width is {self.width}; allowed: 0.02 to 2 seconds")
