"""The three stages of the study. Each reads its rows anew before every piece of work and keeps what is there."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from paired import Resampled, holm, paired_difference
from peft_predictions import file_of, judging_windows, resampled, save
from peft_rows import Row, add_row, alone, digest, key, read_rows, settings_key, weights, write_rows
from peft_settings import FLOOR, REFERENCE, Study, tuned
from scipy.stats import sem
from scipy.stats import t as student

import ecgtune
from ecgtune.config.base import require
from ecgtune.data.dataset import Dataset
from ecgtune.recipe.recipe import Recipe
from ecgtune.recipe.space import space_of, space_table
from ecgtune.training.inference import choose_device
from ecgtune.training.predictions import Predictions, read_predictions
from ecgtune.training.run_folder import RunFolder
from ecgtune.utils.files import write_text
from ecgtune.workflows.environment import machine, now

Device = Literal["cpu", "cuda"]
RUN_COLUMNS = (
    "task", "share", "method", "title", "seed", "data", "weights", "settings", "training_windows", "training_records",
    "validation_windows",
    "trainable", "trainable_share", "epochs", "best_epoch", "val_auroc", "threshold", "accuracy", "f1", "auroc",
    "seconds", "seconds_per_epoch", "peak_memory_bytes", "file_bytes", "precision", "device", "date",
)  # fmt: skip
RUN_KEY = ("data", "weights", "settings", "seed", "precision", "device")
CELL_COLUMNS = (
    "task", "share", "method", "reference", "metric", "seeds", "value", "spread", "low", "high", "difference",
    "difference_low", "difference_high", "seeds_low", "seeds_high", "p", "p_holm", "not_inferior", "key", "date",
)  # fmt: skip


def sweep_key(study: Study, name: str, dataset: str) -> str:
    """What tells the sweep of a method from every other: data, weights, recipe, what is tried in it, trials."""
    recipe = study.swept(name)
    tried = space_table(space_of(recipe, study.space))
    return digest(str([dataset, weights(study.model, 0), settings_key(recipe), tried, study.trials]))


def run_sweep(
    study: Study, dataset: Dataset, results: Path, runs: Path, *, methods: Iterable[str] | None = None
) -> None:
    """Stage one: equal trials for every method on the training and validation windows of the first task.

    A method's trials are a sweep of their own, so that two commands can share the work.
    """
    file, wanted = results / "trials.csv", study.methods if methods is None else set(methods)
    for name in (name for name in study.methods if name in wanted):
        key = sweep_key(study, name, dataset.source.sha256)
        if any((row["method"], row["sweep"]) == (name, key) for row in read_rows(file)):
            continue
        folder = runs / f"sweep-{name}-{key}"
        best = ecgtune.sweep(dataset, [study.swept(name)], ecgtune.SweepSettings(study.trials, study.space), out=folder)
        for recipe in best.values():  # none where all trials diverged
            write_text(results / "best" / recipe.name, recipe.read_text(encoding="utf-8"))
        own = [{**row, "sweep": key, "date": now()[:10]} for row in read_rows(folder / "trials.csv")]
        with alone(file):
            rows = [row for row in read_rows(file) if row["method"] != name] + own
            rows.sort(key=lambda row: (study.methods.index(row["method"]), int(row["trial"])))
            columns = dict.fromkeys(column for row in rows for column in row)
            write_rows(file, [{column: row.get(column, "") for column in columns} for row in rows], list(columns))


def finalists(study: Study, trials: list[Row]) -> list[str]:
    """Methods of the finals, in the study's order: `always`, and those with the highest validation AUROC beside."""
    best: dict[str, float] = {}
    for row in trials:
        if row["val_auroc"] and row["method"] in study.methods:
            best[row["method"]] = max(best.get(row["method"], 0.0), float(row["val_auroc"]))
    others = sorted((name for name in best if name not in study.always), key=lambda name: -best[name])
    return [name for name in study.methods if name in (*study.always, *others[: study.finalists])]


