"""Does pretraining carry knowledge? The same encoder from pretrained and from random weights, with few and many labels.

    python benchmarks/pretraining/proof.py ../shared/data/cinc2017_windows.npz

trains frozen probe, LoRA and full fine-tuning of ecg-fm-tiny and of its random twin at each share of the labels with
each seed, and keeps one row per run in benchmarks/results/pretraining/proof.csv. What stands there for the same weights
and the same settings is not trained again, so a stopped command goes on when it is given again, and several commands
can share the work. Every command with its date and machine is kept in proof.json. A seed draws the
labelled recordings, the validation recordings among them, the head and the order of windows; the test windows are the
same in all runs. Without a file of windows, only table and figure are made anew.
"""

import argparse
import tempfile
from dataclasses import asdict, replace
from functools import cache
from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
from rows import PAGE, RESULTS, Row, add_command, add_row, command, into_page, read_rows, settings_key, validation_auroc

import ecgtune
from ecgtune.config.augmentation import Augmentation
from ecgtune.config.data import DataSettings
from ecgtune.config.model import ModelSettings
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.data.dataset import Dataset
from ecgtune.io.windows import read_dataset
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.models.loading import load_model
from ecgtune.recipe.recipe import Recipe
from ecgtune.reporting.style import STYLE
from ecgtune.workflows.environment import machine, now

mpl.use("Agg")
import matplotlib.pyplot as plt

