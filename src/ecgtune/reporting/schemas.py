"""What reports and packs show of the results of other commands: external.json, stress.json and cases.json."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from ecgtune.evaluation.stress import METRICS
from ecgtune.training.schemas import Interval, MeasuredCertainty
from ecgtune.utils.schema import Count, Fraction

Number = float | None


class Entry(TypedDict):
    """A metric with its interval."""

    value: Number
    ci_low: Number
    ci_high: Number


class Compared(TypedDict):
    """A metric of both sides, and their difference."""

    internal: Entry | None
    external: Entry | None
    difference: Entry | None


class CalibrationSide(TypedDict):
    """Measures of calibration of each class or label."""

    each: dict[str, dict[str, Any] | None]


class CalibrationSides(TypedDict):
    """Those of both sides."""

    internal: CalibrationSide | None
    external: CalibrationSide


class ComparedLevel(TypedDict):
    """Both sides per window or recording."""

    classes: list[str]
    metrics: dict[str, Compared]
    labels: dict[str, Annotated[dict[str, Compared], "auroc"]]
    calibration: CalibrationSides


class ExternalData(TypedDict):
    """The data of an evaluation."""

    path: str
    windows: Count
    groups: Count | None
    own_test_split: bool
    left_out: dict[str, Count]
    absent: list[str]
    unused: list[str]
    notes: list[str]


#: Prevalence before and after a shift.
Shift = TypedDict(
    "Shift",
    {
        "estimated": bool,
        "from": dict[str, Fraction | None],
        "to": dict[str, Fraction],
        "validation_mean": NotRequired[dict[str, Fraction]],
    },
)


class Flagged(TypedDict):
    """Windows flagged per 1,000."""

    value: float
    ci_low: float
    ci_high: float


class OperatingPoint(TypedDict):
    """A threshold that keeps a sensitivity."""

    wanted: Fraction
    threshold: float
    sensitivity: Entry
    specificity: Entry
    precision: Entry
    prevalence: Fraction | None
    flagged_per_1000: Flagged


class Part(TypedDict):
    """A part of a subgroup column."""

    small: bool
    windows: Count
    groups: Count | None
    metrics: Annotated[dict[str, Entry], "auroc", "recall", "specificity"]


class Gap(Entry):
    """The largest difference between two parts."""

    parts: Annotated[list[str], 2, 2]
    comparisons: Annotated[int, 1, 1 << 53]


class Subgroups(TypedDict):
    """A column of subgroups."""

    parts: dict[str, Part]
    gap: Gap | None


class Sides(TypedDict):
    """Coverage and abstention of both sides."""

    internal: MeasuredCertainty | None
    external: MeasuredCertainty | None


class External(TypedDict):
    """external.json."""

    run: str
    run_classes: list[str]
    data: ExternalData
    window: ComparedLevel
    recording: ComparedLevel | None
    shift: Shift | None
    certainty: Sides | None
    operating_points: dict[str, OperatingPoint]
    subgroups: dict[str, Subgroups]


class StressData(TypedDict):
    """The data of a stress test."""

    path: str
    windows: Count
    of: Count
    groups: Count | None
    own_test_split: bool


Scores = Annotated[dict[str, Interval], *METRICS]


class StressRow(TypedDict):
    """A disturbance of one strength."""

    disturbance: str
    title: str
    unit: str
    strength: float | str
    metrics: Scores
    difference: Scores
    changed: Fraction


class Stress(TypedDict):
    """stress.json."""

    run: str
    classes: list[str]
    data: StressData
    undisturbed: Scores
    rows: Annotated[list[StressRow], 1, 200]
    not_tested: dict[str, str]


class Stretch(TypedDict):
    """A part of a lead that speaks for an answer."""

    lead: str
    start: float
    end: float


class Case(TypedDict):
    """A window in a report."""

    kind: str
    row: Count
    group: str | None
    recording: str | None
    true: list[str]
    predicted: list[str]
    explained: str
    probability: Fraction
    confidence: Fraction
    leads: list[str]
    of_leads: Count
    stretches: list[Stretch] | None


class Cases(TypedDict):
    """cases.json."""

    width: Number
    missing: str | None
    cases: Annotated[list[Case], 0, 1000]
