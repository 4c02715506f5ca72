"""Rhythm classification of the PhysioNet/CinC Challenge 2017 (four classes), from windows and from original files.

    python studies/real_tasks/cinc2017.py ../shared/data/cinc2017_rhythms.npz ../shared/data/records/cinc2017

compares the methods of the recipe cinc2017-rhythms with two baselines on the windows with 10 % of the labels, the
cheaper methods with all labels, and all methods on the 60 original recordings by five-fold cross-validation.
results/cinc2017.csv has one row per data set, label fraction, method and level. Rerun the command to resume; without
arguments only the table is written.

The pretraining of ecg-fm-tiny used 55 of the 1,279 test recordings, without labels; the level "unseen" excludes them.
It also used 53 of the 60 original recordings.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
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
from pages import markdown, replace_section
from rows import read_rows, replace_rows

from ecgtune import CompareSettings, compare, read_dataset
from ecgtune.data.dataset import Dataset
from ecgtune.data.folds import k_folds
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.evaluate import Grouping, evaluate
from ecgtune.io.records.reading import RecordSettings, read_records
from ecgtune.recipes.recipe import Recipe, load_recipes

RECIPE = "cinc2017-rhythms"
CLASSES = ("N", "A", "O", "~")
RATE, WINDOW = 100.0, 6.0  # Hz of ecg-fm-tiny, seconds
FOLDS, FOLD_EPOCHS = 5, 20  # more epochs, because there are only 36 training recordings
#: Comparisons on the windows: label fraction, methods, whether with the baselines.
WORK = ((0.1, ("full", "lora", "probe"), True), (1.0, ("probe",), False), (1.0, ("lora",), False))
PRETRAINING = Path(__file__).parents[1] / "pretraining" / "results" / "run" / "recordings.csv"
KEY = ("data", "label_fraction", "method", "level")
_MEASURES = ("challenge_f1", "f1", *(f"f1_{name}" for name in CLASSES), "auroc", "accuracy")
COLUMNS = (
    "data", "label_fraction", "method", "title", "weights", "trainable_fraction", "training_windows", "epochs",
    "best_epoch", "seconds", "level", "n", *(f"n_{name}" for name in CLASSES),
    *(f"{name}{end}" for name in _MEASURES for end in ("", "_ci_low", "_ci_high")),
)  # fmt: skip
LEVELS = {"recording": "recordings", "unseen": "recordings unseen in pretraining", "window": "windows"}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("windows", nargs="?", type=Path, help="NPZ file of windows with the four labels")
    parser.add_argument("records", nargs="?", type=Path, help="folder of original files with labels.csv")
    parser.add_argument("--out", type=Path, default=Path("runs/real_tasks/cinc2017"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    file = RESULTS / "cinc2017.csv"
    if options.windows is not None:
        recipes, windows = uncalibrated(load_recipes(RECIPE)), read_dataset(options.windows)
        sources = {"windows": windows.source.sha256}
        pieces: list[Callable[..., list[Row]]] = [partial(of_windows, windows, recipes, *work) for work in WORK]
        if options.records is not None:
            settings = RecordSettings(sampling_rate=RATE, window=WINDOW, workers=1)
            skipped = options.out / "skipped.csv"
            records = read_records(options.records / "labels.csv", options.records, settings=settings, skipped=skipped)
            sources["records"] = records.source.sha256
            pieces.insert(-1, partial(of_records, records, recipes))  # LoRA with all labels, the slowest, is last
        for piece in pieces:
            replace_rows(file, piece(out=options.out), COLUMNS, KEY)
            write_facts(file.with_suffix(".json"), {"data": sources, "recipe": RECIPE, "seeds": [0]})
    replace_section(PAGE, "cinc2017", table(read_rows(file)))


def of_windows(
    dataset: Dataset, recipes: Sequence[Recipe], fraction: float, names: Sequence[str], baselines: bool, *, out: Path
) -> list[Row]:
    """Compare at a label fraction; return rows of windows, recordings, and recordings unused in pretraining."""
    chosen = [replace(one, data=replace(one.data, label_fraction=fraction)) for one in recipes if one.name in names]
    folder = out / "-".join([f"windows-{fraction:g}", *names])
    compare(dataset, chosen, CompareSettings(seeds=1, baselines=baselines), out=folder)
    lines = PRETRAINING.read_text(encoding="utf-8").split()
    unseen = [line.removesuffix(",left_out") for line in lines if line.endswith(",left_out")]
    rows = []
    for run in finished_runs(folder):
        common = {"data": "windows", "label_fraction": f"{fraction:g}", "method": run.method}
        common |= training_cells(run.metrics)
        keep = np.isin(run.test.group, unseen)
        part = evaluated(run, run.test.label[keep], run.test.probability[keep], run.test.group[keep])
        rows += [*level_rows(common, run.metrics), {**common, "level": "unseen", **cells(part["group"])}]
    return rows


def of_records(dataset: Dataset, recipes: Sequence[Recipe], *, out: Path) -> list[Row]:
    """Compare on each fold, and evaluate each method on the predictions of all folds, as a fold has 12 recordings."""
    chosen = [replace(one, optimisation=replace(one.optimisation, epochs=FOLD_EPOCHS)) for one in recipes]
    found: dict[str, list[FinishedRun]] = {}
    for number, fold in enumerate(k_folds(dataset, FOLDS), start=1):
        compare(fold, chosen, CompareSettings(seeds=1), out=out / f"records-{number}")
        for run in finished_runs(out / f"records-{number}"):
            found.setdefault(run.method, []).append(run)
    rows = []
    for method, runs in found.items():
        names = ("label", "probability", "group")
        parts = [np.concatenate([getattr(run.test, name) for run in runs]) for name in names]
        common = {"data": "records", "label_fraction": "1", "method": method, **training_cells(runs[0].metrics)}
        rows += level_rows(common | {"best_epoch": "", "seconds": ""}, evaluated(runs[0], *parts))
    return rows


def evaluated(run: FinishedRun, label: np.ndarray, probability: np.ndarray, group: np.ndarray) -> dict[str, Any]:
    """Evaluate predictions with the decision and settings of a run."""
    over, pooled = (run.metrics["evaluation"][name] for name in ("f1_over", "recording"))
    decision, classes = Decision.from_dict(run.metrics["threshold"]), run.metrics["classes"]
    return evaluate(label, probability, Grouping(group, pooled=pooled), decision, classes, f1_over=over)


def level_rows(common: Row, found: dict[str, Any]) -> list[Row]:
    """Return the rows of windows and of recordings."""
    levels = {"window": "window", "recording": "group"}
    return [{**common, "level": level, **cells(found[part])} for level, part in levels.items()]


def cells(level: dict[str, Any]) -> Row:
    """Return the columns of a level of metrics.json; F1 of an absent class and mean F1 over all are left out."""
    row = {"n": str(level["n"])}
    complete = level["labels_in_mean"] == len(level["labels"])
    for name in ("challenge_f1", "auroc", "accuracy", *(["f1"] if complete else [])):
        row |= metric_cells(name, level["metrics"][name])
    for name, found in level["labels"].items():
        row[f"n_{name}"] = str(found["positives"])
        row |= {} if found["metrics"] is None else metric_cells(f"f1_{name}", found["metrics"]["f1"])
    return row


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table with one row per data set, label fraction, level and method."""
    found = {tuple(row[name] for name in KEY): row for row in rows}
    places = sorted({key[:2] for key in found}, key=lambda place: (place[0] != "windows", float(place[1])))
    lines = []
    for data, fraction in places:
        title = f"windows, {100 * float(fraction):g} % of labels" if data == "windows" else "60 original files, 5 folds"
        for level, unit in LEVELS.items():
            for row in (found[key] for name in ORDER if (key := (data, fraction, name, level)) in found):
                each = [_class_cell(row, name) for name in CLASSES]
                scores = (with_interval(row, name) for name in ("challenge_f1", "f1"))
                lines.append([title, f"{int(row['n']):,} {unit}", row["title"], *scores, *each])
    heads = [f"F1 {name}" for name in CLASSES]
    header = ["data", "measured on", "method", "challenge F1 (N, A, O)", "with ~", *heads]
    return markdown(header, lines) if lines else "Not run yet.\n"


def _class_cell(row: Row, name: str) -> str:
    if row[f"n_{name}"] == "0":
        return "absent"
    return f"{float(row[f'f1_{name}']):.3f}" if row[f"f1_{name}"] else "n/a"


if __name__ == "__main__":
    main()
