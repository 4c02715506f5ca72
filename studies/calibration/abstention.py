"""Whether another score than the confidence abstains better: the error that a tenth without an answer removes.

    python studies/calibration/abstention.py --data ../shared/data

reads the runs that folds.py left in --out, trains none, and writes results/abstention.csv and the table of
docs/evaluation.md. Scores are compared on the validation windows of the folds: quantiles and the fitted score come from
the other half of the patients or recordings there; for test windows they come from all of validation.
Windows and copies that are predicted once are kept in --out/abstention. Without --data only the table is written.
"""

import argparse
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from certainty import runs_of
from folds import PAGE, RESULTS, SETTINGS, windows
from machines import command, described
from pages import markdown, replace_section
from rows import Row, read_rows, replace_rows

from ecgtune.data.dataset import Dataset
from ecgtune.data.positive import POSITIVE
from ecgtune.data.tasks import Task
from ecgtune.deployment.run import Run
from ecgtune.evaluation.coverage import RESAMPLES, wrong
from ecgtune.evaluation.external import Measured
from ecgtune.evaluation.intervals import percentile_interval, resampled_counts
from ecgtune.training.predictions import read_predictions
from ecgtune.training.run_folder import RunFolder
from ecgtune.utils.files import json_value, write_json
from ecgtune.workflows.environment import machine, now

COLUMNS = ("task", "score", "split", "reduction", "ci_low", "ci_high", "abstained", "error", "error_answered")
FACTS = RESULTS / "abstention.json"
ABSTAIN = 0.1
Array = np.ndarray
#: Changes of the copies of a window: seconds per second, and noise in standard deviations of the window.
COPIES = ((0.95, 0.0), (1.05, 0.0), (1.0, 0.05), (1.0, 0.1))
EXPECTED = "expected of exact probabilities"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the files of windows")
    parser.add_argument("--out", type=Path, default=Path("runs/calibration"))
    options = parser.parse_args()
    settings = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))
    for name, task in settings["tasks"].items() if options.data else ():
        dataset = windows(task, options.data, options.out)
        folds = [fold(run, dataset, options.out / "abstention") for run in runs_of(name, settings, options.out)]
        replace_rows(RESULTS / "abstention.csv", list(task_rows(name, folds)), COLUMNS, COLUMNS[:3])
        write_json(FACTS, {"command": command(), "date": now(), "machine": machine()})
    replace_section(PAGE, "abstention", table(settings))


def fold(run: Run, dataset: Dataset, folder: Path) -> dict[str, dict[str, Any]]:
    """What the scores need of validation and test of a fold: `{"val": {...}, "test": {...}}`."""
    found = {}
    for split in ("val", "test"):
        own = read_predictions(RunFolder(run.folder).predictions).of(split)
        file = folder / f"{run.folder.parts[-3]}-{run.folder.name}-{split}.npz"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            signal = np.array(dataset.signal[own.row], np.float32)
            copies = [np.asarray(run.predict(each, dataset.sampling_rate)) for each in copied(signal)]
            np.savez(file, novelty=run.assess(signal, dataset.sampling_rate)[1], copies=np.stack(copies))
        with np.load(file) as arrays:
            copies = arrays["copies"][..., POSITIVE] if run.task == "binary" else arrays["copies"]
            novelty = arrays["novelty"]
        group = np.arange(len(own.row)) if own.group is None else np.unique(own.group, return_inverse=True)[1]
        found[split] = {
            "task": run.task,
            "probability": own.probability,
            "sure": run.decision.confidence(own.probability),
            "wrong": wrong(Measured(own.label, own.probability, own.group), run.decision),
            "novelty": novelty,
            "copies": copies,
            "decision": run.decision,
            "group": group,
        }
    return found


def copied(signal: Array) -> Iterator[Array]:
    """Copies (windows, leads, samples) of windows: faster, slower, with noise."""
    samples, drawn = signal.shape[2], np.random.default_rng(0)
    time = np.arange(samples)
    for stretch, noise in COPIES:
        place = np.clip((time - samples / 2) * stretch + samples / 2, 0, samples - 1)
        left = np.minimum(place.astype(int), samples - 2)
        moved = signal[..., left] * (1 - (place - left)) + signal[..., left + 1] * (place - left)
        size = noise * signal.std(axis=2, keepdims=True)
        yield (moved + size * drawn.normal(size=signal.shape)).astype(np.float32)


def entropy(probability: Array, task: Task) -> Array:
    """Mean entropy of the classes or labels of each window."""
    sides = np.stack([1 - probability, probability], axis=-1) if task != "multiclass" else probability
    return -(sides * np.log(np.clip(sides, 1e-12, 1))).sum(axis=-1).reshape(len(probability), -1).mean(axis=1)


def right(side: Mapping[str, Any]) -> Array:
    """Probability that each label is decided right, (windows, labels)."""
    decided = side["decision"](side["probability"]) == 1
    return np.where(decided, side["probability"], 1 - side["probability"]).reshape(len(decided), -1)


def agreement(side: Mapping[str, Any]) -> Array:
    """Confidence in the run's decision by the mean of the copies."""
    mean = (side["probability"] + side["copies"].sum(axis=0)) / (1 + len(side["copies"]))
    decided = side["decision"](side["probability"]) == 1
    return np.where(decided, mean, 1 - mean).reshape(len(mean), -1).mean(axis=1)


