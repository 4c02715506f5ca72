"""Runs of several methods and seeds into the rows of results.json.

Every method is measured on the same resampled groups, so the difference between two methods is paired: what is hard
for both cancels. Intervals are about the choice of test groups; `spread` is about the seed. Neither contains the
other, and no row claims significance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import RunError
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.evaluate import defined
from ecgtune.evaluation.groups import group_index, group_predictions
from ecgtune.evaluation.intervals import percentile_interval, resampled_counts
from ecgtune.evaluation.measure import Key, Measured, measured
from ecgtune.evaluation.metrics import checked_level
from ecgtune.evaluation.notes import comparison_notes

# predictions.csv may be rounded, which can turn a window that lies on the threshold; more than this is another run.
ACCURACY_TOLERANCE = 0.005

Values = dict[Key, NDArray[np.float64]]


@dataclass(frozen=True)
class RunRecord:
    """One finished run, as the comparison needs it.

    `name` joins the seeds of a method ("lora"), `title` is what tables print, `kind` is "method" or "baseline",
    `folder` the run's place inside the comparison folder ("lora/seed-0"), `metrics` its metrics.json. `label`,
    `probability` and `group` are of the test split, as `evaluate` takes them, in the same row order in every run;
    `group` is None without groups, `recording` where the group is what is pooled. `row`, the dataset's row of each
    window, is compared between runs when it is given.
    """

    name: str
    title: str
    kind: str
    seed: int
    folder: str
    metrics: dict[str, Any]
    label: NDArray
    probability: NDArray
    group: NDArray | None
    row: NDArray | None = None
    recording: NDArray | None = None

    @property
    def predictions(self) -> Measured:
        """The test predictions, ready to be measured in the way that the run was."""
        decision = Decision.from_dict(self.metrics["threshold"])
        f1_over = self.metrics.get("evaluation", {}).get("f1_over", ())
        return measured(self.label, self.probability, decision, self.metrics["classes"], f1_over)


@dataclass(frozen=True)
class _Measured:
    """A run's metrics `values` on the test windows, and `draws`, each `(resamples,)`, on resamples of their groups."""

    seed: int
    values: dict[Key, float]
    draws: Values

    @property
    def names(self) -> list[str]:
        return [name for name in self.values if isinstance(name, str)]


def compare_runs(
    records: Sequence[RunRecord],
    *,
    reference: str = "full",
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """`{"reference", "notes", "rows"}` of results.json, one row per method in the order of the records.

    The mean over seeds of a metric is undefined (None) when it is undefined for one of the seeds. `low` and `high`
    are percentiles over resampled groups of the mean over seeds; `difference` is paired by group and, for the seeds
    that both methods have, by seed (a baseline, and a method without a common seed: the difference of the means over
    all seeds). `reference` comes back None when no record has that name; `difference` is then None in every row. Raises
    RunError when the runs were not tested on the same windows.
    """
    checked_level(level)
    methods = _by_method(records)
    _check_same_windows(records)
    for record in records:
        _check_own_predictions(record)
    paired_with = reference if reference in methods else None
    window = _measure(records, resamples=resamples, seed=seed)
    per_group = _per_group(records)
    group = None if per_group is None else _measure(per_group, resamples=resamples, seed=seed)

    rows = []
    for places in methods.values():
        own = [window[place] for place in places]
        row = _description([records[place] for place in places])
        row["metrics"] = _summary(own, level)
        row["group_metrics"] = None if group is None else _summary([group[place] for place in places], level)
        row["difference"] = None
        if paired_with is not None:
            theirs = [window[place] for place in methods[paired_with]]
            if row["kind"] == "method":
                own, theirs = _common_seeds(own, theirs)
            row["difference"] = _difference(own, theirs, level)
        rows.append(row)
    notes = comparison_notes([record.metrics for record in records if record.kind == "method"], rows, reference)
    return {"reference": paired_with, "notes": notes, "rows": rows}


def _by_method(records: Sequence[RunRecord]) -> dict[str, list[int]]:
    """Places of each method's runs among the records."""
    if not records:
        raise RunError("no finished runs to compare; allowed is one or more")
    methods: dict[str, list[int]] = {}
    for place, record in enumerate(records):
        places = methods.setdefault(record.name, [])
        if any(records[other].seed == record.seed for other in places):
            raise RunError(f"two runs of '{record.name}' have the seed {record.seed}; allowed is one run per seed")
        places.append(place)
    return methods


def _check_same_windows(records: Sequence[RunRecord]) -> None:
    first = records[0]
    for other in records[1:]:
        same = (
            np.array_equal(first.label, other.label)
            and _same(first.group, other.group)
            and (first.row is None or other.row is None or np.array_equal(first.row, other.row))
            and first.metrics["data"]["sha256"] == other.metrics["data"]["sha256"]
        )
        if not same:
            raise RunError(
                f"{other.folder} was tested on other windows than {first.folder}; allowed are runs on the same test "
                "rows of the same file: run both again with one split"
            )


def _same(first: NDArray | None, second: NDArray | None) -> bool:
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)


