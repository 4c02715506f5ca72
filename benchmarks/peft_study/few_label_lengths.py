"""How long the finals train where labels are few, and which epoch is kept, judged on recordings that judge no final.

    python benchmarks/peft_study/few_label_lengths.py ../shared/data/cinc2017_windows.npz

takes a quarter of the training recordings away, trains what the sweep found on as many labels of the others as finals
have, and keeps how it answers on that quarter, in benchmarks/results/peft_study/few_label_lengths.csv and in
docs/peft_study_choices.md. Validation windows of so few labels could not tell: there are 44 of them at 1 %. What stands
there is not run again, and commands with different --methods, --shares or --seeds can share the work.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from peft_rows import Row, abnormal, add_row, into_page, key, read_rows
from peft_settings import FLOOR, Study, tuned
from peft_study import CHOICES, RESULTS

import ecgtune
from ecgtune.config.data import DataSettings
from ecgtune.data.dataset import Dataset
from ecgtune.recipe.recipe import Recipe
from ecgtune.workflows.environment import now

FILE = RESULTS / "few_label_lengths.csv"


class Length(NamedTuple):
    """Epochs, augmented copies of the windows (fresh ones without), and which epoch is kept."""

    epochs: int
    views: int | None = None
    best: Literal["auroc", "loss", "last"] = "last"


KEPT = (Length(10), Length(10, best="auroc"), Length(10, best="loss"))
#: By share of the labels and method.
LENGTHS: dict[float, dict[str, tuple[Length, ...]]] = {
    0.01: {
        "full": (Length(5), *KEPT),
        "lora": (Length(5), *KEPT),
        "side": (Length(5, 6), Length(15, 6)),
        "probe": (Length(5), Length(20)),
    },
    0.1: {
        "full": (Length(2), Length(4)),
        "lora": (Length(2), Length(4)),
        "side": (Length(4, 6), Length(12, 6)),
        "probe": (Length(4), Length(20)),
    },
}
SEEDS = range(3)
#: What lengths were chosen in, before finals were made in bf16; so the rows can be made again on any machine.
PRECISION = "fp32"
AWAY = 0.25
BEST = {"auroc": "highest validation AUROC", "loss": "lowest validation loss", "last": "last"}
PLACE = ("share", "method", "epochs", "views", "best", "seed")
COLUMNS = (*PLACE, "data", "weights", "settings", "accuracy", "auroc", "precision", "date")


def without_a_quarter(dataset: Dataset) -> Dataset:
    """The file's training windows, those of a quarter of their recordings as test windows."""
    assert dataset.split is not None
    assert dataset.group is not None
    training = dataset.select(np.flatnonzero(dataset.split == "train"))
    recordings = np.unique(training.group)
    away = np.random.default_rng(7).permutation(recordings)[: int(AWAY * len(recordings))]
    return replace(training, split=np.where(np.isin(training.group, away), "test", "train"))


def recipe_of(study: Study, name: str, share: float, length: Length, seed: int) -> Recipe:
    """A final on as many labels as at `share` of all training recordings, for another time."""
    recipe = study.floor() if name == FLOOR else tuned(RESULTS)[name]
    recipe = study.final(recipe, name, study.tasks[0], share, seed)
    return replace(
        recipe,
        data=DataSettings(split_seed=seed, label_fraction=float(f"{share / (1 - AWAY):.4g}")),
        optimisation=replace(recipe.optimisation, epochs=length.epochs, checkpoint_metric=length.best),
        augmentation=replace(recipe.augmentation, augmented_copies=length.views),
    )


def row_of(recipe: Recipe, name: str, share: float, seed: int, dataset: Dataset) -> Row:
    """What tells the row of a training from every other."""
    place = {"share": f"{share:g}", "method": name, "epochs": str(recipe.optimisation.epochs)}
    place |= {"views": str(recipe.augmentation.augmented_copies or ""), "best": recipe.optimisation.checkpoint_metric}
    return place | key(recipe, seed, dataset.source.sha256)


def metrics_of(recipe: Recipe, seed: int, dataset: Dataset) -> dict[str, Any]:
    """What a training reports; its test windows are those of the quarter that was taken away."""
    with tempfile.TemporaryDirectory() as folder:
        return ecgtune.fine_tune(dataset, recipe, out=Path(folder) / "run", seed=seed).metrics


def scores_of(metrics: dict[str, Any]) -> Row:
    """Accuracy and AUROC on the quarter, and what they were computed in."""
    scores = {name: f"{metrics['window']['metrics'][name]['value']:.5f}" for name in ("accuracy", "auroc")}
    return {**scores, "precision": metrics["training"]["precision"], "date": now()[:10]}


def table(rows: Sequence[Row]) -> str:
    """A line per share, method and length: means over seeds."""
    arms: dict[tuple[str, ...], list[Row]] = {}
    names = ("share", "method", "epochs", "views", "best")
    for row in sorted(rows, key=lambda row: (float(row["share"]), row["method"], int(row["epochs"]), row["best"])):
        arms.setdefault(tuple(row[name] for name in names), []).append(row)
    lines = [
        "| labels | method | epochs | copies | epoch kept | seeds | accuracy | lowest of them | AUROC |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (share, method, epochs, views, best), own in arms.items():
        accuracy, auroc = ([float(row[name]) for row in own] for name in ("accuracy", "auroc"))
        scores = (f"{100 * np.mean(accuracy):.2f} %", f"{100 * min(accuracy):.1f} %", f"{np.mean(auroc):.4f}")
        cells = (f"{100 * float(share):g} %", method, epochs, views or "fresh", BEST[best], str(len(own)), *scores)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" if rows else "Not run yet.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("windows", nargs="?", type=Path, help="cinc2017_windows.npz; only the page is made without it")
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--shares", nargs="+", type=float)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    asked = parser.parse_args()
    study = Study()
    if asked.windows:
        dataset = without_a_quarter(abnormal(asked.windows))
        for share, methods in LENGTHS.items():
            for name in methods:
                if share not in (asked.shares or LENGTHS) or name not in (asked.methods or methods):
                    continue
                for length in methods[name]:
                    for seed in asked.seeds:
                        recipe = recipe_of(study, name, share, length, seed)
                        recipe = replace(recipe, trainer=replace(recipe.trainer, precision=PRECISION))
                        own = row_of(recipe, name, share, seed, dataset)
                        if not any(own.items() <= row.items() for row in read_rows(FILE)):
                            add_row(FILE, own | scores_of(metrics_of(recipe, seed, dataset)), COLUMNS, PLACE)
    into_page(CHOICES, "few_label_lengths", table(read_rows(FILE)))


if __name__ == "__main__":
    main()
