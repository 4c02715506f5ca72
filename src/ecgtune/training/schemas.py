"""What the files of a run folder must hold when they are read: docs/architecture.md as types.

A key that is not here belongs to reports alone, and may be missing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from ecgtune.data.dataset import HIGHEST_RATE, LOWEST_RATE
from ecgtune.evaluation.certainty import CertaintyFacts
from ecgtune.evaluation.decision import LabelThresholds, ThresholdFacts
from ecgtune.utils.schema import Count, Fraction, Positive

Rate = Annotated[float, LOWEST_RATE, HIGHEST_RATE]


class Score(TypedDict):
    """A metric with its interval."""

    value: float | None
    ci_low: NotRequired[float | None]
    ci_high: NotRequired[float | None]


class Level(TypedDict):
    """Scores per window, recording or group."""

    n: Count
    metrics: dict[str, Score]


class Data(TypedDict):
    """The data of a run."""

    path: str
    sha256: str
    windows: Count
    sampling_rate: Rate
    samples: Count
    leads: list[str]


class SplitFacts(TypedDict):
    """The split of a run."""

    unit: str
    origin: str
    warnings: list[str]


class TrainingFacts(TypedDict):
    """The training of a run; null where nothing was trained, in the majority baseline."""

    epochs: Count | None
    best_epoch: Count | None
    seconds: float | None
    learning_rate: float | None
    precision: NotRequired[str]


class Metrics(TypedDict):
    """metrics.json of a fine-tuning."""

    format: int
    name: str
    seed: Count
    model: str
    method: str
    weights: str
    classes: list[str]
    data: Data
    split: SplitFacts
    training: TrainingFacts
    window: Level
    evaluation: NotRequired[dict[str, Any]]


class PretrainingMetrics(TypedDict):
    """metrics.json of a pretraining."""

    format: int
    kind: Literal["pretraining"]
    name: str
    seed: Count
    data: dict[str, Any]
    training: TrainingFacts


class Filter(TypedDict):
    """How windows become inputs of the model."""

    sampling_rate: Rate
    resampling: str
    normalisation: str
    mean: NotRequired[list[float] | None]
    std: NotRequired[list[Positive] | None]
    steps: NotRequired[list[dict[str, Any]]]


class Origin(TypedDict):
    """Where the weights of an encoder come from."""

    kind: Literal["pretrained", "random"]
    source: str
    sha256: str | None
    seed: int | None
    used: list[str]
    left_out: list[list[str]]
    licence: NotRequired[str | None]
    terms: NotRequired[str]


class CalibrationFacts(TypedDict):
    """The map of each class or label from uncalibrated to calibrated probabilities."""

    task: Literal["binary", "multiclass", "multilabel"]
    maps: list[dict[str, Any]]
    reasons: list[str]


class Interval(TypedDict):
    """A fraction with its interval."""

    value: float | None
    ci_low: float | None
    ci_high: float | None


class CoverageFacts(TypedDict):
    """What prediction sets promise and cover."""

    promised: Fraction
    found: Interval
    broken: bool


class AbstentionFacts(TypedDict):
    """Error with and without answers to the least sure."""

    fraction: Fraction
    abstained: Fraction
    error: Fraction | None
    error_before: Fraction
    reduction: Interval


class MeasuredUnit(TypedDict):
    """Coverage and abstention on the test windows or recordings."""

    coverage: CoverageFacts
    abstention: list[AbstentionFacts]


class MeasuredCertainty(TypedDict):
    """Both, per window and per recording."""

    window: MeasuredUnit
    recording: MeasuredUnit | None


class NoveltyFacts(TypedDict):
    """The score of novelty, or why there is none."""

    kind: str | None
    reason: NotRequired[str]
    auroc: NotRequired[dict[str, dict[str, Fraction]]]


class CertaintyFile(TypedDict):
    """certainty.json of a fine-tuning."""

    format: int
    certainty: CertaintyFacts
    internal: MeasuredCertainty
    novelty: NoveltyFacts


class SavedModel(TypedDict):
    """best/model.json of a fine-tuning."""

    format: int
    name: str
    checkpoint: NotRequired[str]
    architecture: str
    config: dict[str, Any]
    classes: list[str]
    lead_mode: Literal["place", "copy"]
    lead_adapter: NotRequired[list[str]]
    head: dict[str, Any]
    weights: Origin
    imports: NotRequired[list[str]]
    method: dict[str, Any]
    preprocessing: Filter
    input_sampling_rate: Rate
    threshold: LabelThresholds | ThresholdFacts
    calibration: NotRequired[CalibrationFacts]


class EncoderFacts(TypedDict):
    """model.json of a pretrained encoder."""

    architecture: str
    config: dict[str, Any]
    sha256: str


class Environment(TypedDict):
    """environment.json: the machine in the report of a pretraining. Other keys are shown or compared as they are."""

    processor: str
    cores: Count | None
    processes: NotRequired[Count]
    threads: Count
    memory_bytes: Count
    accelerator: str | None


class LogRow(TypedDict):
    """One epoch of log.jsonl; all its values are numbers, or null."""

    epoch: Count
    seconds: float


class Row(TypedDict):
    """One method of results.json."""

    method: str
    kind: Literal["method", "baseline"]
    runs: list[str]


class Results(TypedDict):
    """results.json of a comparison."""

    format: int
    rows: list[Row]
    split: SplitFacts
    history: NotRequired[list[Count]]


class SweepMethod(TypedDict):
    """A method of a sweep."""

    recipe: str
    space: dict[str, Any]
    weights: str


class SweepSettings(TypedDict):
    """sweep.json."""

    trials: Annotated[int, 1, 1 << 53]
    methods: Annotated[dict[str, SweepMethod], 1, 1000]
    machine: dict[str, Any]
