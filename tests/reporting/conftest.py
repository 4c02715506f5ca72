"""Run and comparison folders as docs/architecture.md describes them, made of synthetic predictions."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ecgtune
from ecgtune.evaluation.comparison import RunRecord, compare_runs
from ecgtune.evaluation.decision import binary_decision
from ecgtune.evaluation.evaluate import Grouping, evaluate
from helpers.pretraining import RECIPES, write_recordings

GROUPS = {"train": 140, "val": 30, "test": 40}
EACH = 6
TOTAL = 5_800_000
# name: title, kind, strength of the scores, trainable parameters, seeds, learning rate
METHODS: dict[str, tuple[str, str, float, int, tuple[int, ...], float | None]] = {
    "full": ("Full fine-tuning", "method", 0.42, TOTAL, (0, 1), 0.001),
    "adapter": ("Adapter 64, after attention and feed-forward", "method", 0.36, 330_000, (0, 1), 0.0015),
    "lora": ("LoRA r16, all linear layers", "method", 0.38, 290_000, (0, 1), 0.0015),
    "probe": ("Linear probe", "method", 0.18, 514, (0, 1), 0.0025),
    "majority": ("Majority class", "baseline", 0.0, 0, (0,), None),
    "resnet": ("Small residual network", "baseline", 0.25, 120_000, (0, 1), 0.001),
}
RECIPE = '[method]\nname = "{name}"\n\n[optimisation]\nepochs = 8\nbatch_size = 64\n'


def windows(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Label and group of the windows of a split: whole recordings of one class."""
    group = np.repeat([f"{split[0].upper()}{number:05d}" for number in range(GROUPS[split])], EACH)
    return np.repeat(np.arange(GROUPS[split]) % 2, EACH), group


def scores(name: str, seed: int, split: str) -> np.ndarray:
    label, _ = windows(split)
    if name == "majority":
        return np.zeros(len(label))
    generator = np.random.default_rng([seed, *name.encode()])
    hard = np.random.default_rng(99).normal(0, 0.16, len(label))
    return np.clip(0.5 + METHODS[name][2] * (label - 0.5) + hard + generator.normal(0, 0.1, len(label)), 0, 1)


def log_of(name: str, seed: int, epochs: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng([seed, len(name)])
    strength, rate = METHODS[name][2], METHODS[name][5]
    log = []
    for epoch in range(1, epochs + 1):
        learnt = 1 - math.exp(-epoch / 2.5)
        wobble = generator.normal(0, 0.012, 4)
        log.append(
            {
                "epoch": epoch,
                "train_loss": 0.69 - strength * learnt + wobble[0],
                "train_accuracy": 0.5 + 0.95 * strength * learnt + wobble[1],
                "val_loss": 0.69 - 0.8 * strength * learnt + 0.012 * epoch + wobble[2],
                "val_accuracy": 0.5 + 0.8 * strength * learnt + wobble[3],
                "val_auroc": 0.5 + 0.9 * strength * learnt + wobble[3],
                "learning_rate": rate,
                "seconds": 12.5,
            }
        )
    return log


def metrics_of(name: str, seed: int, weights: str, grouped: bool) -> dict[str, Any]:
    _title, _kind, _strength, trainable, _seeds, rate = METHODS[name]
    label, group = windows("test")
    epochs = 8 - seed if rate else None
    counts = {}
    for split, groups in GROUPS.items():
        counts[split] = {
            "windows": groups * EACH,
            "groups": groups if grouped else None,
            "positives": groups * EACH // 2,
        }
    return {
        "format": 2,
        "name": name,
        "seed": seed,
        "model": "ecg-fm-tiny",
        "method": f"{name.upper()}(rank=16)",
        "weights": weights,
        "classes": ["sinus rhythm", "fibrillation"],
        "positive": {"class": "fibrillation", "reason": "as given"},
        "normalisation": "zscore",
        "data": {
            "path": "windows.csv",
            "sha256": "0123456789abcdef" * 4,
            "windows": sum(GROUPS.values()) * EACH,
            "sampling_rate": 100,
            "samples": 600,
            "leads": ["II"],
            "signal_path": None,
        },
        "split": {
            "unit": "record" if grouped else "row",
            "origin": "stratified 70/15/15 by record, seed 0" if grouped else "stratified 70/15/15 by row, seed 0",
            "warnings": [] if grouped else ["Split by row: windows of one person may stand on both sides."],
            "duplicates": 0,
            "counts": counts,
        },
        "parameters": {
            "encoder": TOTAL - 514 if name == "full" else 0,
            "method": 0 if name == "full" else max(trainable - 514, 0),
            "head": min(trainable, 514),
            "trainable": trainable,
            "total": TOTAL,
            "trainable_fraction": trainable / TOTAL,
        },
        "training": {
            "epochs": epochs,
            "best_epoch": epochs and epochs - 2,
            "checkpoint_metric": "auroc",
            "stopped_early": seed == 1,
            "learning_rate": rate,
            "batch_size": 64 if rate else None,
            "seconds": 100.0,
            "seconds_per_epoch": 12.5 if rate else None,
            "peak_memory_bytes": 812_000_000 if rate else None,
            "file_bytes": 4 * trainable or None,
            "device": "cpu",
            "precision": "fp32",
        },
        "audits": {
            "weights": "all 88 tensors of the encoder accounted for",
            "gradients": "all 48 trainable tensors received a gradient, no frozen one did",
            "count": f"{trainable:,} of {TOTAL:,} parameters train",
        },
        "threshold": {"value": 0.5, "rule": "fixed"},
        **evaluate(
            label, scores(name, seed, "test"), Grouping(group if grouped else None), binary_decision(), resamples=200
        ),
    }  # fmt: skip


def write_run_folder(folder: Path, name: str, seed: int, weights: str, grouped: bool = True) -> dict[str, Any]:
    """Everything that training leaves of a finished run, and its metrics.json as a value."""
    folder.mkdir(parents=True)
    metrics = metrics_of(name, seed, weights, grouped)
    (folder / "metrics.json").write_text(json.dumps(metrics, allow_nan=False))
    (folder / "recipe.toml").write_text(RECIPE.format(name=name))
    environment = {"versions": {"torch": "2.13.0", "numpy": "2.4.6"}, "seed": seed, "threads": 2, "device": "cpu"}
    (folder / "environment.json").write_text(json.dumps(environment))
    if METHODS[name][5]:
        log = log_of(name, seed, metrics["training"]["epochs"])
        (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "group", "split", "label", "probability_fibrillation"])
        row = 0
        for split in ("val", "test"):
            for values in zip(*reversed(windows(split)), scores(name, seed, split), strict=True):
                writer.writerow([row, values[0], split, metrics["classes"][values[1]], values[2]])
                row += 1
    return metrics


