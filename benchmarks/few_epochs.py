"""Full fine-tuning against LoRA for two epochs in the same time, as `ecgtune auto` trains where time is short.

    python benchmarks/few_epochs.py ../shared/data

trains each method with the plan, split and recipes of auto, on numbers of windows that take about the same time, and
scores 1,000 validation windows. The row "mean" is the mean of both probabilities, which takes the time of both. Test
windows are not read. results/few_epochs.csv has one row per task, method and seed. Rerun to resume.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ecgtune.utils.files import write_json, write_text
from ecgtune.utils.machine import processor_name
from ecgtune.workflows.auto.plan_file import read_plan
from ecgtune.workflows.auto.trial import JOB, material_of, name_of, read_validation, run_trial, score_of

RESULTS = Path(__file__).resolve().parent / "results" / "few_epochs.csv"
COLUMNS = ("task", "method", "seed", "windows", "epochs", "val_auroc", "seconds", "threads", "machine", "date")
FILES = {"cinc2017": "cinc2017_windows.npz", "rhythms": "cinc2017_rhythms.npz"}
WINDOWS = {"full": 2800, "lora": 3500}  # which take about as long, by the measured time of a step
ENCODER, EPOCHS, VALIDATED = "ecg-fm-tiny", 2, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of cinc2017_windows.npz and cinc2017_rhythms.npz")
    parser.add_argument("--tasks", nargs="+", choices=FILES, default=list(FILES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/few-epochs"))
    options = parser.parse_args()
    for task in options.tasks:
        out = options.out / task
        if not (out / "plan.toml").is_file():
            words = [str(options.data / FILES[task]), "--until", "decide", "--out", str(out)]
            subprocess.run([sys.executable, "-m", "ecgtune", "auto", *words], check=True)
        for seed in options.seeds:
            trials = {method: trained(method, seed, out) for method in WINDOWS}
            for method, trial in trials.items():
                save(row(task, method, seed, trial["train_windows"], trial["score"], trial["spent"]))
            windows, spent = (sum(trial[key] for trial in trials.values()) for key in ("train_windows", "spent"))
            save(row(task, "mean", seed, windows, mean_score(out, list(trials.values())), spent))


def trained(method: str, seed: int, out: Path) -> dict[str, Any]:
    """The result of a training, with the folder of its validation predictions."""
    job = {"method": method, "encoder": ENCODER, "windows": WINDOWS[method], "validated": VALIDATED, "epochs": EPOCHS}
    job |= {"seed": seed, "seconds": None, "pieces": None, "round": 0}
    job["name"] = name_of(job)
    folder = out / "do" / job["name"] / "round-0"
    write_json(folder / JOB, job)
    return {**run_trial(out, folder), "folder": folder}


def mean_score(out: Path, trials: list[dict[str, Any]]) -> float:
    """Validation AUROC of the mean of the probabilities of trainings."""
    dataset = material_of(out, read_plan(out)).dataset
    predicted = [read_validation(trial["folder"], dataset) for trial in trials]
    rows = predicted[0][0]
    if any((rows != other).any() for other, _ in predicted):
        raise SystemExit("the trainings predicted different validation windows")
    return score_of(dataset.task, dataset.label[rows], np.mean([probability for _, probability in predicted], axis=0))


def row(task: str, method: str, seed: int, windows: int, score: float, seconds: float) -> dict[str, Any]:
    return {
        "task": task,
        "method": method,
        "seed": seed,
        "windows": windows,
        "epochs": EPOCHS,
        "val_auroc": f"{score:.4f}",
        "seconds": f"{seconds:.0f}",
        "threads": torch.get_num_threads(),
        "machine": processor_name(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def save(new: dict[str, Any]) -> None:
    """Replace the row of the same task, method and seed."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    if RESULTS.is_file():
        with RESULTS.open(newline="", encoding="utf-8") as lines:
            rows = {tuple(old[name] for name in COLUMNS[:3]): old for old in csv.DictReader(lines)}
    rows[tuple(str(new[name]) for name in COLUMNS[:3])] = new
    lines = [",".join(COLUMNS), *(",".join(str(rows[key][name]) for name in COLUMNS) for key in sorted(rows))]
    write_text(RESULTS, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
