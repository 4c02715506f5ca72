"""What the files of a run folder must hold when they are read: docs/architecture.md as types.

A key that is not here belongs to reports alone, and may be missing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from ecgtune.data.dataset import HIGHEST_RATE, LOWEST_RATE
from ecgtune.evaluation.certainty import CertaintyFacts
from ecgtune.evaluation.decision import LabelThresholds, ThresholdFacts
from ecgtune.models.weights import Origin
from ecgtune.utils.schema import Count, Fraction, Positive

#: Classes or labels of a run: a figure has a row for each.
MOST_CLASSES = 1000
#: Methods of a comparison, and runs of each; terms of a log, each of which a report draws.
MOST_RUNS, MOST_TERMS = 1000, 100
Rate = Annotated[float, LOWEST_RATE, HIGHEST_RATE]


class Score(TypedDict):
    """A metric with its interval."""

    value: float | None
    ci_low: float | None
    ci_high: float | None


class Level(TypedDict):
    """Scores per window, recording or group. Of several labels each has a matrix of its own."""

    n: Count
    metrics: Annotated[dict[str, Score], "accuracy", "f1", "auroc"]
    confusion: NotRequired[Annotated[list[Annotated[list[Count], 1, MOST_CLASSES]], 1, MOST_CLASSES]]
    labels: NotRequired[Annotated[dict[str, dict[str, Any]], 1, MOST_CLASSES]]
    of: NotRequired[str]


class NoLevel(TypedDict):
    """Why there are no scores per recording or group."""

    reason: str


class Recorded(TypedDict):
    """What recordings went through before they were cut; `data.signal.path` checks it where it is used."""

    band: NotRequired[Annotated[list[Positive], 2, 2] | None]
    mains: NotRequired[Positive | None]
    zscore: NotRequired[bool]


class Data(TypedDict):
    """The data of a run."""

    path: str
    sha256: str
    windows: Count
    sampling_rate: Rate
    samples: Count
    leads: Annotated[list[str], 1, 1000]
    signal_path: Recorded | None


class PartFacts(TypedDict):
    """Size of the training, validation or test split."""

    windows: Count
    groups: Count | None


class SplitFacts(TypedDict):
    """The split of a run."""

    unit: str
    origin: str
    warnings: list[str]
    counts: Annotated[dict[str, PartFacts], "train", "val", "test"]


class Parameters(TypedDict):
    """Weights of a model, and the fraction of them that trained."""

    trainable: Count
    total: Count
    trainable_fraction: Fraction | None


class PresetFacts(TypedDict):
    """In what a recipe differs from the bundled one of its name."""

    changes: list[str]
    epochs: Count
    preset_epochs: Count


class CalibrationSummary(TypedDict):
    """What was fitted, and measures before and after it."""

    sentence: str
    before: dict[str, float | None]
    after: dict[str, float | None] | None


class EvaluationFacts(TypedDict):
    """Settings of the evaluation."""

    recording: NotRequired[Literal["mean", "maximum"]]
    f1_over: NotRequired[list[str] | None]


class TrainingFacts(TypedDict):
    """The training of a run; null where nothing was trained, in the majority baseline, which has no precision."""

    epochs: Count | None
    best_epoch: Count | None
    seconds: float | None
    learning_rate: float | None
    precision: NotRequired[str]


class FineTuningFacts(TrainingFacts):
    """The training of a fine-tuning."""

    seconds_per_epoch: float | None
    peak_memory_bytes: Count | None
    file_bytes: Count | None


class ModelFacts(TypedDict):
    """What predictions need of the training of a run with a model."""

    precision: str


class Metrics(TypedDict):
    """metrics.json of a fine-tuning."""

    format: int
    name: str
    seed: Count
    model: str
    method: str
    weights: str
    classes: Annotated[list[str], 1, MOST_CLASSES]
    data: Data
    split: SplitFacts
    parameters: Parameters
    training: FineTuningFacts
    threshold: LabelThresholds | ThresholdFacts
    window: Level
    group: Level | NoLevel
    task: NotRequired[Literal["binary", "multiclass", "multilabel"]]
    evaluation: NotRequired[EvaluationFacts]
    preset: NotRequired[PresetFacts]
    calibration: NotRequired[CalibrationSummary]
    imports: NotRequired[list[str]]


class ModelMetrics(TypedDict):
    """What metrics.json of a run with a model has beside `Metrics`."""

    training: ModelFacts


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


#: No sum of losses in float32 is larger.
MOST_LOSS = 1e60
Loss = Annotated[float, 0, MOST_LOSS]
Seconds = Annotated[float, 0, 1e10]
#: Name of a term of a loss, or of an entry of the log.
Term = Annotated[str, r"\w{1,100}"]


class LogRow(TypedDict):
    """One epoch of log.jsonl, or of the state of an interrupted training; all its values are numbers, or null."""

    epoch: Count
    seconds: Seconds
    learning_rate: NotRequired[Annotated[float, 0, 1e15]]
    skipped: NotRequired[Count]
    train_loss: NotRequired[Loss]
    train_accuracy: NotRequired[Fraction]
    val_loss: NotRequired[Loss | None]
    val_accuracy: NotRequired[Fraction | None]
    val_auroc: NotRequired[Fraction | None]


#: A method, or the path of a run in its comparison.
Name = Annotated[str, r"(?s).{1,1000}"]


class Row(TypedDict):
    """One method of results.json."""

    method: Name
    kind: Literal["method", "baseline"]
    runs: Annotated[list[Name], 1, MOST_RUNS]


class Recommended(TypedDict):
    """The method to take, and its run that the report shows."""

    metric: str
    margin: float
    best: str
    take: str
    run: Name


class Results(TypedDict):
    """results.json of a comparison."""

    format: int
    rows: Annotated[list[Row], 1, MOST_RUNS]
    split: SplitFacts
    history: NotRequired[list[Count]]
    recommendation: NotRequired[Recommended | None]


class StoredChoice(TypedDict):
    """Values that a sweep tries."""

    choices: Annotated[list[float | Annotated[str, r"(?s).{0,1000}"] | bool | None], 1, 1000]


class StoredRange(TypedDict):
    """Bounds between which a sweep tries numbers."""

    low: float
    high: float
    log: bool


class SweepMethod(TypedDict):
    """A method of a sweep."""

    recipe: str
    space: Annotated[dict[Annotated[str, r"\w{1,100}\.\w{1,100}"], StoredChoice | StoredRange], 0, 100]
    weights: str


class SweepSettings(TypedDict):
    """sweep.json."""

    trials: Annotated[int, 1, 1 << 53]
    methods: Annotated[dict[str, SweepMethod], 1, 1000]
    machine: dict[str, Any]
