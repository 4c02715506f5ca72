"""Means over the folds of a cross-validation with intervals over patients, and the table of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from real_rows import Kept, Row, cells_of, facts_of, kept_runs, markdown, with_interval

from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.groups import group_index
from ecgtune.evaluation.intervals import percentile_interval, resampled_counts
from ecgtune.evaluation.scorer import make_scorer

COLUMNS = (
    "fold", "method", "title", "weights", "trainable_share", "training_windows", "epochs", "best_epoch", "seconds",
    "recordings", "label", "positives", "known", "folds_in_mean", "auroc", "auroc_low", "auroc_high",
    "difference", "difference_low", "difference_high",
)  # fmt: skip
MEAN, REFERENCE, RESAMPLES, LEVEL = "mean", "full", 1000, 0.95
Draws = dict[str, NDArray[np.float64]]


def summarised(rounds: Sequence[Path], labels: Sequence[str]) -> list[Row]:
    """Rows of each method over all comparison folders `rounds`, with "mean" for a fold.

    A label's AUROC is the mean over the folds whose test part has recordings with and without it, and the macro AUROC
    the mean of the folds' macro AUROC. Predictions of different folds are not pooled, since they are of different
    models. Intervals are percentiles over resampled patients, drawn in each fold; the difference to full fine-tuning is
    paired by them.
    """
    folds = [{run.method: run for run in kept_runs(folder)} for folder in rounds]
    values = {name: [_values(fold[name], labels) for fold in folds] for name in folds[0]}
    rows: list[Row] = []
    for name, parts in values.items():
        first = facts_of(folds[0][name].metrics)
        seconds = [float(facts_of(fold[name].metrics)["seconds"] or "nan") for fold in folds]
        spent = "" if np.isnan(seconds).any() else f"{np.mean(seconds):.1f}"
        common = {"fold": MEAN, "method": name, **first, "best_epoch": "", "training_windows": "", "seconds": spent}
        common["recordings"] = str(sum(len(fold[name].test.label) for fold in folds))
        for label in ("macro", *labels):
            row = {**common, "label": label}
            row["folds_in_mean"] = str(sum(not np.isnan(part[label][0]) for part in parts))
            if label != "macro":
                truth = np.concatenate([fold[name].test.label[:, labels.index(label)] for fold in folds])
                row |= {"positives": str(int((truth == 1).sum())), "known": str(int((truth >= 0).sum()))}
            own = _mean([part[label] for part in parts])
            row |= cells_of("auroc", _interval(own))
            if name != REFERENCE and REFERENCE in values:
                row |= cells_of("difference", _interval(own - _mean([part[label] for part in values[REFERENCE]])))
            rows.append(row)
    return rows


def _values(run: Kept, labels: Sequence[str]) -> Draws:
    """AUROC of each label and of all, `(1 + resamples,)`: as it is, then on each resample of the test patients."""
    test = run.test
    scorer = make_scorer(test.label, test.probability, Decision.from_dict(run.metrics["threshold"]), labels, each=True)
    index = group_index(test.group, len(test.label))[1]
    chunks = [scorer(np.ones((1, len(test.label))))]
    for counts in resampled_counts(int(index.max()) + 1, len(test.label), RESAMPLES, seed=0):
        chunks.append(scorer(counts[:, index]))
    keys = {"macro": "auroc", **{label: ("auroc", place) for place, label in enumerate(labels)}}
    return {label: np.concatenate([chunk[key] for chunk in chunks]) for label, key in keys.items()}


def _mean(folds: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Over the folds that have the label; a resample in which one of them loses it has none."""
    inside = [values for values in folds if not np.isnan(values[0])]
    return np.mean(inside, axis=0) if inside else np.full_like(folds[0], np.nan)


def _interval(values: NDArray[np.float64]) -> dict[str, float | None]:
    low, high = percentile_interval(values[1:], LEVEL)
    parts = {"value": float(values[0]), "ci_low": low, "ci_high": high}
    return {key: None if np.isnan(value) else value for key, value in parts.items()}


def table(rows: Sequence[Row], labels: Sequence[str], folds: int) -> str:
    """Markdown: a line per method, macro AUROC, its difference to full fine-tuning, AUROC of each label."""
    means = [row for row in rows if row["fold"] == MEAN]
    if not means:
        return "Not run yet.\n"
    done = len({row["fold"] for row in rows} - {MEAN})
    so_far = "" if done == folds else f"{done} of {folds} folds so far.\n\n"
    by_label = {(row["method"], row["label"]): row for row in means}
    methods = list(dict.fromkeys(row["method"] for row in means))
    order = [name for name in ("probe", "lora", "full", "resnet", "majority") if name in methods]
    counts = [by_label[order[0], label] for label in labels]
    prevalence = [f"{100 * int(row['positives']) / int(row['known']):.1f} %" for row in counts]
    heads = [f"{label} ({share})" for label, share in zip(labels, prevalence, strict=True)]
    lines = []
    for name in order:
        whole = by_label[name, "macro"]
        share = f"{100 * float(whole['trainable_share']):.2f} %" if whole["trainable_share"] else "n/a"
        cells = [_label_cell(by_label[name, label], done) for label in labels]
        against = "reference" if name == REFERENCE else with_interval(whole, "difference")
        lines.append([whole["title"], share, with_interval(whole, "auroc"), against, *cells])
    return so_far + markdown(["method", "trainable", "macro AUROC", "difference to full", *heads], lines)


def _label_cell(row: Row, folds: int) -> str:
    if row["folds_in_mean"] == "0":
        return "absent"
    some = "" if int(row["folds_in_mean"]) == folds else f", {row['folds_in_mean']} of {folds} folds"
    return with_interval(row, "auroc") + some