def final_recipes(study: Study, results: Path, task: str, share: float) -> dict[str, Recipe]:
    """What is trained at a share of the labels of a task: finalists as tuned, ensembles, presets, floor; steps and
    parts, and for the last step what a preset is compared with.
    """
    best = tuned(results)
    with_parts = (task, share) == (study.tasks[0], study.parts_share)
    chosen = finalists(study, read_rows(results / "trials.csv"))
    if with_parts:
        chosen += [name.removeprefix("paper-") for name in study.presets]
    recipes = {name: best[name] for name in dict.fromkeys(chosen) if name in best} | study.ensembled(best)
    for name in study.presets:
        method = name.removeprefix("paper-")
        steps = study.preset(name, best[method].optimisation.learning_rate if method in best else None)
        recipes |= steps if with_parts else {name: steps[name]}
    if with_parts:
        for name in [name for name in study.methods if name in best]:
            recipes |= study.with_parts(name, best[name])
    return {**recipes, FLOOR: study.floor()}


def run_finals(
    study: Study,
    tasks: Mapping[str, Dataset],
    results: Path,
    runs: Path,
    *,
    shares: Iterable[float] | None = None,
    methods: Iterable[str] | None = None,
    seeds: Iterable[int] | None = None,
    device: Device | None = None,
) -> None:
    """Stage two: a row and a file of predictions per task, share, method and seed; the test windows are read here.

    A training that was stopped goes on in its folder in `runs`, which is gone when the row is there.

    device: what to train on; a run that another device made is made again. Without it any will do, and what is missing
    is trained on the study's. Raises SettingError when this machine has no such device, and without `device` where the
    other runs of a table are of another one.
    """
    choose_device(device or study.device)
    wanted = None if methods is None else set(methods)
    for task, share, seed in product(
        tasks, study.loops if shares is None else shares, range(study.seeds) if seeds is None else seeds
    ):
        for name, recipe in final_recipes(study, results, task, share).items():
            if seed in study.seeds_of(name) and (wanted is None or name in wanted):
                final = study.final(recipe, name, task, share, seed)
                _run(final, name, task, seed, tasks[task], results, runs, device)


def _run(
    recipe: Recipe,
    name: str,
    task: str,
    seed: int,
    dataset: Dataset,
    results: Path,
    runs: Path,
    device: Device | None,
) -> None:
    """Train and keep a row, unless there is one. The file is read anew, so two commands can share the work."""
    file, own = results / "finals.csv", key(recipe, seed, dataset.source.sha256)
    own |= {"precision": recipe.trainer.precision}
    here = device_name(device or recipe.trainer.device)
    if device is not None:
        own |= {"device": here}
        recipe = replace(recipe, trainer=replace(recipe.trainer, device=device))
    table = {"task": task, "share": f"{recipe.data.label_fraction:g}"}
    place = table | {"method": name}
    folder = runs / "finals" / "-".join((*place.values(), own["seed"], own["settings"], here.replace(" ", "_")))
    with alone(folder):
        rows = [row for row in read_rows(file) if table.items() <= row.items()]
        before = [row for row in rows if (row["method"], row["seed"]) == (name, own["seed"])]
        if any(own.items() <= row.items() for row in before) and file_of(results, own | place).is_file():
            return
        others = {row["device"] for row in rows} or {here}
        require(
            device is not None or here in others,
            f"runs of {task} at {100 * recipe.data.label_fraction:g} % of the labels are of "
            f"{', '.join(sorted(others))}, "
            f"and one of {here} could not be compared with them; train there, or make all of them again with "
            f"--device {recipe.trainer.device}",
        )
        row, test = _trained(recipe, seed, dataset, folder)
        row = own | place | row
        # First the predictions: where a row is, what the statistics need has been there.
        save(file_of(results, row), test.probability, float(row["threshold"]))
        add_row(file, row, RUN_COLUMNS, (*place, "seed"))
        for other in before:  # of other settings, whose row is gone
            if file_of(results, other) != file_of(results, row):
                file_of(results, other).unlink(missing_ok=True)
        shutil.rmtree(folder)


