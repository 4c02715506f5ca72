"""Rows of results.json from runs of several methods and seeds.

All methods are evaluated on the same resampled groups, so differences between methods are paired: the difficulty of a
group cancels. Intervals express the variation over test groups, `std` that over seeds; `with_seeds` is an interval of
both. p-values of differences are those of the bootstrap's standard error.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.errors import RunError
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.evaluate import defined, plain
from ecgtune.evaluation.groups import group_index, group_predictions
from ecgtune.evaluation.intervals import interval, over_seeds, percentile_interval, resampled_counts
from ecgtune.evaluation.metrics import LEAD, checked_level
from ecgtune.evaluation.notes import comparison_notes
from ecgtune.evaluation.recommendation import ranked_methods, recommend
from ecgtune.evaluation.scorer import Key, Scorer, make_scorer
from ecgtune.evaluation.statistics.estimate import Estimate, holm
from ecgtune.utils.formatting import counted

# Rounded probabilities in predictions.csv can change the class of a window at the threshold, but not of many.
ACCURACY_TOLERANCE = 0.005

Values = dict[Key, NDArray[np.float64]]


@dataclass(frozen=True)
class RunRecord:
    """A finished run: its description, its metrics.json and its test predictions.

    `name` is the same for all seeds of a method ("lora"), `title` is the text of tables, `kind` is "method" or
    "baseline", `folder` is inside the comparison folder ("lora/seed-0"). `label`, `probability`, `group` and
    `recording` are those of the test split, with shapes as in `evaluate`, in the same row order in every run. `row`,
    the dataset row of each window, is compared between runs if given.
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

    def scorer(self) -> Scorer:
        """Return the scorer of the test predictions with the decision of the run."""
        decision = Decision.from_dict(self.metrics["threshold"])
        f1_over = self.metrics.get("evaluation", {}).get("f1_over", ())
        return make_scorer(self.label, self.probability, decision, self.metrics["classes"], f1_over)


@dataclass(frozen=True, eq=False)
class _Scores:
    """Metrics of a run: `values` on the test windows, `draws` `(resamples,)` each on resamples of their groups.

    trials, constant: those of its `Scorer`. probability: of the test windows.
    """

    seed: int
    values: dict[Key, float]
    draws: Values
    trials: dict[Key, int | None]
    constant: bool
    probability: NDArray

    @property
    def names(self) -> list[str]:
        return [name for name in self.values if isinstance(name, str)]


def compare_runs(
    records: Sequence[RunRecord],
    *,
    reference: str = "full",
    pairs: Sequence[tuple[str, str]] = (),
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Compute `{"reference", "recommendation", "notes", "rows"}` of results.json, a row per method in their order.

    With `pairs` of names of methods also "pairs": the paired difference of the ranking metric, first minus second, with
    p-values that are adjusted for all pairs (Holm).

    The mean over seeds is None if the metric is undefined for one of the seeds. `ci_low` and `ci_high` are percentiles,
    over resampled groups, of the mean over seeds. `difference` is paired by group and seed; a baseline, or a method
    without a common seed, is compared by means over all seeds; `identical` marks one of two methods that predict all
    test windows alike. `reference` and every `difference` are None if no record has that name. Raises RunError if the
    runs have different test windows.
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
    for indices in methods.values():
        own = [window[index] for index in indices]
        row = _description([records[index] for index in indices])
        row["metrics"] = _summary(own, level)
        row["group_metrics"] = None if group is None else _summary([group[index] for index in indices], level)
        row["difference"] = None
        if paired_with is not None:
            theirs = [window[index] for index in methods[paired_with]]
            if row["kind"] == "method":
                own, theirs = _common_seeds(own, theirs)
            row["difference"] = _difference(own, theirs, level)
        rows.append(row)
    _adjust(rows, paired_with)
    notes = comparison_notes([record.metrics for record in records if record.kind == "method"], rows, reference)
    lead = LEAD[records[0].metrics.get("task", "binary")]
    ranked = ranked_methods(rows, lead)
    differences = {}
    for row in ranked:
        own, best = ([window[index] for index in methods[name]] for name in (row["method"], ranked[0]["method"]))
        differences[row["method"]] = _difference(*_common_seeds(own, best), level)[lead]
    units = len(np.unique(group_index(records[0].group, len(records[0].label))[1]))
    recommendation = recommend(ranked, differences, lead, units)
    found = [
        {
            "first": first,
            "second": second,
            **_difference(*_common_seeds(*([window[i] for i in methods[name]] for name in (first, second))), level)[
                lead
            ],
        }
        for first, second in pairs
    ]
    _add_holm(found)
    between = {"pairs": found} if pairs else {}
    return {"reference": paired_with, "recommendation": recommendation, "notes": notes, "rows": rows, **between}


def _by_method(records: Sequence[RunRecord]) -> dict[str, list[int]]:
    """Return the indices of the records of each method."""
    if not records:
        raise RunError("no finished runs to compare; give one or more")
    methods: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        indices = methods.setdefault(record.name, [])
        if any(records[other].seed == record.seed for other in indices):
            raise RunError(f"two runs of '{record.name}' have the seed {record.seed}; allowed is one run per seed")
        indices.append(index)
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
                f"{other.folder} and {first.folder} have different test windows; rerun both with the same file and "
                "split"
            )


