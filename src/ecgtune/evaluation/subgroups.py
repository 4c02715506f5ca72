"""Metrics of a run in parts of its data, and the largest gap between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.tasks import label_counts
from ecgtune.errors import DataError
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.evaluate import defined, plain
from ecgtune.evaluation.external import Measured
from ecgtune.evaluation.groups import group_index
from ecgtune.evaluation.intervals import interval, percentile_interval, resampled_counts
from ecgtune.evaluation.scorer import make_scorer
from ecgtune.evaluation.statistics.estimate import Estimate

#: Patients or recordings, windows of the rarest class or label, and patients or recordings that these are of, below
#: which a part is small.
FEWEST_GROUPS, FEWEST_WINDOWS, FEWEST_OF_CLASS = 20, 10, 5
#: Resamples beyond either end of an interval, below which the interval of a gap is that of its standard error.
FEWEST_BEYOND = 5
#: Most parts of one column; a column of numbers with more values is cut into bands.
MOST_PARTS = 12
#: Bounds of the bands of a column "age", in years.
AGES = (18, 40, 65, 80)
METRICS = ("auroc", "accuracy", "recall", "specificity", "f1")
UNKNOWN = "unknown"


def parts_of(values: NDArray[np.str_], name: str) -> NDArray[np.str_]:
    """Return the part of each window `(windows,)` by a column of text: its value, an age band, or a quarter.

    Empty cells are "unknown". Numbers with more than twelve values are cut at their quartiles, a column "age" at 18,
    40, 65 and 80. Raises DataError for more than twelve values that are no numbers.
    """
    text = np.char.strip(values.astype(str))
    empty = np.isin(np.char.lower(text), ("", "nan", "none", "null"))
    known = np.unique(text[~empty])
    if name.lower() != "age" and len(known) <= MOST_PARTS:
        return np.where(empty, UNKNOWN, text)
    try:
        number = np.where(empty, "nan", text).astype(np.float64)
    except ValueError:
        raise DataError(
            f"--by {name}: the column has {len(known)} values; allowed: up to {MOST_PARTS}, or numbers"
        ) from None
    age = name.lower() == "age"
    bounds = np.array(AGES, float) if age else np.unique(np.nanquantile(number, [0.25, 0.5, 0.75]))
    ends = [f"{bound:g}" for bound in bounds]
    names = [
        f"below {ends[0]}",
        *(f"{low} to below {high}" for low, high in pairwise(ends)),
        f"{ends[-1]} and above",
    ]
    band = np.array(names)[np.searchsorted(bounds, np.nan_to_num(number), "right")]
    return np.where(empty, UNKNOWN, band)


def subgroup_metrics(
    data: Measured,
    decision: Decision,
    classes: Sequence[str],
    columns: Mapping[str, NDArray[np.str_]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure each part of each column: `{column: {"parts": {part: {...}}, "gap": {...} or None}}`.

    columns: the part of each window `(windows,)`. A part has its counts, "small", and metrics with intervals over
    patients or recordings. Small parts (fewer than 20 patients or recordings, or of the rarest class fewer than 10
    windows or 5 patients or recordings) are not ranked. "gap" is the largest difference in AUROC between two of the
    others, `{"metric", "parts": [high, low], "value", "ci_low", "ci_high", "comparisons"}`. Its interval is at the
    level 1 - 0.05 / comparisons (Bonferroni), over all pairs of the column, since the largest of several gaps is large
    by chance; where too few resamples are beyond its ends, it is that of their standard deviation. Resamples draw
    patients of the whole, so that one who is in two parts counts in both.
    """
    index = group_index(data.group, len(data.label))[1]
    return {name: _column(data, decision, classes, parts, index, resamples, seed) for name, parts in columns.items()}


def _column(
    data: Measured,
    decision: Decision,
    classes: Sequence[str],
    parts: NDArray[np.str_],
    index: NDArray[np.int64],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    rows = {str(part): np.flatnonzero(parts == part) for part in np.unique(parts)}
    scorers = {
        part: make_scorer(data.label[own], data.probability[own], decision, classes) for part, own in rows.items()
    }
    draws: dict[str, dict[str, list[NDArray]]] = {part: {name: [] for name in METRICS} for part in rows}
    for counts in resampled_counts(int(index.max()) + 1, len(index), resamples, seed):
        for part, own in rows.items():
            found = scorers[part](counts[:, index[own]])
            for name in METRICS:
                draws[part][name].append(found[name])
    drawn = {part: {name: np.concatenate(each) for name, each in own.items()} for part, own in draws.items()}
    result = {}
    for part, own in rows.items():
        values, scorer = scorers[part].values(), scorers[part]
        entries = {}
        for name in METRICS:
            trials = None if scorer.constant else scorer.trials(name, index[own])
            found = interval(name, values[name], drawn[part][name], trials, 0.95, constant=scorer.constant)
            entries[name] = plain({"value": values[name], **found})
        positives, known = label_counts(data.label[own], classes)
        rarest = int(np.minimum(positives, known - positives).min())
        groups = len(np.unique(index[own]))
        of_class = _groups_of_class(data.label[own], index[own], len(positives))
        small = groups < FEWEST_GROUPS or rarest < FEWEST_WINDOWS or of_class < FEWEST_OF_CLASS
        result[part] = {"windows": len(own), "groups": groups, "rarest": rarest, "small": small, "metrics": entries}
    ranked = [
        part for part, entry in result.items() if not entry["small"] and entry["metrics"]["auroc"]["value"] is not None
    ]
    return {"parts": result, "gap": _gap(ranked, result, drawn)}


def _groups_of_class(label: NDArray, index: NDArray[np.int64], classes: int) -> int:
    """Patients or recordings that have windows of the rarest class, or of the presence or absence of a label."""
    columns = label.T if label.ndim == 2 else [(label == number).astype(np.int8) for number in range(classes)]
    return min(len(np.unique(index[column == value])) for column in columns for value in (0, 1))


def _gap(ranked: Sequence[str], result: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any] | None:
    if len(ranked) < 2:
        return None
    value = {part: result[part]["metrics"]["auroc"]["value"] for part in ranked}
    high, low = max(ranked, key=value.__getitem__), min(ranked, key=value.__getitem__)
    comparisons = len(list(combinations(ranked, 2)))
    gaps, level = drawn[high]["auroc"] - drawn[low]["auroc"], 1 - 0.05 / comparisons
    ends = percentile_interval(gaps, level)
    if len(gaps) * (1 - level) / 2 < FEWEST_BEYOND:
        ends = Estimate(value[high] - value[low], float(np.nanstd(gaps, ddof=1))).interval(level)
    return {
        "metric": "auroc",
        "parts": [high, low],
        "value": value[high] - value[low],
        "ci_low": defined(ends[0]),
        "ci_high": defined(ends[1]),
        "comparisons": comparisons,
    }
