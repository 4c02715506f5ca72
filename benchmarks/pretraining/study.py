"""Which encoder and which objective: short pretrainings that differ in one thing, judged by a frozen probe.

    python benchmarks/pretraining/study.py RECORDINGS WINDOWS [--arms NAME ...]

RECORDINGS and WINDOWS are pool_cinc2017_300hz_index.npz and cinc2017_windows.npz in ../shared/data. Each arm is
recipes/pretrain-tiny.toml with the changes in `ARMS`, for one epoch, in runs/pretraining-study/ (a stopped arm goes
on). A row per arm is kept in benchmarks/results/pretraining/study.csv: what stands there with the same settings is not
run again, and several commands can share the work; study.json keeps each of them. The probe reads the statistics of the
last block's tokens; arms are compared on validation windows, drawn from the training windows, and the test windows are
told beside.
"""

import argparse
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rows import PAGE, RESULTS, Row, add_command, add_row, command, into_page, read_rows, settings_key, validation_auroc

import ecgtune
from ecgtune.config.data import DataSettings
from ecgtune.config.model import ModelSettings
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.data.dataset import Dataset
from ecgtune.io.windows import read_dataset
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.recipe.pretraining import EcgFmTask, Pretraining, load_pretraining_recipe
from ecgtune.recipe.recipe import Recipe
from ecgtune.utils.files import read_json
from ecgtune.workflows.environment import machine, now

RUNS = Path("runs/pretraining-study")
#: Name -> what it tests, and what is changed by table; "objective" may be another one altogether.
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("masked teacher and rhythm values", {}),
    "contrastive": ("ECG-FM's own objective", {"objective": EcgFmTask(), "training": {"batch_size": 32}}),
    "teacher": ("masked teacher alone", {"objective": {"rhythm": 0.0}}),
    "teacher-4-masks": ("masked teacher alone, four masks", {"objective": {"rhythm": 0.0, "masks": 4}}),
    "rhythm": ("rhythm values alone", {"objective": {"masks": 0}}),
    "40ms": ("tokens of 40 ms", {"encoder": {"conv_layers": 2}}),
    "160ms": ("tokens of 160 ms", {"encoder": {"conv_layers": 4}}),
    "200hz": ("200 Hz, tokens of 80 ms", {"encoder": {"sampling_rate": 200.0, "conv_layers": 4}}),
    "depth-2": ("2 layers", {"encoder": {"depth": 2}}),
    "depth-6": ("6 layers", {"encoder": {"depth": 6}}),
    "width-128": ("width 128", {"encoder": {"width": 128, "heads": 2, "feed_forward": 512, "conv_channels": 128}}),
    "width-256": ("width 256", {"encoder": {"width": 256, "heads": 4, "feed_forward": 1024, "conv_channels": 256}}),
    "plain-crops": ("no augmentation", {"crops": {"stretch": 0.0, "gain": 0.0, "wander": 0.0, "noise": 0.0}}),
}
PROBES = {"": 1.0, "_10": 0.1}  # ending of the column -> share of the labels
COLUMNS = (
    "arm", "changed", "settings", "parameters", "token_ms", "seconds", "val_auroc", "auroc", "val_auroc_10", "auroc_10",
    "weights", "date",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("recordings", nargs="?", help="recordings to pretrain on; the table alone is made without them")
    parser.add_argument("windows", nargs="?", help="labelled windows to judge by")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="NAME")
    asked = parser.parse_args()
    file = RESULTS / "study.csv"
    if asked.recordings:
        dataset = read_dataset(asked.windows)
        for arm in asked.arms:
            _run(file, arm, asked.recordings, asked.windows, dataset)
        facts = {"command": command(), "date": now(), "machine": machine(), "data": asdict(dataset.source)}
        add_command(RESULTS / "study.json", facts)
    into_page(PAGE, "study", table(read_rows(file)))


def _recipe(arm: str) -> Pretraining:
    recipe = load_pretraining_recipe("pretrain-tiny")
    recipe = replace(
        recipe,
        name=arm,
        optimisation=replace(recipe.optimisation, epochs=1),
        trainer=replace(recipe.trainer, precision="bf16"),
    )
    for table, change in ARMS[arm][1].items():
        value = replace(getattr(recipe, table), **change) if isinstance(change, dict) else change
        recipe = replace(recipe, **{table: value})
    return recipe


def _run(file: Path, arm: str, recordings: str, windows: str, dataset: Dataset) -> None:
    """Train, judge and keep a row, unless there is one. The file is read anew, so two commands can share the work."""
    recipe = _recipe(arm)
    settings = settings_key(recipe)
    if any((row["arm"], row["settings"]) == (arm, settings) for row in read_rows(file)):
        return
    folder = RUNS / f"{arm}-{settings}"
    best = ecgtune.pretrain(
        recordings, recipe, ecgtune.PretrainSettings(leave_out=windows), out=folder, resume=folder.exists()
    )
    metrics = read_json(folder / "metrics.json")
    row = {
        "arm": arm,
        "changed": ARMS[arm][0].replace(",", ";"),
        "settings": settings,
        "parameters": metrics["parameters"],
        "token_ms": f"{1000 * 2**recipe.encoder.conv_layers / recipe.encoder.sampling_rate:g}",
        "seconds": f"{metrics['training']['seconds']:.0f}",
        "weights": read_json(best / "model.json")["sha256"][:8],
        "date": now()[:10],
    }
    for ending, share in PROBES.items():
        probe = Recipe(
            name="probe",
            method=LinearProbe(),
            data=DataSettings(label_fraction=share),
            model=ModelSettings(name=str(best), pooling="statistics"),
            optimisation=Optimisation(epochs=20, learning_rate=1e-3),
            trainer=TrainerSettings(precision="bf16"),
        )
        with tempfile.TemporaryDirectory() as place:
            run = ecgtune.fine_tune(dataset, probe, out=Path(place) / "run", quiet=True)
            row[f"val_auroc{ending}"] = f"{validation_auroc(run.folder):.5f}"
        row[f"auroc{ending}"] = f"{run.metrics['window']['metrics']['auroc']['value']:.5f}"
    add_row(file, row, COLUMNS, key=["arm"])


def table(rows: list[Row]) -> str:
    """Markdown, in the order of `ARMS`."""
    lines = [
        "| arm | what is different | parameters | token | s per epoch | validation AUROC | with 10 % of the labels |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: list(ARMS).index(row["arm"])):
        lines.append(
            f"| {row['arm']} | {row['changed'].replace(';', ',')} | {int(row['parameters']):,} | {row['token_ms']} ms "
            f"| {row['seconds']} | {float(row['val_auroc']):.3f} (test {float(row['auroc']):.3f}) "
            f"| {float(row['val_auroc_10']):.3f} (test {float(row['auroc_10']):.3f}) |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
