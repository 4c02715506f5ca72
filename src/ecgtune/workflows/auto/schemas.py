"""What the files of an auto's folder must hold when they are read again; keys that are not here are not looked at."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from ecgtune.config.auto import LONGEST, MOST_FOLDS
from ecgtune.config.base import LARGEST_SEED
from ecgtune.config.optimisation import MOST
from ecgtune.evaluation.decision import LabelThresholds, ThresholdFacts
from ecgtune.training.schemas import CalibrationSummary, Level, NoLevel
from ecgtune.utils.schema import Count, Fraction, Positive

#: Remedy for what other files of the folder were made with.
ELSEWHERE = "rerun with another --out"
#: Name of a folder in do/, which is no path.
Name = Annotated[str, r"[^/\\.][^/\\]*"]
Seconds = Annotated[float, 0, LONGEST]
Whole = Annotated[int, 1, 1 << 53]
Counts = dict[str, Count]
Split = Literal["train", "val", "test", "unused"]
Rate = Annotated[str, r"\d+(\.\d+)?(e\+?\d+)?"]
Metric = Literal["auroc"]


class Spread(TypedDict):
    """Length of recordings in seconds."""

    min: Positive
    p5: Positive
    median: Positive
    max: Positive


class LabelCounts(TypedDict):
    """A class or label."""

    positives: Count
    known: Count


class Quality(TypedDict):
    """Findings about the signals."""

    notes: list[str]


class Fingerprint(TypedDict):
    """fingerprint.json; `reading` and `request` are described by `io.again`."""

    kind: Literal["windows", "records", "simulated"]
    request: dict[str, Any]
    reading: dict[str, Any]
    assumed: list[str]
    sha256: str
    sampling_rates: Annotated[dict[Rate, Count], 1, MOST]
    leads: Annotated[Counts, 1, MOST]
    seconds: Spread
    recordings: Whole | None
    task: Literal["binary", "multiclass", "multilabel"]
    windows: Whole
    labels: Annotated[dict[str, LabelCounts], 1, MOST]
    positive: str | None
    group: str | None
    groups: Whole | None
    sites: Counts | None
    split: Annotated[dict[str, Whole], 1, 4] | None
    duplicates: list[Annotated[list[str], 2, 2]]
    quality: Quality
    problems: list[str]


class Spent(TypedDict):
    """spent.json."""

    seconds: Seconds


class SplitFile(TypedDict):
    """split.json: facts of split.csv."""

    unit: str
    origin: str
    warnings: list[str]
    duplicates: Count
    windows: Whole
    sha256: str
    rows_sha256: str


class PiecesOfBatch(TypedDict):
    """Pieces of a batch where memory is short."""

    pieces: Annotated[int, 1, MOST]
    max_memory: str


class Measured(TypedDict):
    """Seconds per window of a method."""

    step: Positive
    forward: Positive
    pieces: NotRequired[PiecesOfBatch]


class MeasuredFile(TypedDict):
    """measured.json; validated: windows of all trainings, null for all."""

    methods: dict[str, Measured]
    validated: NotRequired[Whole | None]


class PlannedJob(TypedDict):
    """An entry of jobs.json."""

    method: str
    encoder: str
    windows: Whole | None
    validated: Whole | None
    epochs: Annotated[int, 1, MOST]
    seed: Annotated[int, 0, LARGEST_SEED]
    seconds: Seconds | None
    pieces: PiecesOfBatch | None


class PlannedRounds(PlannedJob):
    """An entry of jobs.json."""

    rounds: Annotated[int, 1, MOST_FOLDS]


class Job(PlannedJob):
    """job.json. Where it repeats a training that was ended, `steps` are those of its phases; -1 is the last round."""

    name: Name
    round: Annotated[int, -1, MOST_FOLDS]
    threads: NotRequired[Annotated[int, 1, 4096] | None]
    steps: NotRequired[list[Count] | None]


class Failed(Job):
    """result.json of a training that could not be run."""

    failed: str
    spent: Seconds


class Trained(Job):
    """result.json of another one."""

    score: Fraction | None
    train_windows: Whole
    trained_epochs: Count
    step: NotRequired[Seconds | None]  # results of an earlier version lack it
    trainable: Count
    trainable_fraction: Fraction
    ended: bool
    spent: Seconds


class Rung(TypedDict):
    """Scores of the probes or of a round of methods, the best first."""

    by: Literal["encoder", "method"]
    trials: list[list[str | int]]
    rounds: Whole
    seconds: Seconds
    scores: dict[str, Fraction]


class DoneFile(TypedDict):
    """do/results.json; affordable: trainings whose mean there is time to test and to export."""

    encoder: str
    rungs: Annotated[list[Rung], 1, 100]
    missing: dict[str, str]
    affordable: NotRequired[Whole]
    trials: list[Trained | Failed]


class Difference(TypedDict):
    """A difference of scores, null where none is defined."""

    value: Annotated[float, -1, 1] | None
    ci_low: Annotated[float, -1, 1] | None
    ci_high: Annotated[float, -1, 1] | None


class Ensemble(TypedDict):
    """The mean of several trainings."""

    of: Literal["folds", "seeds", "methods"]
    members: Annotated[list[Name], 1, MOST]
    difference: Difference
    helps: bool
    shown: NotRequired[bool]


class CandidateRow(TypedDict):
    """A candidate of the choice."""

    name: Name
    title: str
    method: str
    encoder: str
    windows: Whole | None
    epochs: Annotated[int, 1, MOST]
    seed: Annotated[int, 0, LARGEST_SEED]
    train_windows: Whole
    trainable: Count
    trainable_fraction: Fraction
    seconds: Seconds
    ended: bool
    score: Fraction | None
    ci_low: Fraction | None
    ci_high: Fraction | None


class Choice(TypedDict):
    """choice.json."""

    budget: Positive
    metric: Metric
    validated: Whole
    groups: Whole
    candidates: Annotated[list[CandidateRow], 1, MOST]
    chosen: Name
    difference: Difference | None
    reason: str
    ensemble: Ensemble | None
    members: Annotated[list[Name], 1, MOST]
    runs: Annotated[list[Annotated[str, r"do/[^/\\.][^/\\]*/(round-\d+|final)"]], 1, MOST]


class NotPooled(TypedDict):
    """Why there are no scores per recording or group."""

    reason: str


class Tested(TypedDict):
    """test.json."""

    runs: Annotated[list[Annotated[str, r"model(-\d+)?"]], 1, MOST]
    window: Level
    group: Level | NoLevel
    threshold: LabelThresholds | ThresholdFacts


class Point(TypedDict):
    """A point of a learning curve."""

    windows: Whole
    score: Fraction
    ci_low: Fraction
    ci_high: Fraction


class Gain(TypedDict):
    """Its distance from the last measured one."""

    score: Annotated[float, -1, 1]
    ci_low: Annotated[float, -1, 1]
    ci_high: Annotated[float, -1, 1]


class FurtherPoint(Point):
    """An extrapolated point."""

    gain: Gain


class Curve(TypedDict):
    """curve.json."""

    points: list[Point]
    extrapolated: list[FurtherPoint]


class TestedMetrics(TypedDict):
    """What metrics.json of a tested training has beside `Metrics`."""

    calibration: CalibrationSummary