def _same(first: NDArray | None, second: NDArray | None) -> bool:
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)


def _check_own_predictions(record: RunRecord) -> None:
    known = record.metrics["window"]["metrics"]["accuracy"]["value"]
    stored, found = float("nan") if known is None else known, record.scorer().values()["accuracy"]
    same = np.isclose(stored, found, rtol=0, atol=ACCURACY_TOLERANCE, equal_nan=True)
    if record.metrics["window"]["n"] != len(record.label) or not same:
        raise RunError(
            f"{record.folder}: predictions.csv gives an accuracy of {found:.4f} over "
            f"{counted(len(record.label), 'window')}, but "
            f"metrics.json has {stored:.4f} over {record.metrics['window']['n']}; delete the folder and rerun it"
        )


def _measure(records: Sequence[RunRecord], *, resamples: int, seed: int) -> list[_Scores]:
    """Compute the metrics of each run on the test windows and on the same resamples of their groups."""
    windows = len(records[0].label)
    index = group_index(records[0].group, windows)[1]
    scorers = [record.scorer() for record in records]
    chunks: list[list[Values]] = [[] for _ in records]
    for counts in resampled_counts(int(index.max()) + 1, windows, resamples, seed):
        weights = counts[:, index]
        for scorer, own in zip(scorers, chunks, strict=True):
            own.append(scorer(weights))
    return [
        _Scores(
            record.seed,
            scorer.values(),
            {name: np.concatenate([chunk[name] for chunk in own]) for name in own[0]},
            {name: scorer.trials(name, index) for name in own[0]},
            scorer.constant,
            scorer.probability,
        )
        for record, scorer, own in zip(records, scorers, chunks, strict=True)
    ]


def _per_group(records: Sequence[RunRecord]) -> list[RunRecord] | None:
    """Return the records with one prediction per recording or group, or None if these have no single label."""
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


def _summary(runs: Sequence[_Scores], level: float) -> dict[str, dict[str, Any]]:
    result = {}
    for name in runs[0].names:
        values = np.array([run.values[name] for run in runs])
        draws, mean = np.mean([run.draws[name] for run in runs], axis=0), float(values.mean())
        trials = min(run.trials[name] or 0 for run in runs)
        constant = all(run.constant for run in runs)
        result[name] = {
            "mean": defined(mean),
            "std": defined(float(values.std(ddof=1))) if len(runs) > 1 else None,
            "values": [defined(value) for value in values],
            **plain(interval(name, mean, draws, trials, level, constant=constant)),
            "with_seeds": _with_seeds(runs, name, level),
        }
    return result


def _with_seeds(runs: Sequence[_Scores], name: str, level: float) -> dict[str, float | None] | None:
    """Return the interval over resampled seeds and groups; None for one seed."""
    if len(runs) < 2:
        return None
    low, high = percentile_interval(over_seeds(np.stack([run.draws[name] for run in runs])), level)
    return {"ci_low": defined(low), "ci_high": defined(high)}


def _common_seeds(runs: Sequence[_Scores], reference: Sequence[_Scores]) -> tuple[Sequence[_Scores], Sequence[_Scores]]:
    """Return the runs of common seeds, all runs if there is none.

    Both have the same order, so that a method minus itself is exactly 0.
    """
    common = sorted({run.seed for run in runs} & {run.seed for run in reference})
    if not common:
        return runs, reference
    own, theirs = ({run.seed: run for run in side} for side in (runs, reference))
    return [own[seed] for seed in common], [theirs[seed] for seed in common]