MODELS = {"pretrained": "ecg-fm-tiny", "random": "ecg-fm-tiny-random"}
METHODS = {"probe": LinearProbe(), "lora": LoRA(rank=4, targets="all"), "full": Full()}
TITLES = {"probe": "Linear probe", "lora": "LoRA r4", "full": "Full fine-tuning"}
#: Share of the labels -> settings of the loop; fewer labels need more passes to make as many steps.
LOOPS = {
    0.01: Optimisation(epochs=20, batch_size=16),
    0.1: Optimisation(epochs=6, batch_size=32),
    1.0: Optimisation(epochs=4, batch_size=64),
}
#: For all but the probe, which reads features that are computed once.
CARE = {"ema": 0.998, "label_smoothing": 0.1}
AUGMENTATION = Augmentation(shift=0.1, time_stretch=0.05, polarity_flip=0.5, gain=0.2, wander=0.1, noise=0.05)
COLOURS = ("#009E73", "#697586")
#: Learning rates. What starts at random has further to go, and with the rates of a pretrained encoder it hardly moves.
RATES = {
    "pretrained": {"probe": 1e-3, "lora": 1e-3, "full": 2e-4},
    "random": {"probe": 1e-3, "lora": 2e-3, "full": 1e-3},
}
COLUMNS = (
    "weights", "model", "method", "label_fraction", "seed", "settings", "training_windows", "training_records",
    "trainable", "trainable_share", "epochs", "best_epoch", "val_auroc", "auroc", "auroc_low", "auroc_high", "accuracy",
    "f1", "seconds", "date",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("windows", nargs="?", help="NPZ file of labelled windows; tables alone are made without it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shares", type=float, nargs="+", default=sorted(LOOPS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--weights", nargs="+", default=list(MODELS))
    asked = parser.parse_args()
    file = RESULTS / "proof.csv"
    if asked.windows:
        dataset = read_dataset(asked.windows)
        for share, seed, method, weights in product(asked.shares, range(asked.seeds), asked.methods, asked.weights):
            _run(file, dataset, _recipe(weights, method, share, seed), seed)
        facts = {"command": command(), "date": now(), "machine": machine(), "data": asdict(dataset.source)}
        add_command(RESULTS / "proof.json", facts)
    rows = rows_of_today(read_rows(file))
    into_page(PAGE, "proof", table(rows))
    into_page(PAGE, "rising", rising(rows))
    _figure(rows, RESULTS / "proof.png")


def rows_of_today(rows: list[Row]) -> list[Row]:
    """Those that table and figure are made of; rows of earlier weights and settings stay in the file."""
    return [row for row in rows if _of_today(row)]


def _of_today(row: Row) -> bool:
    """Whether the row's model still has the weights that it had, and its run the settings."""
    weights = next(name for name, model in MODELS.items() if model == row["model"])
    recipe = _recipe(weights, row["method"], float(row["label_fraction"]), int(row["seed"]))
    return _key(recipe, int(row["seed"])).items() <= row.items()


def _recipe(weights: str, method: str, share: float, seed: int) -> Recipe:
    optimisation = replace(LOOPS[share], learning_rate=RATES[weights][method])
    if (method, share) == ("full", 1.0):
        optimisation = replace(optimisation, epochs=3)  # they take about as long as LoRA's four
    recipe = Recipe(
        name=f"{weights}-{method}-{share:g}",
        method=METHODS[method],
        data=DataSettings(split_seed=seed, label_fraction=share),
        model=ModelSettings(name=MODELS[weights], pooling="statistics"),
        optimisation=optimisation,
        trainer=TrainerSettings(precision="bf16"),
    )
    if method == "probe":
        return recipe
    return replace(recipe, optimisation=replace(optimisation, **CARE), augmentation=AUGMENTATION)


def _run(file: Path, dataset: Dataset, recipe: Recipe, seed: int) -> None:
    """Train and keep a row, unless there is one. The file is read anew, so two commands can share the work."""
    key = _key(recipe, seed)
    if any(all(row[name] == value for name, value in key.items()) for row in read_rows(file)):
        return
    with tempfile.TemporaryDirectory() as folder:
        metrics = ecgtune.fine_tune(dataset, recipe, out=Path(folder) / "run", seed=seed).metrics
        validation = validation_auroc(Path(folder) / "run")
    test, counts = metrics["window"]["metrics"], metrics["split"]["counts"]["train"]
    row = key | {
        "model": recipe.model.name,
        "method": recipe.method.name,
        "label_fraction": f"{recipe.data.label_fraction:g}",
        "training_windows": counts["windows"],
        "training_records": counts["groups"],
        "trainable": metrics["parameters"]["trainable"],
        "trainable_share": f"{metrics['parameters']['trainable_fraction']:.5f}",
        "epochs": metrics["training"]["epochs"],
        "best_epoch": metrics["training"]["best_epoch"],
        "val_auroc": f"{validation:.5f}",
        **{name: f"{test[name]['value']:.5f}" for name in ("auroc", "accuracy", "f1")},
        "auroc_low": f"{test['auroc']['ci_low']:.5f}",
        "auroc_high": f"{test['auroc']['ci_high']:.5f}",
        "seconds": f"{metrics['training']['seconds']:.1f}",
        "date": now()[:10],
    }
    add_row(file, row, COLUMNS, key=list(key))


def _key(recipe: Recipe, seed: int) -> Row:
    """What tells a run from every other: weights, all settings, seed."""
    return {
        "weights": _weights(recipe.model.name, seed),
        "settings": settings_key(recipe),
        "seed": str(seed),
    }


@cache
def _weights(model: str, seed: int) -> str:
    return load_model(model, seed=seed).weights.describe()


def _values(rows: list[Row], model: str, method: str, share: float, name: str) -> list[float]:
    """One value per seed, in the order of seeds."""
    return list(_by_seed(rows, model, method, share, name).values())


def _by_seed(rows: list[Row], model: str, method: str, share: float, name: str) -> dict[int, float]:
    chosen = [
        row for row in rows if (row["model"], row["method"], float(row["label_fraction"])) == (model, method, share)
    ]
    return {int(row["seed"]): float(row[name]) for row in sorted(chosen, key=lambda row: int(row["seed"]))}


def table(rows: list[Row]) -> str:
    """Markdown: a line per share of the labels and method, pretrained beside random."""
    lines = [
        "| labels | method | trainable | AUROC, pretrained | AUROC, random | difference | accuracy, pretrained "
        "| accuracy, random |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for share, method in product(sorted(LOOPS), METHODS):
        auroc = {weights: _values(rows, model, method, share, "auroc") for weights, model in MODELS.items()}
        accuracy = {weights: _values(rows, model, method, share, "accuracy") for weights, model in MODELS.items()}
        trainable = _values(rows, MODELS["pretrained"], method, share, "trainable_share")
        seeds = {weights: _by_seed(rows, model, method, share, "auroc") for weights, model in MODELS.items()}
        pairs = [
            (value, seeds["random"][seed]) for seed, value in seeds["pretrained"].items() if seed in seeds["random"]
        ]
        cells = (
            f"{100 * share:g} %",
            TITLES[method],
            f"{100 * trainable[0]:.2f} %" if trainable else "",
            _spread(auroc["pretrained"]),
            _spread(auroc["random"]),
            _spread([one - other for one, other in pairs], sign="+"),
            _spread(accuracy["pretrained"]),
            _spread(accuracy["random"]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def rising(rows: list[Row]) -> str:
    """A sentence: in how many runs from each kind of weights the last epoch was the best on validation."""
    longer = [row for row in rows if float(row["label_fraction"]) > min(LOOPS)]
    told = {
        weights: [row["best_epoch"] == row["epochs"] for row in longer if row["model"] == model]
        for weights, model in MODELS.items()
    }
    shares = " and ".join(f"{100 * share:g} %" for share in sorted(LOOPS)[1:])
    counts = " and in ".join(
        f"{sum(last)} of {len(last)} runs from {weights} weights" for weights, last in told.items()
    )
    return f"With {shares} of the labels the last epoch was the best on validation in\n{counts}.\n"


def _spread(values: list[float], sign: str = "") -> str:
    """Mean over seeds, with the lowest and the highest."""
    if not values:
        return "not run"
    mean, low, high = np.mean(values), min(values), max(values)
    return f"{mean:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f}; {len(values)} seeds)"


def _figure(rows: list[Row], file: Path) -> None:
    plt.style.use(STYLE)
    figure, axes = plt.subplots(1, len(METHODS), figsize=(10, 3.4), sharey=True, layout="constrained")
    for axis, method in zip(axes, METHODS, strict=True):
        for (weights, model), colour in zip(MODELS.items(), COLOURS, strict=True):
            points = [(share, _values(rows, model, method, share, "auroc")) for share in sorted(LOOPS)]
            points = [(share, values) for share, values in points if values]
            if not points:
                continue
            shares, means = [share for share, _ in points], [np.mean(values) for _, values in points]
            axis.plot(shares, means, color=colour, marker="o", label=weights)
            for share, values in points:
                axis.plot([share] * len(values), values, ".", color=colour, alpha=0.5)
        axis.set(title=TITLES[method], xscale="log", xlabel="share of the labels")
        axis.set_xticks(sorted(LOOPS), [f"{100 * share:g} %" for share in sorted(LOOPS)])
        axis.minorticks_off()
    axes[0].set_ylabel("AUROC, test windows")
    axes[0].legend(frameon=False)
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