def _check_own_predictions(record: RunRecord) -> None:
    stored = record.metrics["window"]["metrics"]["accuracy"]["value"]
    found = record.predictions.values()["accuracy"]
    if record.metrics["window"]["n"] != len(record.label) or abs(stored - found) > ACCURACY_TOLERANCE:
        raise RunError(
            f"{record.folder}: predictions.csv gives an accuracy of {found:.4f} over {len(record.label)} windows, "
            f"metrics.json says {stored:.4f} over {record.metrics['window']['n']}; delete the folder and run it again"
        )


def _measure(records: Sequence[RunRecord], *, resamples: int, seed: int) -> list[_Measured]:
    """Each run's metrics on the test windows and on the same resamples of their groups."""
    windows = len(records[0].label)
    index = group_index(records[0].group, windows)[1]
    predictions = [record.predictions for record in records]
    chunks: list[list[Values]] = [[] for _ in records]
    for counts in resampled_counts(int(index.max()) + 1, windows, resamples, seed):
        weights = counts[:, index]
        for measure, parts in zip(predictions, chunks, strict=True):
            parts.append(measure(weights))
    return [
        _Measured(
            record.seed,
            measure.values(),
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
        )
        for record, measure, parts in zip(records, predictions, chunks, strict=True)
    ]


def _per_group(records: Sequence[RunRecord]) -> list[RunRecord] | None:
    """The records with one prediction per recording or group, or None when those have no label of their own."""
    result = []
    for record in records:
        pooled = record.metrics.get("evaluation", {}).get("recording", "mean")
        unit = record.group if record.recording is None else record.recording
        groups = group_predictions(record.label, record.probability, unit, pooled=pooled)
        if isinstance(groups, str):
            return None
        owners = None if record.recording is None else groups.owners(record.recording, record.group)
        pooled_record = replace(record, label=groups.label, probability=groups.probability, group=owners, row=None)
        result.append(replace(pooled_record, recording=None))
    return result


def _summary(runs: Sequence[_Measured], level: float) -> dict[str, dict[str, Any]]:
    result = {}
    for name in runs[0].names:
        values = np.array([run.values[name] for run in runs])
        low, high = percentile_interval(np.mean([run.draws[name] for run in runs], axis=0), level)
        result[name] = {
            "mean": defined(float(values.mean())),
            "std": defined(float(values.std(ddof=1))) if len(runs) > 1 else None,
            "values": [defined(value) for value in values],
            "ci_low": defined(low),
            "ci_high": defined(high),
        }
    return result


def _common_seeds(
    runs: Sequence[_Measured], reference: Sequence[_Measured]
) -> tuple[Sequence[_Measured], Sequence[_Measured]]:
    """The runs of the seeds that both have, in one order; all of both when they have none in common.

    In one order, so that a method minus itself subtracts equal numbers in equal order: exactly 0.
    """
    common = sorted({run.seed for run in runs} & {run.seed for run in reference})
    if not common:
        return runs, reference
    own, theirs = ({run.seed: run for run in side} for side in (runs, reference))
    return [own[seed] for seed in common], [theirs[seed] for seed in common]


def _difference(
    runs: Sequence[_Measured], reference: Sequence[_Measured], level: float
) -> dict[str, dict[str, float | None]]:
    result = {}
    for name in runs[0].names:
        value = np.mean([run.values[name] for run in runs]) - np.mean([run.values[name] for run in reference])
        mean, mean_reference = (np.mean([run.draws[name] for run in side], axis=0) for side in (runs, reference))
        low, high = percentile_interval(mean - mean_reference, level)
        result[name] = {"value": defined(float(value)), "ci_low": defined(low), "ci_high": defined(high)}
    return result


def _description(runs: Sequence[RunRecord]) -> dict[str, Any]:
    training = [run.metrics["training"] for run in runs]
    parameters = [run.metrics["parameters"] for run in runs]
    return {
        "method": runs[0].name,
        "title": runs[0].title,
        "kind": runs[0].kind,
        "seeds": [run.seed for run in runs],
        "runs": [run.folder for run in runs],
        "epochs": _typical(entry["epochs"] for entry in training),
        "learning_rate": _typical(entry["learning_rate"] for entry in training),
        "trainable_fraction": _typical(entry["trainable_fraction"] for entry in parameters),
        "trainable": _typical(entry["trainable"] for entry in parameters),
        "seconds_per_epoch": _typical(entry["seconds_per_epoch"] for entry in training),
        "peak_memory_bytes": _largest(entry["peak_memory_bytes"] for entry in training),
        "file_bytes": _largest(entry["file_bytes"] for entry in training),
    }


def _typical(values: Iterable[float | None]) -> float | None:
    """The one value of all seeds as it is, the mean of several; None when a run has none (the majority class)."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return known[0] if len(set(known)) == 1 else float(np.mean(known))


def _largest(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None
