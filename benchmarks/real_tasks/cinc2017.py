"""The four rhythms of the PhysioNet/CinC Challenge 2017 with the challenge's F1, from original files and from windows.

    python benchmarks/real_tasks/cinc2017.py ../shared/data/cinc2017_rhythms.npz ../shared/data/records/cinc2017

compares the methods of the recipe cinc2017-rhythms with two baselines on the windows with a tenth of the labels, the
cheaper methods with all labels, and all methods on the 60 original recordings by five-fold cross-validation. A row for
each data set, share of the labels, method and level is kept in benchmarks/results/real_tasks/cinc2017.csv; the table
follows from it. Stopped, the same command goes on where it was.

The file of windows brings its split by recording: its val windows are the test windows, and validation windows are
drawn from its training windows. 55 of its 1,279 test recordings were among the recordings that ecg-fm-tiny was
pretrained on, without labels; the level "unseen" is without them. Of the 60 original recordings 53 were, so that their
figures show that the path from files to scores works, and not what the encoder is worth.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cinc2017_table import COLUMNS, table
from real_rows import RESULTS, Kept, Row, cells_of, facts_of, into_page, kept_runs, read_rows, replace_rows, write_facts

import ecgtune
from ecgtune.data.dataset import Dataset
from ecgtune.data.folds import k_folds
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.evaluate import evaluate
from ecgtune.io.records.reading import RecordSettings, read_records
from ecgtune.io.windows import read_dataset
from ecgtune.recipe.recipe import Recipe, load_recipes

RECIPE = "cinc2017-rhythms"
KEY = ("data", "label_fraction", "method", "level")
CLASSES = ("A", "N", "O", "~")  # as the product sorts them
MODEL_RATE, WINDOW = 100.0, 6.0  # Hz of ecg-fm-tiny, seconds
FOLDS, FOLD_EPOCHS = 5, 20  # 36 recordings train: more passes for as many steps
#: Comparisons on the windows, in their order: share of the labels, methods, whether with the baselines. LoRA with all
#: labels stands alone at the end, because it takes longer than all the rest.
WORK = ((0.1, ("full", "lora", "probe"), True), (1.0, ("probe",), False), (1.0, ("lora",), False))
PRETRAINING = Path(__file__).parents[1] / "results" / "pretraining" / "run" / "recordings.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("windows", nargs="?", type=Path, help="NPZ file of windows with the four labels")
    parser.add_argument("records", nargs="?", type=Path, help="folder of original files with labels.csv")
    parser.add_argument("--out", type=Path, default=Path("runs/real_tasks/cinc2017"))
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    file = RESULTS / "cinc2017.csv"
    if asked.windows is not None:
        arms = [replace(arm, trainer=replace(arm.trainer, precision=asked.precision)) for arm in load_recipes(RECIPE)]
        windows = read_dataset(asked.windows)
        sources = {"windows": windows.source.sha256}
        pieces: list[tuple[str, Callable[..., list[Row]]]] = [
            (f"windows, {100 * share:g} % of the labels", partial(of_windows, windows, arms, share, names, baselines))
            for share, names, baselines in WORK
        ]
        if asked.records is not None:
            records = read_originals(asked.records, asked.out)
            sources["records"] = records.source.sha256
            pieces.insert(-1, ("original recordings", partial(of_records, records, arms)))
        for told, piece in pieces:
            replace_rows(file, piece(out=asked.out), COLUMNS, KEY)
            write_facts(file.with_suffix(".json"), {"data": sources, "recipe": RECIPE, "seeds": [0], "last": told})
            into_page("cinc2017", table(read_rows(file)))
            print(f"{told}: there", flush=True)
    into_page("cinc2017", table(read_rows(file)))


def read_originals(folder: Path, out: Path) -> Dataset:
    """The windows of the original files, of recordings of any length; the last part of a window is dropped."""
    return read_records(
        folder / "labels.csv",
        folder,
        settings=RecordSettings(sampling_rate=MODEL_RATE, window=WINDOW, workers=1),
        skipped=out / "skipped.csv",
    )


def of_windows(
    dataset: Dataset, arms: Sequence[Recipe], share: float, names: Sequence[str], baselines: bool, *, out: Path
) -> list[Row]:
    """Compare with a share of the labels; rows of windows, recordings, and recordings that pretraining has not seen."""
    chosen = [replace(arm, data=replace(arm.data, label_fraction=share)) for arm in arms if arm.name in names]
    folder = out / "-".join([f"windows-{share:g}", *names])
    ecgtune.compare(dataset, chosen, out=folder, seeds=1, baselines=baselines, quiet=True)
    unseen = left_out_of_pretraining()
    rows = []
    for run in kept_runs(folder):
        common = {"data": "windows", "label_fraction": f"{share:g}", "method": run.method, **facts_of(run.metrics)}
        rows += level_rows(common, run.metrics)
        keep = np.isin(run.test.group, unseen)
        part = measured_anew(run, run.test.label[keep], run.test.probability[keep], run.test.group[keep])
        rows.append({**common, "level": "unseen", **cells(part["group"])})
    return rows


def of_records(dataset: Dataset, arms: Sequence[Recipe], *, out: Path) -> list[Row]:
    """Compare on each fold, and measure each method once on the predictions of all folds: F1 needs more than 12."""
    chosen = [replace(arm, optimisation=replace(arm.optimisation, epochs=FOLD_EPOCHS)) for arm in arms]
    kept: dict[str, list[Kept]] = {}
    for number, fold in enumerate(k_folds(dataset, FOLDS), start=1):
        folder = out / f"records-{number}"
        ecgtune.compare(fold, chosen, out=folder, seeds=1, quiet=True)
        for run in kept_runs(folder):
            kept.setdefault(run.method, []).append(run)
    rows = []
    for method, runs in kept.items():
        parts = [
            np.concatenate([getattr(run.test, name) for run in runs]) for name in ("label", "probability", "group")
        ]
        common = {"data": "records", "label_fraction": "1", "method": method, **facts_of(runs[0].metrics)}
        known = [float(seconds) for run in runs if (seconds := facts_of(run.metrics)["seconds"])]
        common |= {"best_epoch": "", "seconds": f"{sum(known):.1f}" if known else ""}
        rows += level_rows(common, measured_anew(runs[0], *parts))
    return rows


def measured_anew(run: Kept, label: np.ndarray, probability: np.ndarray, group: np.ndarray) -> dict[str, Any]:
    """What `evaluate` says of predictions of the run's kind."""
    over, pooled = (run.metrics["evaluation"][name] for name in ("f1_over", "recording"))
    decision = Decision.from_dict(run.metrics["threshold"])
    classes = run.metrics["classes"]
    return evaluate(label, probability, group, decision, classes, f1_over=over, group_name="record", pooled=pooled)


def level_rows(common: Row, found: dict[str, Any]) -> list[Row]:
    """The rows of windows and of recordings."""
    return [
        {**common, "level": level, **cells(found[part])}
        for level, part in (("window", "window"), ("recording", "group"))
    ]


def cells(level: dict[str, Any]) -> Row:
    """The cells of a level of metrics.json: the challenge's F1, macro F1 of all classes, F1 of each, AUROC.

    A class that is absent has no F1, and then there is none of all classes either.
    """
    row = {"n": str(level["n"])}
    complete = level["labels_in_mean"] == len(level["labels"])
    for name in ("challenge_f1", "auroc", "accuracy", *(["f1"] if complete else [])):
        row |= cells_of(name, level["metrics"][name])
    for name, found in level["labels"].items():
        row[f"n_{name}"] = str(found["positives"])
        row |= {} if found["metrics"] is None else cells_of(f"f1_{name}", found["metrics"]["f1"])
    return row


def left_out_of_pretraining() -> list[str]:
    """Recordings that the pretraining of ecg-fm-tiny was kept away from."""
    lines = PRETRAINING.read_text(encoding="utf-8").split()
    return [line.removesuffix(",left_out") for line in lines if line.endswith(",left_out")]


if __name__ == "__main__":
    main()