def build_comparison(
    folder: Path, weights: str = "random (seed 0)", names: tuple[str, ...] = tuple(METHODS), grouped: bool = True
) -> dict[str, Any]:
    """Run folders of several methods under `folder`, and the content of results.json."""
    records = []
    for name in names:
        title, kind, *_, seeds, _rate = METHODS[name]
        for seed in seeds:
            place = f"{name}/seed-{seed}"
            metrics = write_run_folder(folder / place, name, seed, weights, grouped)
            label, group = windows("test")
            group = group if grouped else None
            records.append(RunRecord(name, title, kind, seed, place, metrics, label, scores(name, seed, "test"), group))
    first = records[0].metrics
    return {
        "format": 2,
        "created": "2025-01-31T12:00:00+00:00",
        "command": "ecgtune compare windows.csv --sampling-rate 100 --model ecg-fm-tiny --seeds 2 --out runs/first",
        "machine": {"cpu": "2 cores", "versions": {"torch": "2.13.0", "ecgtune": "0.1.0"}},
        "data": first["data"],
        "split": first["split"],
        "positive": first["positive"],
        "model": first["model"],
        "weights": weights,
        **compare_runs(records, resamples=200),
    }


@pytest.fixture(scope="session")
def make_comparison() -> Callable[..., dict[str, Any]]:
    return build_comparison


@pytest.fixture(scope="session")
def make_run() -> Callable[..., dict[str, Any]]:
    return write_run_folder


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """results.json of four methods with two seeds and two baselines; do not change it."""
    return build_comparison(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same comparison, fully written; do not change it."""
    from ecgtune.reporting.writing import write_comparison

    folder = tmp_path_factory.mktemp("comparison") / "first"
    write_comparison(folder, build_comparison(folder))
    return folder


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished pretraining for each of `RECIPES`, under its name; do not change them.

    Those with the rhythm task have no float16/, the others have one.
    """
    place = tmp_path_factory.mktemp("pretrained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGTUNE_CACHE", str(place / "cache"))
        write_recordings(place / "recordings.npz")
        np.savez(place / "windows.npz", record=["R01", "R02", "R03"], split=["val", "train", "test"])
        for recipe in RECIPES:
            ecgtune.pretrain(
                place / "recordings.npz",
                recipe,
                ecgtune.PretrainSettings(leave_out=place / "windows.npz", export_float16="rhythm" not in recipe.name),
                out=place / recipe.name,
            )
    return place