def _difference(
    runs: Sequence[_Scores], reference: Sequence[_Scores], level: float
) -> dict[str, dict[str, float | None]]:
    result = {}
    itself = list(runs) == list(reference)
    identical = len(runs) == len(reference) and all(
        np.array_equal(one.probability, other.probability) for one, other in zip(runs, reference, strict=True)
    )
    for name in runs[0].names:
        value = np.mean([run.values[name] for run in runs]) - np.mean([run.values[name] for run in reference])
        mean, mean_reference = (np.mean([run.draws[name] for run in side], axis=0) for side in (runs, reference))
        # The reference minus itself is 0; other equal methods are equal on these windows only.
        found = interval(name, float(value), mean - mean_reference, None, level, constant=itself)
        result[name] = {"value": defined(float(value)), **plain(found)}
        if identical and not itself and value == 0:
            result[name]["identical"] = True
        if not itself and "too_few" not in found:
            result[name]["p"] = _p_value(float(value), mean - mean_reference)
    return result


def _p_value(value: float, draws: NDArray[np.float64]) -> float | None:
    """Return the two-sided p-value of a difference by the standard deviation of its resamples; None if undefined."""
    known = draws[~np.isnan(draws)]
    if np.isnan(value) or len(known) < 2:
        return None
    return Estimate(value, float(known.std(ddof=1))).p_value


def _adjust(rows: Sequence[dict[str, Any]], reference: str | None) -> None:
    """Add `p_holm` to the differences of methods: p-values adjusted for the number of methods, of each metric."""
    methods = [row for row in rows if row["difference"] and row["kind"] == "method" and row["method"] != reference]
    for name in methods[0]["difference"] if methods else ():
        _add_holm([row["difference"][name] for row in methods])


def _add_holm(entries: Sequence[dict[str, Any]]) -> None:
    """Add `p_holm` to the differences that have a p-value."""
    tested = [entry for entry in entries if entry.get("p") is not None]
    for entry, adjusted in zip(tested, holm([entry["p"] for entry in tested]), strict=True):
        entry["p_holm"] = float(adjusted)


def _description(runs: Sequence[RunRecord]) -> dict[str, Any]:
    training = [run.metrics["training"] for run in runs]
    parameters = [run.metrics["parameters"] for run in runs]
    return {
        "method": runs[0].name,
        "title": runs[0].title,
        "kind": runs[0].kind,
        "model": runs[0].metrics.get("model"),
        "seeds": [run.seed for run in runs],
        "runs": [run.folder for run in runs],
        "epochs": _typical(entry["epochs"] for entry in training),
        "learning_rate": _typical(entry["learning_rate"] for entry in training),
        "trainable_fraction": _typical(entry["trainable_fraction"] for entry in parameters),
        "trainable": _typical(entry["trainable"] for entry in parameters),
        "parameters": _typical(entry.get("total") for entry in parameters),
        "seconds": _typical(entry.get("seconds") for entry in training),
        "seconds_per_epoch": _typical(entry["seconds_per_epoch"] for entry in training),
        "peak_memory_bytes": _largest(entry["peak_memory_bytes"] for entry in training),
        "file_bytes": _largest(entry["file_bytes"] for entry in training),
        "calibration": _calibration([run.metrics.get("calibration") for run in runs]),
    }


def _calibration(entries: Sequence[dict[str, Any] | None]) -> dict[str, dict[str, float | None]] | None:
    """Return means over seeds before and after calibration; None if a run has none (the majority class)."""
    known = [entry for entry in entries if entry is not None]
    if len(known) < len(entries):
        return None
    sides = {"before": [one["before"] for one in known], "after": [one["after"] or one["before"] for one in known]}
    return {
        name: {side: _typical(mean[name] for mean in means) for side, means in sides.items()}
        for name in known[0]["before"]
    }


def _typical(values: Iterable[float | None]) -> float | None:
    """Return the value if it is the same for all seeds, else the mean; None without values (the majority class)."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return known[0] if len(set(known)) == 1 else float(np.mean(known))


def _largest(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None