def _trained(recipe: Recipe, seed: int, dataset: Dataset, folder: Path) -> tuple[Row, Predictions]:
    """What a training gave, and its predictions of the test windows."""
    run = ecgtune.fine_tune(dataset, recipe, out=folder, seed=seed, resume=RunFolder(folder).recipe.is_file())
    test = read_predictions(run.folder / "predictions.csv").of("test")
    assert np.array_equal(test.row, judging_windows(dataset))
    return _measured(run.metrics, (run.folder / "log.jsonl").read_text(encoding="utf-8")), test


def device_name(device: str) -> str:
    """What rows call it: an accelerator by its model, a CPU "cpu"."""
    return str(machine()["accelerator"]) if device.startswith("cuda") else device


def _measured(metrics: dict, log: str) -> Row:
    test, trained = metrics["window"]["metrics"], metrics["training"]
    counts, kept = metrics["split"]["counts"], json.loads(log.splitlines()[trained["best_epoch"] - 1])
    row = {
        "title": metrics["title"],
        "training_windows": counts["train"]["windows"],
        "training_records": counts["train"]["groups"],
        "validation_windows": counts["val"]["windows"],
        "trainable": metrics["parameters"]["trainable"],
        "trainable_share": f"{metrics['parameters']['trainable_fraction']:.5f}",
        "epochs": trained["epochs"],
        "best_epoch": trained["best_epoch"],
        "val_auroc": f"{kept['val_auroc']:.5f}",
        "threshold": metrics["threshold"]["value"],
        **{name: f"{test[name]['value']:.5f}" for name in ("accuracy", "f1", "auroc")},
        "seconds": f"{trained['seconds']:.1f}",
        "seconds_per_epoch": f"{trained['seconds_per_epoch']:.2f}",
        "peak_memory_bytes": trained["peak_memory_bytes"],
        "file_bytes": trained["file_bytes"],
        "precision": trained["precision"],
        "device": device_name(trained["device"]),
        "date": now()[:10],
    }
    return {name: str(value) for name, value in row.items()}


def current(study: Study, rows: list[Row], results: Path, data: Mapping[str, str]) -> list[Row]:
    """The rows whose run would be the same today. data: sha256 of each task's file."""
    places = {(row["task"], float(row["share"])) for row in rows}
    places = {(task, share) for task, share in places if task in data and share in study.loops}
    recipes = {place: final_recipes(study, results, *place) for place in places}
    kept = []
    for row in rows:
        task, share, seed = row["task"], float(row["share"]), int(row["seed"])
        recipe = recipes.get((task, share), {}).get(row["method"])
        if recipe is not None and seed in study.seeds_of(row["method"]):
            own = key(study.final(recipe, row["method"], task, share, seed), seed, data[task])
            kept += [row] if own.items() <= row.items() else []
    return kept


def run_statistics(study: Study, rows: list[Row], tasks: Mapping[str, Dataset], results: Path) -> None:
    """Stage three: intervals and paired differences of each cell (task, share) of `tasks`, from the runs' predictions.

    What stands in statistics.csv for the same runs is not computed again, and the rows of other tasks stay; Holm's
    adjustment is computed, over all methods of a cell, for each metric and reference.
    """
    file = results / "statistics.csv"
    kept = read_rows(file)
    made = [row for row in kept if row["task"] not in tasks]
    for task, share in sorted({(row["task"], row["share"]) for row in rows if row["task"] in tasks}):
        by_method: dict[str, dict[str, Row]] = {}
        for row in rows:
            if (row["task"], row["share"]) == (task, share):
                by_method.setdefault(row["method"], {})[row["seed"]] = row
        cell = _Cell(study, by_method, tasks[task], results)
        for method in by_method:
            for reference in study.references_of(method):
                if (reference in by_method and reference != method) or method == reference == REFERENCE:
                    made += cell.rows(task, share, method, reference, kept)
    write_rows(file, _adjusted(made), CELL_COLUMNS)


