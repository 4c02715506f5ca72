"""Logistic regression on frozen tokens of openecg, and on those of its random twin.

    python studies/encoders/frozen.py --data ../shared/data

CinC 2017, normal against abnormal, windows of 6 s. Features are mean, standard deviation and maximum of the tokens,
standardised on the training windows; the penalty is chosen on the validation windows. Rerun to resume. Without `--data`
only the table is written.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from differences import resample
from pages import markdown, replace_section
from predictions import save_run
from rows import Row, read_rows, replace_rows
from settings import Run, Study

from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import split_dataset
from ecgtune.evaluation.intervals import percentile_interval
from ecgtune.training.inference import precompute
from ecgtune.workflows.environment import now
from ecgtune.workflows.preparation import load_recipe_model, prepare

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results" / "frozen.csv", HERE.parents[1] / "docs" / "encoders.md"
#: Variants of table.toml with the encoders to compare.
VARIANTS = ("openecg-probe", "openecg-random-control")
PENALTIES = (0.001, 0.01, 0.1, 1.0)
#: Windows that are encoded at a time.
PART = 1000
COLUMNS = ("encoder", "training_windows", "penalty", "val_auroc", "auroc", "ci_low", "ci_high", "date")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the files of windows")
    parser.add_argument("--runs", type=Path, default=Path("runs/studies"), help="folder of encoded windows")
    parser.add_argument(
        "--windows", type=int, default=1500, help="largest number of windows of each split, at random; 0 for all"
    )
    options = parser.parse_args(words)
    if options.data:
        study = Study(HERE / "table.toml")
        dataset = study.windows("abnormal", options.data)
        for variant in VARIANTS:
            split = parts(dataset, options.windows)
            rows = np.concatenate(list(split.values()))
            features = encoded(study, variant, dataset, rows, options.runs / "frozen")
            for count in (len(split["train"]) // 3, len(split["train"])):
                few = {**split, "train": np.random.default_rng(0).permutation(split["train"])[:count]}
                row = probe(features, dataset, few, options.runs / "frozen" / "test.npz")
                row = {"encoder": variant.rpartition("-")[0], **row}
                replace_rows(RESULTS, [row], COLUMNS, COLUMNS[:2])
    replace_section(PAGE, "frozen", table(read_rows(RESULTS)))


def parts(dataset: Dataset, most: int) -> dict[str, NDArray[np.int64]]:
    """Return the rows of each split, `most` of them at random; 0 for all."""
    generator = np.random.default_rng(0)
    return {
        name: rows if most == 0 or len(rows) <= most else np.sort(generator.permutation(rows)[:most])
        for name, rows in split_dataset(dataset).by_name().items()
    }


def encoded(
    study: Study, variant: str, dataset: Dataset, rows: NDArray[np.int64], folder: Path
) -> dict[int, NDArray[np.float32]]:
    """Return the pooled tokens of the windows `rows`; parts that are in `folder` are read."""
    recipe = study.recipe(Run("abnormal", 1.0, variant, 0))
    model = load_recipe_model(recipe, dataset, seed=0)
    found: dict[int, NDArray[np.float32]] = {}
    for start in range(0, len(rows), PART):
        part = rows[start : start + PART]
        file = folder / f"{variant}-{dataset.source.sha256[:12]}-{sha256(part.tobytes()).hexdigest()[:12]}.npy"
        if not file.is_file():
            few = replace(dataset.select(part), split=None)
            prepared = prepare(model, few, split_dataset(few), recipe.data)
            pooled = precompute(model, prepared.windows(np.arange(len(part))), precision="fp32").inputs
            folder.mkdir(parents=True, exist_ok=True)
            np.save(file, np.asarray(pooled, np.float32))
        found |= zip(part.tolist(), np.load(file), strict=True)
    return found


def probe(
    features: Mapping[int, NDArray[np.float32]], dataset: Dataset, split: Mapping[str, NDArray[np.int64]], file: Path
) -> Row:
    """Return the row of a logistic regression on the training rows of `split`. file: for the predictions."""
    signal = {name: np.stack([features[row] for row in rows.tolist()]) for name, rows in split.items()}
    label = {name: dataset.label[rows] for name, rows in split.items()}
    found = []
    for penalty in PENALTIES:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=300))
        model.fit(signal["train"], label["train"])
        found.append((roc_auc_score(label["val"], model.decision_function(signal["val"])), penalty, model))
    auroc, penalty, model = max(found, key=lambda each: each[0])
    test = split["test"]
    group = np.arange(len(test)) if dataset.group is None else dataset.group[test]
    arrays = {"label": label["test"], "probability": model.predict_proba(signal["test"])[:, 1], "group": group}
    save_run(file, arrays | {"threshold": np.array(0.5)})
    draws = resample(file, 1000)["auroc"]
    low, high = percentile_interval(draws[1:], 0.95)
    numbers = {"val_auroc": auroc, "auroc": draws[0], "ci_low": low, "ci_high": high}
    return {
        "training_windows": str(len(split["train"])),
        "penalty": f"{penalty:g}",
        **{name: f"{value:.5f}" for name, value in numbers.items()},
        "date": now()[:10],
    }


def table(rows: Sequence[Row]) -> str:
    """Return the Markdown of the rows."""
    lines = [
        (
            row["encoder"],
            f"{int(row['training_windows']):,}",
            f"{float(row['val_auroc']):.3f}",
            f"{float(row['auroc']):.3f} ({float(row['ci_low']):.3f} to {float(row['ci_high']):.3f})",
        )
        for row in sorted(rows, key=lambda row: (int(row["training_windows"]), row["encoder"]))
    ]
    return markdown(("encoder", "training windows", "validation AUROC", "test AUROC"), lines)


if __name__ == "__main__":
    main()
