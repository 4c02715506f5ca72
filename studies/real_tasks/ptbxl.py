"""PTB-XL superclasses by five-fold cross-validation over patients, from WFDB files and the table of labels.

    python studies/real_tasks/ptbxl.py ../shared/data/ptbxl500_meta.csv ../shared/data/ptbxl500_500hz.npz

compares the methods of the recipe ptbxl-superclasses with two baselines on each fold, using lead II, because
ecg-fm-tiny is a one-lead encoder. results/ptbxl.csv has one row per fold, method and label. Rerun the command to
resume. Instead of the NPZ file, which is unpacked into WFDB files, give the folder of the original files of PTB-XL.
Without arguments only the table is written.

A recording without any of the superclasses has no label in this task (as in Strodthoff et al., IEEE J. Biomed. Health
Inform. 25, 2021). Recordings with the same signal and different patients are excluded.
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import wfdb
from comparisons import (
    ORDER,
    PAGE,
    RESULTS,
    FinishedRun,
    Row,
    finished_runs,
    metric_cells,
    training_cells,
    uncalibrated,
    with_interval,
    write_facts,
)
from numpy.typing import NDArray
from pages import markdown, replace_section
from rows import read_rows, replace_rows

from ecgtune import CompareSettings, compare
from ecgtune.data.dataset import Dataset
from ecgtune.data.folds import k_folds
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.groups import group_index
from ecgtune.evaluation.intervals import percentile_interval, resampled_counts
from ecgtune.evaluation.scorer import make_scorer
from ecgtune.io.label_table import TableColumns
from ecgtune.io.records.reading import RecordSettings, read_records
from ecgtune.recipes.recipe import load_recipes
from ecgtune.utils.files import write_text

LABELS = ("NORM", "MI", "STTC", "CD", "HYP")
RECIPE, FOLDS, RATE = "ptbxl-superclasses", 5, 100.0
MEAN, REFERENCE, RESAMPLES = "mean", "full", 1000
KEY = ("fold", "method", "label")
COLUMNS = (
    "fold", "method", "title", "weights", "trainable_fraction", "training_windows", "epochs", "best_epoch", "seconds",
    "recordings", "label", "positives", "known", "folds_in_mean", "auroc", "auroc_ci_low", "auroc_ci_high",
    "difference", "difference_ci_low", "difference_ci_high",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("table", nargs="?", type=Path, help="ptbxl_database.csv with the superclasses as 0/1 columns")
    parser.add_argument("records", nargs="?", type=Path, help="NPZ file of the recordings, or PTB-XL's folder")
    parser.add_argument("--out", type=Path, default=Path("runs/real_tasks/ptbxl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    file = RESULTS / "ptbxl.csv"
    if options.table is not None:
        folder = options.records
        if folder.suffix == ".npz":
            folder = unpacked(options.records, options.table, options.out / "records")
        dataset, left_out = read(options.table, folder, options.out / "labels.csv")
        rounds = []
        for number, fold in enumerate(k_folds(dataset, FOLDS), start=1):
            rounds.append(options.out / f"round-{number}")
            compare(fold, uncalibrated(load_recipes(RECIPE)), CompareSettings(seeds=1), out=rounds[-1])
            rows = [*fold_rows(rounds[-1], number), *mean_rows(rounds, LABELS)]
            replace_rows(file, rows, COLUMNS, KEY)
            data = {"sha256": dataset.source.sha256, "recordings": len(dataset), "notes": dataset.source.notes}
            facts = {"data": data, "left_out": left_out, "recipe": RECIPE, "split_by": "patient", "seeds": [0]}
            write_facts(file.with_suffix(".json"), {**facts, "folds": FOLDS, "folds_done": number})
    replace_section(PAGE, "ptbxl", table(read_rows(file), LABELS, FOLDS))


def unpacked(file: Path, table: Path, folder: Path) -> Path:
    """Write the recordings of an NPZ file (`X`, microvolts) as WFDB files with the names of the table."""
    with table.open(newline="", encoding="utf-8") as lines:
        names = [row["filename_hr"] for row in csv.DictReader(lines)]
    with np.load(file) as arrays:
        signal, leads = arrays["X"], arrays["leads"].tolist()
    count = len(leads)
    header = {"fs": 500, "units": ["mV"] * count, "sig_name": leads, "fmt": ["16"] * count}
    header |= {"adc_gain": [1000] * count, "baseline": [0] * count}
    for name, values in zip(names, signal, strict=True):
        path = folder / name
        if not path.with_suffix(".hea").is_file():  # written after the samples
            path.parent.mkdir(parents=True, exist_ok=True)
            wfdb.wrsamp(path.name, d_signal=values.T.astype(np.int64), write_dir=str(path.parent), **header)
    return folder


def read(table: Path, folder: Path, own_table: Path) -> tuple[Dataset, dict[str, str]]:
    """Read the windows; also return excluded recordings with their reason. Writes the used table to `own_table`."""
    with table.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    everything = _read(rows, folder, own_table)
    patient = dict(zip(everything.recording.tolist(), everything.group.tolist(), strict=True))
    reasons = {
        name: f"the same signal as {other}, which is of another patient"
        for pair in everything.source.near_duplicates
        for name, other in (pair, pair[::-1])
        if patient[name] != patient[other]
    }
    kept = [row for row in rows if row["filename_hr"] not in reasons]
    labelled = [row | ({} if "1" in map(row.get, LABELS) else dict.fromkeys(LABELS, "")) for row in kept]
    reasons |= {row["filename_hr"]: "none of the superclasses" for row in labelled if not row[LABELS[0]]}
    return _read(labelled, folder, own_table), reasons


def _read(rows: list[Row], folder: Path, own_table: Path) -> Dataset:
    names = ("filename_hr", "patient_id", *LABELS)
    write_text(own_table, "\n".join([",".join(names), *(",".join(row[name] for name in names) for row in rows)]) + "\n")
    return read_records(
        own_table,
        folder,
        columns=TableColumns(recording="filename_hr", patient="patient_id", labels=LABELS),
        settings=RecordSettings(sampling_rate=RATE, leads=("II",), window=10.0, workers=1),
        skipped=own_table.with_name("skipped.csv"),
    )


def fold_rows(comparison: Path, number: int) -> Iterator[Row]:
    """Yield the rows of each method of one fold, one per label."""
    for run in finished_runs(comparison):
        whole = run.metrics["window"]
        row = {"fold": str(number), "method": run.method, **training_cells(run.metrics), "recordings": str(whole["n"])}
        yield {**row, "label": "macro", **metric_cells("auroc", whole["metrics"]["auroc"])}
        for name, found in whole["labels"].items():
            counts = {"positives": str(found["positives"]), "known": str(found["known"])}
            auroc = {} if found["metrics"] is None else metric_cells("auroc", found["metrics"]["auroc"])
            yield {**row, "label": name, **counts, **auroc}


def mean_rows(rounds: Sequence[Path], labels: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of each method over all folds, with "mean" as fold.

    The AUROC of a label is the mean over the folds whose test split has recordings with and without it; predictions of
    different folds are from different models and are not pooled. Intervals are percentiles over resampled patients,
    drawn within each fold; the difference to full fine-tuning is paired by patient.
    """
    folds = [{run.method: run for run in finished_runs(folder)} for folder in rounds]
    draws = {name: [_auroc(fold[name], labels) for fold in folds] for name in folds[0]}
    for name in draws:
        common = {"fold": MEAN, "method": name, **training_cells(folds[0][name].metrics)}
        common |= {"best_epoch": "", "training_windows": "", "seconds": ""}
        common["recordings"] = str(sum(len(fold[name].test.label) for fold in folds))
        for label in ("macro", *labels):
            row = {**common, "label": label}
            row["folds_in_mean"] = str(sum(not np.isnan(part[label][0]) for part in draws[name]))
            if label != "macro":
                truth = np.concatenate([fold[name].test.label[:, labels.index(label)] for fold in folds])
                row |= {"positives": str(int((truth == 1).sum())), "known": str(int((truth >= 0).sum()))}
            own = _mean([part[label] for part in draws[name]])
            row |= metric_cells("auroc", _interval(own))
            if name != REFERENCE and REFERENCE in draws:
                row |= metric_cells("difference", _interval(own - _mean([part[label] for part in draws[REFERENCE]])))
            yield row