class _Cell:
    """One task at one share: its runs, and each method's resamples, made once for each set of seeds."""

    def __init__(
        self, study: Study, by_method: Mapping[str, Mapping[str, Row]], dataset: Dataset, results: Path
    ) -> None:
        self._study, self._by_method, self._dataset, self._results = study, by_method, dataset, results
        self._resampled: dict[tuple[str, tuple[str, ...]], Resampled] = {}

    def rows(self, task: str, share: str, method: str, reference: str, kept: list[Row]) -> list[Row]:
        """A row per metric: those of `kept` for the same runs, or new ones where all predictions are there."""
        own, other = self._by_method[method], self._by_method[reference]
        # Rounding moves a seed by as much as methods differ (number_formats.py), so a pair has one number format, on
        # one kind of device.
        seeds = (
            seed
            for seed in own.keys() & other.keys()
            if all(own[seed][name] == other[seed][name] for name in ("precision", "device"))
        )
        seeds = tuple(sorted(seeds, key=int))
        if not seeds:
            return []
        told = [
            [side[seed][name] for name in (*RUN_KEY, *self._study.metrics)]  # of a run made again another
            for side in (own, other)
            for seed in seeds
        ]
        place = {"task": task, "share": share, "method": method, "reference": reference}
        place |= {"key": digest(str([told, self._study.resamples, self._study.margin]))}
        before = [row for row in kept if place.items() <= row.items()]
        if len(before) == len(self._study.metrics):
            return before
        if not all(file_of(self._results, side[seed]).is_file() for side in (own, other) for seed in seeds):
            return []
        ours, theirs = self._resample(method, seeds), self._resample(reference, seeds)
        return [
            place | self._measure(ours, theirs, metric, [(own[seed], other[seed]) for seed in seeds])
            for metric in self._study.metrics
        ]

    def _measure(self, own: Resampled, reference: Resampled, metric: str, runs: Sequence[tuple[Row, Row]]) -> Row:
        low, high = own.interval(metric)
        found = paired_difference(own, reference, metric)
        seeds_low, seeds_high = over_seeds([float(ours[metric]) - float(theirs[metric]) for ours, theirs in runs])
        numbers = {
            "value": own.value[metric], "spread": own.spread[metric], "low": low, "high": high,
            "difference": found.value, "difference_low": found.low, "difference_high": found.high,
            "seeds_low": seeds_low, "seeds_high": seeds_high,
        }  # fmt: skip
        return {
            "metric": metric,
            "seeds": str(len(runs)),
            **{name: f"{value:.5f}" for name, value in numbers.items()},
            "p": f"{found.p:.5f}",
            "not_inferior": str(found.not_inferior(self._study.margin)) if metric == "accuracy" else "",
            "date": now()[:10],
        }

    def _resample(self, method: str, seeds: tuple[str, ...]) -> Resampled:
        if (method, seeds) not in self._resampled:
            files = [file_of(self._results, self._by_method[method][seed]) for seed in seeds]
            self._resampled[method, seeds] = resampled(files, self._dataset, self._study.resamples)
        return self._resampled[method, seeds]


def over_seeds(differences: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's interval for the mean of paired differences, one a seed; NaN of fewer than two."""
    if len(differences) < 2:
        return float("nan"), float("nan")
    half = sem(differences) * student.ppf((1 + level) / 2, len(differences) - 1)
    return float(np.mean(differences) - half), float(np.mean(differences) + half)


def points(differences: Sequence[float]) -> str:
    """The mean of paired differences, one a seed, in hundredths, and Student's interval; "" of fewer than two."""
    if len(differences) < 2 or not any(differences):
        return ""
    low, high = over_seeds(differences)
    return f"{100 * np.mean(differences):+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"


def _adjusted(rows: list[Row]) -> list[Row]:
    """The rows with Holm's p-values over the methods of each cell, metric and reference.

    Steps of a preset (NAME+STEP) describe and claim nothing, so they are not tests of the family.
    """
    families: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        family = tuple(row[name] for name in ("task", "share", "metric", "reference"))
        families.setdefault(family, []).append(row)
    result = []
    for family in families.values():
        tested = [row for row in family if row["method"] != row["reference"] and "+" not in row["method"]]
        tested = [row for row in tested if row["p"] != "nan"]
        adjusted = iter(holm([float(row["p"]) for row in tested]))
        for row in family:
            known = any(row is other for other in tested)
            result.append({**row, "p_holm": f"{next(adjusted):.5f}" if known else ""})
    return result
