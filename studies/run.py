"""Run the missing trainings of studies and write their tables and figures.

    python studies/run.py studies/peft/*.toml --data ../shared/data

Each run adds a row to results/runs.csv in the folder of the setting file. A run with a row for the same settings, data
and weights is not repeated, so rerun the command to resume; several commands can share the work (`--tasks`,
`--fractions`, `--variants`, `--seeds`). Without `--data` only tables and figures are written.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from differences import prediction_file, run_statistics
from figures import write_figures
from pages import replace_section
from predictions import save_run, synchronise
from pretraining_runs import pretrained, pretraining_recipe
from rows import Row, read_rows, replace_rows, write_rows
from settings import Run, Study, digest
from tables import contents

from ecgtune import SweepSettings, fine_tune, load_model, sweep
from ecgtune.config.model import ModelSettings
from ecgtune.data.dataset import Dataset
from ecgtune.errors import DataError, SettingError
from ecgtune.recipes.recipe import Recipe
from ecgtune.recipes.space import read_space
from ecgtune.training.predictions import read_predictions
from ecgtune.training.run_folder import RunFolder
from ecgtune.utils.files import json_value, write_json
from ecgtune.workflows.environment import machine, now

KEY = ("study", "task", "fraction", "variant", "seed")
COLUMNS = (
    *KEY, "title", "settings", "data", "weights", "training_windows", "training_records", "validation_windows",
    "parameters", "token_ms", "pretraining_seconds", "trainable", "trainable_fraction", "epochs", "best_epoch",
    "train_loss", "val_loss", "val_auroc", "last_val_auroc", "best_val_auroc", "best_val_epoch", "threshold",
    "accuracy", "f1", "auroc", "seconds", "seconds_per_epoch", "peak_memory_bytes", "file_bytes", "precision", "device",
    "date",
)  # fmt: skip


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the files of windows and recordings")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/studies"), help="folder of unfinished runs and predictions"
    )
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--fractions", nargs="+", type=float)
    parser.add_argument("--variants", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument(
        "--models", nargs="+", default=[], metavar="NAME[=FILE]", help="further models, with their published file"
    )
    parser.add_argument("--device", help="train on this device instead of the one of the setting file")
    parser.add_argument("--rekey", action="store_true", help="assign the current digest of settings to all rows")
    options = parser.parse_args(words)
    # Sweeps first, because other studies of the folder use their best trials.
    models = {name: path or None for name, _, path in (each.partition("=") for each in options.models)}
    studies = [Study(file, models) for file in options.files]
    for study in sorted(studies, key=lambda study: study.kind != "sweep"):
        work = options.runs / study.folder.name
        if options.rekey:
            rekey(study)
        elif options.data and study.kind == "sweep":
            run_sweep(study, options.data, work)
        elif options.data:
            run_all(study, options, work)
        keep_predictions(study, work)
        if "resamples" in study.tables:
            run_statistics(study, current_rows(study), work / "predictions")
        update(study)


def update(study: Study) -> None:
    """Write the tables and figures of a study."""
    page = study.folder / study.page
    for section, text in contents(study, current_rows(study)).items():
        replace_section(page, section, text)
    write_figures(study, current_rows(study))


def current_rows(study: Study) -> list[Row]:
    """Return rows with current settings of the study and of those that it extends, and archived ones."""
    rows, known = current_rows(study.parent) if study.parent else [], identities(study)
    for row in read_rows(study.results / "runs.csv"):
        if row["study"] == study.name:
            archived = row["variant"] in study.variants and study.variants[row["variant"]].archived
            place = tuple(row[name] for name in KEY[1:])
            rows += [row] if archived or (place in known and known[place].items() <= row.items()) else []
    return rows


def identities(study: Study) -> dict[tuple[str, ...], Row]:
    """Return the columns that identify each run of a study, without its data, by task, fraction, variant and seed."""

    @cache
    def settings(task: str, fraction: float, variant: str) -> tuple[str, ModelSettings | None]:
        recipe = study.recipe(Run(task, fraction, variant, seed=0))  # the seed has a column of its own
        if study.variant(variant).pretraining is None:
            return digest(recipe), recipe.model
        return digest(pretraining_recipe(study, study.variant(variant)))[:6] + digest(recipe)[:6], None

    found = {}
    for run in study.runs():
        key, model = settings(run.task, run.fraction, run.variant)
        own = {"study": study.name, **run.place, "settings": key}
        known = {} if model is None else {"weights": weights(model.name, model.checkpoint, run.seed)}
        found[tuple(run.place.values())] = own | known
    return found


@cache
def weights(model: str, checkpoint: str | None, seed: int) -> str:
    """Return the description of the initial weights of a training with `seed`, as in its results."""
    return load_model(model, checkpoint=checkpoint, seed=seed).weights.describe()


def run_all(study: Study, options: argparse.Namespace, work: Path) -> None:
    """Train every selected run of the study that has no current row."""
    windows, known = cache(lambda task, fold: study.windows(task, options.data, fold)), identities(study)
    for run in study.runs():
        chosen = [(run.task, options.tasks), (run.fraction, options.fractions), (run.variant, options.variants)]
        if any(names and value not in names for value, names in [*chosen, (run.seed, options.seeds)]):
            continue
        recipe = study.recipe(run)
        if options.device:
            recipe = replace(recipe, trainer=replace(recipe.trainer, device=options.device))
        dataset = windows(run.task, run.seed % (study.tasks[run.task].folds or 1))
        row = known[tuple(run.place.values())] | {"data": dataset.source.sha256[:12]}
        if any(row.items() <= kept.items() for kept in read_rows(study.results / "runs.csv")):
            continue
        print(" ".join(row[name] for name in KEY), flush=True)
        try:
            row |= trained(study, run, recipe, dataset, row, options.data, work)
        except (SettingError, DataError) as error:  # of an encoder that does not take these windows
            print(f"  not trained: {error}", flush=True)
            continue
        replace_rows(study.results / "runs.csv", [row], COLUMNS, KEY)
        keep_predictions(study, work)
        machines = study.results / "machines.json"
        write_json(machines, (json_value(machines) if machines.is_file() else {}) | {row["device"]: machine()})


def keep_predictions(study: Study, work: Path) -> None:
    """Copy the predictions of the rows of a study between `work` and its file in the repository, if it has one."""
    if study.kept_predictions:
        rows = [row for row in read_rows(study.results / "runs.csv") if row["study"] == study.name]
        synchronise(study.kept_predictions, work / "predictions", [prediction_file(row) for row in rows])


def trained(study: Study, run: Run, recipe: Recipe, dataset: Dataset, row: Row, data: Path, work: Path) -> Row:
    """Train or resume one run, save its predictions in `work`, and return the remaining columns of its row."""
    variant, pretraining = study.variant(run.variant), {}
    if variant.pretraining is not None:
        model, pretraining = pretrained(study, variant, dataset, data, work)
        recipe = replace(recipe, model=replace(recipe.model, name=str(model)))
    folder = work / prediction_file(row).removesuffix(".npz")
    done = fine_tune(dataset, recipe, out=folder, seed=run.seed, resume=RunFolder(folder).recipe.is_file())
    test = read_predictions(RunFolder(folder).predictions).of("test")
    measured = measure(done.metrics, (folder / "log.jsonl").read_text(encoding="utf-8"))
    group = np.arange(len(test.label)) if test.group is None else test.group
    run_predictions = {"label": test.label, "probability": test.probability, "group": group}
    save_run(work / "predictions" / prediction_file(row), run_predictions | {"threshold": float(measured["threshold"])})
    shutil.rmtree(folder)
    return pretraining | measured


def measure(metrics: dict[str, Any], log: str) -> Row:
    """Return the columns of a row from metrics.json and log.jsonl of its run."""
    training, counts = metrics["training"], metrics["split"]["counts"]
    epochs = [json.loads(line) for line in log.splitlines()]
    kept, last = epochs[training["best_epoch"] - 1], epochs[-1]
    best = max(range(len(epochs)), key=lambda index: epochs[index]["val_auroc"])
    device = "cpu" if training["device"].startswith("cpu") else machine()["accelerator"]
    row = {
        "title": metrics["title"],
        "weights": metrics["weights"],
        "training_windows": counts["train"]["windows"],
        "training_records": counts["train"]["groups"],
        "validation_windows": counts["val"]["windows"],
        "trainable": metrics["parameters"]["trainable"],
        "trainable_fraction": f"{metrics['parameters']['trainable_fraction']:.5f}",
        **{name: training[name] for name in ("epochs", "best_epoch", "peak_memory_bytes", "file_bytes", "precision")},
        **{name: f"{last[name]:.4f}" for name in ("train_loss", "val_loss")},
        "val_auroc": f"{kept['val_auroc']:.5f}",
        "last_val_auroc": f"{last['val_auroc']:.5f}",
        "best_val_auroc": f"{epochs[best]['val_auroc']:.5f}",
        "best_val_epoch": best + 1,
        "threshold": metrics["threshold"]["value"],
        **{name: f"{metrics['window']['metrics'][name]['value']:.5f}" for name in ("accuracy", "f1", "auroc")},
        "seconds": f"{training['seconds']:.1f}",
        "seconds_per_epoch": f"{training['seconds_per_epoch']:.2f}",
        "device": device,
        "date": now()[:10],
    }
    return {name: str(value) for name, value in row.items()}


def run_sweep(study: Study, data: Path, work: Path) -> None:
    """Run the same number of trials of every variant on each task, unless rows with its settings exist.

    A variant draws the same settings on all tasks.
    """
    file = study.results / "trials.csv"
    settings = SweepSettings(trials=study.tables["trials"], space=read_space(study.folder / study.tables["space"]))
    for run in study.sweeps():
        recipe = study.recipe(run)
        own = {"variant": run.variant, "task": run.task}
        place = own | {"settings": digest(recipe)}
        if any(place.items() <= row.items() for row in read_rows(file)):
            continue
        print(*place.values(), flush=True)
        folder = work / "-".join(("sweep", *place.values()))
        sweep(study.windows(run.task, data), recipe, settings, out=folder)
        found = [
            place | {"date": now()[:10]} | {k: v for k, v in row.items() if k != "method"}
            for row in read_rows(folder / "trials.csv")
        ]
        rows = [row for row in read_rows(file) if not own.items() <= row.items()] + found
        write_rows(file, rows, list(dict.fromkeys(column for row in rows for column in row)))


def rekey(study: Study) -> None:
    """Assign the current digest of settings to each row; for renamed settings without other changes."""
    if study.kind == "sweep":
        known = {(run.task, run.variant): {"settings": digest(study.recipe(run))} for run in study.sweeps()}
        file, key = study.results / "trials.csv", ("task", "variant")
    else:
        known, file, key = identities(study), study.results / "runs.csv", KEY[1:]
    rows = read_rows(file)
    for row in rows:
        own = known.get(tuple(row[name] for name in key))
        if own and row.get("study", study.name) == study.name:
            row["settings"] = own["settings"]
    if rows:
        write_rows(file, rows, list(rows[0]))


if __name__ == "__main__":
    main()