def ranks(values: Array) -> Array:
    """Ranks from 0 to 1."""
    return np.argsort(np.argsort(values, kind="stable")) / len(values)


def features(side: Mapping[str, Any]) -> Array:
    """What the fitted score reads: confidence, the least sure label, novelty, spread and agreement of the copies."""
    columns = [side["sure"], right(side).min(axis=1), np.log(np.maximum(side["novelty"], 1e-6)),
               side["copies"].std(axis=0).reshape(len(side["sure"]), -1).mean(axis=1), agreement(side)]  # fmt: skip
    return np.stack([*columns, np.ones(len(columns[0]))], axis=1)


def fitted(side: Mapping[str, Any], other: Mapping[str, Any]) -> Array:
    """Minus the error that a ridge regression on `other` expects."""
    known, new = features(other), features(side)
    middle, spread = known[:, :-1].mean(axis=0), known[:, :-1].std(axis=0) + 1e-9
    known[:, :-1], new[:, :-1] = ((each[:, :-1] - middle) / spread for each in (known, new))
    penalty = np.diag([1.0] * (known.shape[1] - 1) + [0.0])
    return -(new @ np.linalg.solve(known.T @ known + penalty, known.T @ other["wrong"]))


#: Scores, higher where the run is surer; of a side, and another side on which a score may be fitted.
SCORES: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Array]] = {
    "confidence": lambda side, _: side["sure"],
    "entropy": lambda side, _: -entropy(side["probability"], side["task"]),
    "all labels right": lambda side, _: np.log(right(side)).sum(axis=1),
    "least sure label": lambda side, _: right(side).min(axis=1),
    "four copies": lambda side, _: agreement(side),
    "novelty": lambda side, _: -side["novelty"],
    "confidence and novelty": lambda side, _: ranks(side["sure"]) + 0.25 * ranks(-side["novelty"]),
    "fitted to errors": fitted,
}


def task_rows(name: str, folds: list[dict[str, dict[str, Any]]]) -> Iterator[Row]:
    """Error removed on validation (halves) and on test, by score."""
    for score, make in SCORES.items():
        for split in ("val", "test"):
            parts = []
            for number, found in enumerate(folds):
                pairs = halves(found["val"], number) if split == "val" else [(found["test"], found["val"])]
                parts += [answered(make, new, known) for new, known in pairs]
            yield summary(name, score, split, parts)
    expected = [(1 - side["sure"], answered(SCORES["confidence"], side, found["val"])[1], side["group"])
                for found in folds for side in (found["test"],)]  # fmt: skip
    yield summary(name, EXPECTED, "test", expected)


def halves(side: Mapping[str, Any], seed: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Both halves of the patients or recordings of a side, each with the other."""
    first = np.random.default_rng(seed).permutation(side["group"].max() + 1)[side["group"]] % 2 == 0
    parts = [
        {
            key: value[:, rows] if key == "copies" else value[rows] if isinstance(value, np.ndarray) else value
            for key, value in side.items()
        }
        for rows in (first, ~first)
    ]
    return [(parts[0], parts[1]), (parts[1], parts[0])]


def answered(make: Callable[..., Array], new: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[Array, ...]:
    """Error, answer or not, and group of each window of `new`, by the quantile of the score on `known`."""
    least = np.quantile(make(known, known), ABSTAIN)
    return new["wrong"], make(new, known) >= least, new["group"]


def summary(task: str, score: str, split: str, parts: list[tuple[Array, ...]]) -> Row:
    """A row of all folds, with an interval over patients or recordings."""
    lost, kept = (np.concatenate([part[place].astype(float) for part in parts]) for place in (0, 1))
    names = np.concatenate([part[2] + 100_000 * number for number, part in enumerate(parts)])
    index = np.unique(names, return_inverse=True)[1]
    sums = [np.bincount(index, weights=each) for each in (lost * kept, kept, lost, np.ones(len(lost)))]
    draws = np.concatenate(list(resampled_counts(len(sums[0]), len(sums[0]), RESAMPLES, seed=0)))
    drawn = 1 - (draws @ sums[0]) / (draws @ sums[1]) / ((draws @ sums[2]) / (draws @ sums[3]))
    low, high = percentile_interval(drawn, 0.95)
    error, rest = lost.mean(), sums[0].sum() / sums[1].sum()
    numbers = {"reduction": 1 - rest / error, "ci_low": low, "ci_high": high, "abstained": 1 - kept.mean(),
               "error": error, "error_answered": rest}  # fmt: skip
    return {"task": task, "score": score, "split": split, **{key: f"{value:.4f}" for key, value in numbers.items()}}


def table(settings: dict[str, Any]) -> str:
    """Markdown: error removed by each score, on validation and test, per task."""
    rows = {(each["task"], each["score"], each["split"]): each for each in read_rows(RESULTS / "abstention.csv")}
    if not rows:
        return "Not measured.\n"
    lines = [
        (score, *(percent(rows.get((task, score, split))) for task in settings["tasks"] for split in ("val", "test")))
        for score in (*SCORES, EXPECTED)
    ]
    titles = [f"{task['title']}, {split}" for task in settings["tasks"].values() for split in ("validation", "test")]
    return "\n".join([markdown(("error removed, by score", *titles), lines), f"{described(json_value(FACTS))}.\n"])


def percent(row: Row | None) -> str:
    if row is None:
        return ""
    value, low, high = (100 * float(row[key]) for key in ("reduction", "ci_low", "ci_high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
