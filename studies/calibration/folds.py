"""ECE of a linear probe before and after calibration, by five-fold cross-validation over patients or recordings.

    python studies/calibration/folds.py --data ../shared/data [--tasks ptbxl500]

reads settings/folds.toml, trains one run per fold and writes results/folds.csv (a row per fold and class or label, and
one of all folds), results/prior_shift.csv and the tables of docs/evaluation.md. Without --data only the tables are
written. The calibration of a run is fitted on the validation windows of its fold.
"""

import argparse
import csv
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from machines import command, described
from pages import ROOT, markdown, replace_section
from rows import Row, read_rows, replace_rows

from ecgtune import WindowSettings, fine_tune, k_folds, read_dataset, recipe
from ecgtune.data.dataset import Dataset
from ecgtune.evaluation.calibration.measures import calibration_line, calibration_measures
from ecgtune.evaluation.prior_shift import estimated_prevalence, shifted
from ecgtune.training.predictions import read_predictions
from ecgtune.utils.files import json_value, write_json
from ecgtune.workflows.environment import machine, now

HERE = Path(__file__).parent
SETTINGS, RESULTS, PAGE = HERE / "settings" / "folds.toml", HERE / "results", ROOT / "docs" / "evaluation.md"
MEASURES = ("ece", "brier", "log_loss", "slope", "intercept")
SIDES = ("before", "after")
COLUMNS = (
    "task", "variant", "fold", "label", "kind", "windows", "positives", "ece_by_chance",
    *(f"{name}_{side}{end}" for name in MEASURES for side in SIDES for end in ("", "_ci_low", "_ci_high")),
)  # fmt: skip
ALL = "all"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the files of windows")
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("runs/calibration"))
    options = parser.parse_args()
    settings = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))
    for name, task in settings["tasks"].items() if options.data else ():
        if options.tasks and name not in options.tasks:
            continue
        dataset = windows(task, options.data, options.out)
        replace_rows(RESULTS / "folds.csv", list(task_rows(name, dataset, settings, options.out)), COLUMNS, KEY)
        facts = {"command": command(), "date": now(), "machine": machine(), "data": dataset.source.sha256}
        write_json(RESULTS / f"{name}.json", facts | {"windows": len(dataset)})
    replace_section(PAGE, "calibration", table(settings))


KEY = ("task", "variant", "fold", "label")
SHIFTED, DRAWS = 0.05, 200
SHIFT_COLUMNS = (
    "task", "variant", "prevalence", "estimate", "intercept_before", "intercept_stated", "intercept_estimated",
)  # fmt: skip


def windows(task: dict[str, Any], folder: Path, out: Path) -> Dataset:
    """The windows of a task, with their patients or recordings."""
    file = folder / task["file"]
    if "table" not in task:
        return read_dataset(file, settings=WindowSettings(limit=task.get("limit")))
    with (folder / task["table"]).open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    with np.load(file) as arrays:
        lead = arrays["leads"].tolist().index("II")
        signal = arrays["X"][:, lead].astype(np.float32) / 1000
    label = {name: np.array([int(row[name]) for row in rows]) for name in task["labels"]}
    known = np.sum(list(label.values()), axis=0) > 0  # a recording without any superclass has no label in this task
    made = out / "windows.npz"
    made.parent.mkdir(parents=True, exist_ok=True)
    patient = np.array([row["patient_id"].removesuffix(".0") for row in rows])
    arrays = {"signal": signal, "patient": patient, **label}
    np.savez(made, sampling_rate=500, unit="mV", lead="II", **{name: each[known] for name, each in arrays.items()})
    return read_dataset(made, labels=tuple(task["labels"]))


def task_rows(name: str, dataset: Dataset, settings: dict[str, Any], out: Path) -> Iterator[Row]:
    """Train the missing folds of a task; rows of each fold, and of all test windows together."""
    for variant, changes in settings["tasks"][name]["variants"].items():
        yield from variant_rows(name, variant, changes, dataset, settings, out)


def variant_rows(
    name: str, variant: str, changes: dict[str, Any], dataset: Dataset, settings: dict[str, Any], out: Path
) -> Iterator[Row]:
    """Rows of one variant of a task: its folds, and all of them together."""
    chosen = recipe(settings["recipe"], **changes)
    chosen = replace(chosen, model=replace(chosen.model, name=settings["model"]))
    label, sides, group = [], {side: [] for side in SIDES}, []
    for number, fold in enumerate(k_folds(dataset, settings["folds"], seed=settings["seed"]), start=1):
        folder = out / name / variant.replace(" ", "-") / f"fold-{number}"
        if not (folder / "metrics.json").is_file():
            fine_tune(fold, chosen, out=folder, resume=(folder / "recipe.toml").is_file())
        content = json_value(folder / "calibration.json")
        kinds = dict(zip(dataset.classes, [each["kind"] for each in content["calibration"]["maps"]], strict=False))
        if dataset.task == "binary":
            kinds = {dataset.classes[1]: kinds[dataset.classes[0]]}
        test = read_predictions(folder / "predictions.csv").of("test")
        label.append(test.label)
        group.append(test.group)
        sides["after"].append(test.probability)
        sides["before"].append(uncalibrated(folder / "predictions.csv", test.probability))
        measured = [
            calibration_measures(dataset.task, test.label, sides[side][-1], test.group, dataset.classes)
            for side in SIDES
        ]
        yield from measured_rows(name, variant, str(number), kinds, *measured)
    before, after = (
        calibration_measures(
            dataset.task, np.concatenate(label), np.concatenate(sides[side]), np.concatenate(group), dataset.classes
        )
        for side in SIDES
    )
    yield from measured_rows(name, variant, ALL, {}, before, after)
    if dataset.task == "binary":
        file = RESULTS / "prior_shift.csv"
        own = (np.concatenate(each) for each in (label, sides["after"], group))
        replace_rows(
            file, [{"task": name, "variant": variant, **prior_shift(*own)}], SHIFT_COLUMNS, ("task", "variant")
        )


