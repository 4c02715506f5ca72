"""`ecgtune auto` against each single method with the whole budget, on five tasks.

    python benchmarks/auto.py ../shared/data --budget 10min --tasks simulated csv601

runs auto without any flag but the budget, then trains each method alone on the same split with the recipe of its name,
for as many windows and epochs as the same budget allows by the measured seconds per step. results/auto.csv has one row
per task, budget and method: the test metrics, the time and the machine. Rerun to resume; --no-hand leaves the single
methods out. Time is wall-clock time, so nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import wfdb

import ecgtune
from ecgtune.io.writing import write_csv
from ecgtune.utils.files import json_value, write_text
from ecgtune.utils.machine import processor
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.auto.budget import Budget, Deadline
from ecgtune.workflows.auto.plan_file import read_plan
from ecgtune.workflows.auto.trainings import Trainings, name_of
from ecgtune.workflows.auto.trial import ready_run
from ecgtune.workflows.run import run_recipe

RESULTS = Path(__file__).resolve().parent / "results" / "auto.csv"
METHODS = ("probe", "lora", "full", "scratch")
PLACE = ("task", "budget", "machine")
SIZES = {"windows": "train_windows", "epochs": "epochs"}
COLUMNS = (
    "task", "budget", "method", "auroc", "auroc_ci_low", "auroc_ci_high", "accuracy", "f1", "unit", "windows", "epochs",
    "seconds", "threads", "machine", "date",
)  # fmt: skip


def simulated(place: Path, data: Path) -> list[str]:
    file = place / "simulated.csv"
    if not file.is_file():
        write_csv(ecgtune.simulate(2000, seed=0), file)
    return [str(file)]


def csv601(place: Path, data: Path) -> list[str]:
    """4,000 windows of CinC 2017 as 600 columns of samples and a label: no rate, no recording, no split."""
    file = place / "csv601.csv"
    if not file.is_file():
        with np.load(data / "cinc2017_windows.npz") as arrays:
            rows = np.random.default_rng(0).choice(len(arrays["label"]), 4000, replace=False)
            table = np.column_stack([arrays["signal"][rows], arrays["label"][rows]])
        header = ",".join([*(f"signal_{index}" for index in range(600)), "label"])
        place.mkdir(parents=True, exist_ok=True)
        np.savetxt(file, table, fmt="%d", delimiter=",", header=header, comments="")
    return [str(file)]


def cinc2017(place: Path, data: Path) -> list[str]:
    return [str(data / "cinc2017_windows.npz")]


def rhythms(place: Path, data: Path) -> list[str]:
    return [str(data / "cinc2017_rhythms.npz")]


def ptbxl500(place: Path, data: Path) -> list[str]:
    """The table of PTB-XL, and its recordings as WFDB files."""
    table, folder = data / "ptbxl500_meta.csv", place / "ptbxl500"
    with table.open(newline="", encoding="utf-8") as lines:
        names = [row["filename_hr"] for row in csv.DictReader(lines)]
    with np.load(data / "ptbxl500_500hz.npz") as arrays:
        signal, leads = arrays["X"], arrays["leads"].tolist()
    facts: dict[str, Any] = {"fs": 500, "units": ["mV"] * 12, "sig_name": leads, "fmt": ["16"] * 12}
    facts |= {"adc_gain": [1000] * 12, "baseline": [0] * 12}
    for name, values in zip(names, signal, strict=True):
        path = folder / name
        if not path.with_suffix(".hea").is_file():  # written after the samples
            path.parent.mkdir(parents=True, exist_ok=True)
            wfdb.wrsamp(path.name, d_signal=values.T.astype(np.int64), write_dir=str(path.parent), **facts)
    return [str(table), "--records", str(folder)]


TASKS: dict[str, Callable[[Path, Path], list[str]]] = {
    "cinc2017": cinc2017,
    "rhythms": rhythms,
    "ptbxl500": ptbxl500,
    "simulated": simulated,
    "csv601": csv601,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of cinc2017_windows.npz and the other files")
    parser.add_argument("--budget", default="10min")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--no-hand", action="store_true", help="run auto only")
    parser.add_argument("--out", type=Path, default=Path("runs/auto-benchmark"))
    options = parser.parse_args()
    for task in options.tasks:
        out = options.out / options.budget / task
        words = TASKS[task](options.out / "data", options.data)
        if not (out / "answer.md").is_file():
            command = [sys.executable, "-m", "ecgtune", "auto", *words, "--budget", options.budget, "--out", str(out)]
            subprocess.run(command, check=True)
        save([auto_row(task, options.budget, out)])
        for method in () if options.no_hand else options.methods:
            save([hand_row(task, options.budget, method, out)])
    print(table(read_rows()))


def auto_row(task: str, budget: str, out: Path) -> dict[str, Any]:
    test, choice = json_value(out / "test.json"), json_value(out / "choice.json")
    taken = [row for row in choice["candidates"] if row["name"] in choice["members"]]
    seconds = json_value(out / "spent.json")["seconds"]
    facts = {name: " + ".join(str(row[key]) for row in taken) for name, key in SIZES.items()}
    facts["seconds"] = f"{seconds:.0f}"
    methods = [row["method"] for row in taken]
    return row_of(task, budget, f"auto: {' + '.join(dict.fromkeys(methods))} x {len(test['runs'])}", test) | facts


def hand_row(task: str, budget: str, method: str, out: Path) -> dict[str, Any]:
    """Train one method alone with the whole budget, on the split of auto, and test it."""
    plan = read_plan(out)
    with ProgressBar(shown=False) as progress:
        bench = Trainings(out, plan, Budget(out, progress), progress)
        encoder = json_value(out / "do" / "results.json")["encoder"]
        job = bench.job(method, encoder, 0.9 * plan.budget.seconds, 1)
        folder = out / "hand" / name_of(job)
        job |= {"round": -1 if bench.material.rounds > 1 else 0}
        run = ready_run(out, plan, job, folder)
        run_recipe(run, progress, [Deadline(plan.budget.seconds)])
    metrics = json_value(folder / "metrics.json")
    seconds = metrics["training"]["seconds"]
    facts = {"windows": metrics["split"]["counts"]["train"]["windows"], "epochs": job["epochs"]}
    return row_of(task, budget, method, metrics) | facts | {"seconds": f"{seconds:.0f}"}


def row_of(task: str, budget: str, method: str, test: dict[str, Any]) -> dict[str, Any]:
    level = test["group"] if "metrics" in test["group"] else test["window"]
    auroc, metrics = level["metrics"]["auroc"], level["metrics"]
    return {
        "task": task,
        "budget": budget,
        "method": method,
        "auroc": f"{auroc['value']:.4f}",
        "auroc_ci_low": f"{auroc['ci_low']:.4f}",
        "auroc_ci_high": f"{auroc['ci_high']:.4f}",
        "accuracy": f"{metrics['accuracy']['value']:.4f}",
        "f1": f"{metrics['f1']['value']:.4f}",
        "unit": level.get("of", "window"),
        "threads": torch.get_num_threads(),
        "machine": processor(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def read_rows() -> list[dict[str, Any]]:
    if not RESULTS.is_file():
        return []
    with RESULTS.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def save(rows: list[dict[str, Any]]) -> None:
    """Replace the rows of the same task, budget, machine and method."""
    kept = [row for row in read_rows() if kind(row) not in {kind(new) for new in rows}]
    lines = [",".join(COLUMNS), *(",".join(str(row.get(name, "")) for name in COLUMNS) for row in [*kept, *rows])]
    write_text(RESULTS, "\n".join(lines) + "\n")


def kind(row: dict[str, Any]) -> tuple[str, ...]:
    """What a file has one row of: auto is one kind, whatever it chose."""
    return (*(row[name] for name in PLACE), row["method"].partition(":")[0])


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: one line per task, budget and machine, auto, and the difference to the best single method."""
    lines = [
        "| task | budget | machine | auto | time | AUROC | best by hand | AUROC | difference |",
        "|" + " --- |" * 9,
    ]
    for place in dict.fromkeys(tuple(row[name] for name in PLACE) for row in rows):
        own = [row for row in rows if tuple(row[name] for name in PLACE) == place]
        auto = next((row for row in own if row["method"].startswith("auto")), None)
        if auto is None:
            continue
        hand = [row for row in own if not row["method"].startswith("auto")]
        best = max(hand, key=lambda row: float(row["auroc"]), default=None)
        cells = [*place, auto["method"], f"{auto['seconds']} s", auto["auroc"]]
        if best is None:
            cells += ["", "", ""]
        else:
            cells += [best["method"], best["auroc"], f"{float(auto['auroc']) - float(best['auroc']):+.4f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