def _auroc(run: FinishedRun, labels: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return AUROC of each label and the macro mean, `(1 + resamples,)`: on the test split, then on its resamples."""
    test = run.test
    scorer = make_scorer(test.label, test.probability, Decision.from_dict(run.metrics["threshold"]), labels, each=True)
    index = group_index(test.group, len(test.label))[1]
    chunks = [scorer(np.ones((1, len(test.label))))]
    for counts in resampled_counts(int(index.max()) + 1, len(test.label), RESAMPLES, seed=0):
        chunks.append(scorer(counts[:, index]))
    keys = {"macro": "auroc", **{label: ("auroc", place) for place, label in enumerate(labels)}}
    return {label: np.concatenate([chunk[key] for chunk in chunks]) for label, key in keys.items()}


def _mean(folds: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the mean over folds with the label; NaN for resamples in which one of them lacks it."""
    inside = [values for values in folds if not np.isnan(values[0])]
    return np.mean(inside, axis=0) if inside else np.full_like(folds[0], np.nan)


def _interval(values: NDArray[np.float64]) -> dict[str, float | None]:
    low, high = percentile_interval(values[1:], 0.95)
    parts = {"value": float(values[0]), "ci_low": low, "ci_high": high}
    return {key: None if np.isnan(value) else value for key, value in parts.items()}


def table(rows: Sequence[Row], labels: Sequence[str], folds: int) -> str:
    """Return a Markdown table with macro AUROC, its difference to full fine-tuning, and AUROC of each label."""
    found = {(row["method"], row["label"]): row for row in rows if row["fold"] == MEAN}
    if not found:
        return "Not run yet.\n"
    done = len({row["fold"] for row in rows} - {MEAN})
    order = [name for name in ORDER if (name, "macro") in found]
    counts = [found[order[0], label] for label in labels]
    prevalence = [f"{100 * int(row['positives']) / int(row['known']):.1f} %" for row in counts]
    lines = []
    for name in order:
        whole = found[name, "macro"]
        trained = f"{100 * float(whole['trainable_fraction']):.2f} %" if whole["trainable_fraction"] else "n/a"
        cells = [_label_cell(found[name, label], done) for label in labels]
        against = "reference" if name == REFERENCE else with_interval(whole, "difference")
        lines.append([whole["title"], trained, with_interval(whole, "auroc"), against, *cells])
    heads = [f"{label} ({fraction})" for label, fraction in zip(labels, prevalence, strict=True)]
    so_far = "" if done == folds else f"{done} of {folds} folds so far.\n\n"
    return so_far + markdown(["method", "trainable", "macro AUROC", "difference to full", *heads], lines)


def _label_cell(row: Row, folds: int) -> str:
    if row["folds_in_mean"] == "0":
        return "absent"
    some = "" if int(row["folds_in_mean"]) == folds else f", {row['folds_in_mean']} of {folds} folds"
    return with_interval(row, "auroc") + some


if __name__ == "__main__":
    main()