def prior_shift(label: np.ndarray, probability: np.ndarray, group: np.ndarray) -> Row:
    """Mean calibration intercept of test recordings, drawn so that 5 % of the windows are positive.

    Before, after the closed form at 5 %, and at the prevalence that is estimated without labels; means over draws.
    """
    before = np.array([1 - label.mean(), label.mean()])
    generator, positive = np.random.default_rng(0), np.unique(group[label == 1])
    windows = {name: np.flatnonzero((group == name) & (label == 1)) for name in positive}
    negative = np.flatnonzero(label == 0)
    wanted, found = SHIFTED / (1 - SHIFTED) * len(negative), []
    for _ in range(DRAWS):
        rows = []
        for name in generator.permutation(positive):
            if sum(map(len, rows)) >= wanted:
                break
            rows.append(windows[name])
        kept = np.concatenate([negative, *rows])
        own = probability[kept]
        estimate = estimated_prevalence(own, before, "binary")
        sides = [own, *(shifted(own, before, after, "binary") for after in ([1 - SHIFTED, SHIFTED], estimate))]
        truth, index = label[kept].astype(float), np.arange(len(kept))
        found.append([estimate[1], *(calibration_line(truth, side, index)[1].value for side in sides)])
    means = np.mean(found, axis=0)
    return {name: f"{value:.4f}" for name, value in zip(SHIFT_COLUMNS[2:], (SHIFTED, *means), strict=True)}


def uncalibrated(file: Path, calibrated: np.ndarray) -> np.ndarray:
    """The uncalibrated probabilities of the test windows, of the shape of `calibrated`; without maps, these."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["split"] == "test"]
    names = [name for name in rows[0] if name.startswith("uncalibrated_")]
    if not names:
        return calibrated
    return np.array([[float(row[name]) for name in names] for row in rows]).reshape(calibrated.shape)


def measured_rows(
    task: str, variant: str, fold: str, kinds: dict[str, str], before: dict[str, Any], after: dict[str, Any]
) -> Iterator[Row]:
    """One row per class or label that has measures."""
    for label, entry in before["each"].items():
        if entry is None:
            continue
        row = {"task": task, "variant": variant, "fold": fold, "label": label, "kind": kinds.get(label, "")}
        row["ece_by_chance"] = f"{after['each'][label]['ece']['by_chance']:.5f}"
        row |= {"windows": str(entry["n"]), "positives": str(round(entry["n"] * entry["prevalence"]))}
        for side, content in zip(SIDES, (before, after), strict=True):
            for name in MEASURES:
                for end, key in (("", "value"), ("_ci_low", "ci_low"), ("_ci_high", "ci_high")):
                    row[f"{name}_{side}{end}"] = f"{content['each'][label][name][key]:.5f}"
        yield row


def table(settings: dict[str, Any]) -> str:
    """Markdown: of each task and variant the ECE of all test windows, and the slope, before and after."""
    rows, lines = read_rows(RESULTS / "folds.csv"), []
    for name, task in settings["tasks"].items():
        for variant in task["variants"]:
            own = [row for row in rows if (row["task"], row["variant"]) == (name, variant)]
            whole = [row for row in own if row["fold"] == ALL]
            for one in whole:
                kinds = [row["kind"] for row in own if row["label"] == one["label"] and row["fold"] != ALL]
                cells = [
                    f"{float(one[f'ece_{side}']):.3f} ({float(one[f'ece_{side}_ci_low']):.3f} to "
                    f"{float(one[f'ece_{side}_ci_high']):.3f})"
                    for side in SIDES
                ]
                slopes = " → ".join(f"{float(one[f'slope_{side}']):.2f}" for side in SIDES)
                intercepts = " → ".join(f"{float(one[f'intercept_{side}']):.2f}" for side in SIDES)
                maps = ", ".join(dict.fromkeys(kinds))
                chance = f"{float(one['ece_by_chance']):.3f}"
                lines.append((task["title"], variant, one["label"], maps, *cells, chance, slopes, intercepts))
            if len(whole) > 1:
                mean = [f"{np.mean([float(row[key]) for row in whole]):.3f}" for key in ("ece_before", "ece_after")]
                chance = f"{np.mean([float(row['ece_by_chance']) for row in whole]):.3f}"
                lines.append((task["title"], variant, "mean", "", *mean, chance, "", ""))
    header = (
        *("task", "loss", "label", "maps of the folds", "ECE, uncalibrated", "ECE", "ECE by chance"),
        *("slope", "intercept"),
    )
    origin = [
        f"{task['title']}: {described(facts)}"
        for name, task in settings["tasks"].items()
        if (RESULTS / f"{name}.json").is_file()
        for facts in [json_value(RESULTS / f"{name}.json")]
    ]
    shifts = [
        (
            settings["tasks"][row["task"]]["title"], row["variant"], row["estimate"], row["intercept_before"],
            row["intercept_stated"], row["intercept_estimated"],
        )
        for row in read_rows(RESULTS / "prior_shift.csv")
    ]  # fmt: skip
    names = ("task", "loss", "estimate of 0.05", "intercept, not moved", "moved to 0.05", "moved to the estimate")
    return "\n".join([markdown(header, lines), markdown(names, shifts), "; ".join(origin) + "."]) + "\n"


if __name__ == "__main__":
    main()
