"""Intervals and paired differences of variants from the predictions of their runs.

The same test recordings are resampled for all variants and seeds, so the difficulty of a recording cancels in a
difference. Seeds are averaged; a separate interval is computed over seeds.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from predictions import load_run
from rows import Row, read_rows, write_rows
from scipy.stats import sem
from scipy.stats import t as student
from settings import Study

from ecgtune.evaluation.groups import group_index
from ecgtune.evaluation.intervals import percentile_interval, resampled_counts
from ecgtune.evaluation.metrics import weighted_metrics
from ecgtune.evaluation.statistics.estimate import holm

METRICS = ("accuracy", "f1", "auroc")
COLUMNS = (
    "study", "task", "fraction", "variant", "reference", "metric", "seeds", "value", "std", "ci_low", "ci_high",
    "difference", "difference_ci_low", "difference_ci_high", "seeds_ci_low", "seeds_ci_high", "p", "p_holm", "key",
)  # fmt: skip
Draws = dict[str, NDArray[np.float64]]


def run_statistics(study: Study, rows: Sequence[Row], predictions: Path) -> None:
    """Compute the cells of statistics.csv for the variants of `study` and their references.

    Cells of unchanged runs are kept. Runs without predictions in the folder `predictions` have no new cells.
    """
    file = study.results / "statistics.csv"
    kept = read_rows(file)
    made = [row for row in kept if row["study"] != study.name]
    old = {tuple(row[name] for name in (*COLUMNS[:6], "key")): row for row in kept}

    @cache
    def draws(runs: tuple[str, ...]) -> list[Draws]:
        return [resample(predictions / run, study.tables["resamples"]) for run in runs]

    for (task, fraction), runs in by_place(rows).items():
        for name, variant in study.variants.items():
            for reference in dict.fromkeys((name, *variant.reference, *study.tables.get("reference", ()))):
                pairs = paired(runs.get(name, {}), runs.get(reference, {}))
                if not pairs:
                    continue
                place = (study.name, task, fraction, name, reference)
                facts = [[row[key] for key in ("settings", "seed", *METRICS)] for pair in pairs for row in pair]
                key = hashlib.sha256(str([facts, study.tables["resamples"]]).encode()).hexdigest()[:12]
                found = [old[(*place, metric, key)] for metric in METRICS if (*place, metric, key) in old]
                files = [tuple(prediction_file(row) for row in side) for side in zip(*pairs, strict=True)]
                if not found and all((predictions / one).is_file() for side in files for one in side):
                    found = [
                        dict(zip(COLUMNS, (*place, metric, str(len(pairs))), strict=False))
                        | cell(metric, pairs, *map(draws, files))
                        | {"key": key}
                        for metric in METRICS
                    ]
                made += found
    write_rows(file, adjusted(made), COLUMNS)


def by_place(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, dict[str, Row]]]:
    """Group rows by task and fraction, then by variant, then by seed."""
    found: dict[tuple[str, str], dict[str, dict[str, Row]]] = {}
    for row in rows:
        own = found.setdefault((row["task"], row["fraction"]), {})
        own.setdefault(row["variant"], {})[row["seed"]] = row
    return found


def paired(
    own: Mapping[str, Row], other: Mapping[str, Row], alike: Sequence[str] = ("precision", "device")
) -> list[tuple[Row, Row]]:
    """Return pairs of runs with the same seed and the same values of the columns `alike`.

    By default they have the same number format and device, because rounding can change accuracy as much as a variant.
    """
    seeds = sorted(own.keys() & other.keys(), key=int)
    return [(own[s], other[s]) for s in seeds if all(own[s][name] == other[s][name] for name in alike)]


def prediction_file(row: Row) -> str:
    return "-".join(row[name] for name in ("study", "task", "fraction", "variant", "seed", "settings")) + ".npz"


def resample(file: Path, resamples: int) -> Draws:
    """Compute the metrics of a run on the test windows (first entry) and on resampled recordings."""
    run = load_run(file)
    label, probability, group, threshold = (run[name] for name in ("label", "probability", "group", "threshold"))
    index = group_index(group, len(label))[1]
    chunks = [weighted_metrics(label, probability, np.ones((1, len(label))), float(threshold))]
    for counts in resampled_counts(int(index.max()) + 1, len(label), resamples, seed=0):
        chunks.append(weighted_metrics(label, probability, counts[:, index], float(threshold)))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in METRICS}


def cell(metric: str, pairs: Sequence[tuple[Row, Row]], own: list[Draws], other: list[Draws]) -> Row:
    """Compute value and difference of one metric (means over seeds), their intervals and the p-value."""
    ours, theirs = (np.mean([run[metric] for run in side], axis=0) for side in (own, other))
    values = [float(run[metric][0]) for run in own]
    low, high = percentile_interval(ours[1:], 0.95)
    difference_low, difference_high = percentile_interval((ours - theirs)[1:], 0.95)
    seeds_low, seeds_high = over_seeds([float(one[metric]) - float(two[metric]) for one, two in pairs])
    numbers = {
        "value": ours[0], "std": np.std(values, ddof=1) if len(values) > 1 else np.nan, "ci_low": low, "ci_high": high,
        "difference": ours[0] - theirs[0], "difference_ci_low": difference_low, "difference_ci_high": difference_high,
        "seeds_ci_low": seeds_low, "seeds_ci_high": seeds_high, "p": two_sided((ours - theirs)[1:]),
    }  # fmt: skip
    return {name: f"{value:.5f}" for name, value in numbers.items()}


def two_sided(draws: NDArray[np.float64]) -> float:
    """Return the bootstrap p-value of no difference (Davison and Hinkley 1997, section 4.2); NaN if undefined."""
    defined = draws[~np.isnan(draws)]
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(defined) + 1)) if len(defined) else float("nan")


def over_seeds(differences: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return Student's interval of the mean of paired differences of seeds; NaN for fewer than two."""
    if len(differences) < 2:
        return float("nan"), float("nan")
    half = sem(differences) * student.ppf((1 + level) / 2, len(differences) - 1)
    return float(np.mean(differences) - half), float(np.mean(differences) + half)


def adjusted(rows: Sequence[Row]) -> list[Row]:
    """Add Holm's p-values over the variants of each study, task, fraction, metric and reference.

    Variants with one seed and ablations (NAME+CHANGE) are descriptive and not part of the family of tests.
    """
    families: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        row["p_holm"] = ""
        if row["variant"] != row["reference"] and "+" not in row["variant"] and row["p"] != "nan":
            family = tuple(row[name] for name in ("study", "task", "fraction", "metric", "reference"))
            families.setdefault(family, []).append(row)
    for family in families.values():
        for row, p in zip(family, holm([float(row["p"]) for row in family]), strict=True):
            row["p_holm"] = f"{p:.5f}"
    return list(rows)
