"""Prediction sets, abstention and novelty of the linear probes of folds.py, and the stress test of one of them.

    python studies/calibration/certainty.py --data ../shared/data

reads the runs that folds.py left in --out, trains none, and writes results/certainty.csv, results/novelty.csv,
results/stress.csv with figure and table, results/certainty.json and the tables of docs/evaluation.md. Thresholds are
those of the runs, fitted on the validation windows of each fold. --parts selects; without --data only the tables are
written.
"""

import argparse
import ast
import csv
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from folds import PAGE, RESULTS, SETTINGS, windows
from machines import command, described
from pages import markdown, replace_section
from rows import Row, read_rows, replace_rows

import ecgtune
from ecgtune.data.outliers import OUTLIERS, outliers
from ecgtune.data.signal.filters import resample
from ecgtune.deployment.run import Run
from ecgtune.evaluation.coverage import RESAMPLES, wrong
from ecgtune.evaluation.external import Measured
from ecgtune.evaluation.groups import group_index
from ecgtune.evaluation.intervals import percentile_interval, resampled_counts
from ecgtune.evaluation.metrics import auroc
from ecgtune.training.predictions import read_predictions
from ecgtune.training.run_folder import RunFolder, read_split
from ecgtune.utils.files import json_value, write_json, write_text
from ecgtune.workflows.environment import machine, now

COLUMNS = ("task", "unit", "measure", "value", "ci_low", "ci_high", "groups")
NOVELTY_COLUMNS = ("task", "kind", "origin", "auroc", "lowest", "windows")
#: Prediction sets of both kinds, and labels (of two classes the positive one) of which their coverage is measured.
KINDS, SIDES = ("sets", "sets by class"), ("absent", "present")
ABSTAIN, TESTED, MADE = 0.1, 150, 40
#: neurokit2's simulators, which had no part in the choice of the score.
SIMULATED = ("ppg", "emg", "rsp", "eda")
FACTS = RESULTS / "certainty.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the files of windows")
    parser.add_argument("--out", type=Path, default=Path("runs/calibration"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    settings = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))
    for part in options.parts if options.data else ():
        found = PARTS[part](settings, options.data, options.out)
        facts = {"command": command(), "date": now(), "machine": machine()}
        stored = json_value(FACTS) if FACTS.is_file() else {}
        write_json(FACTS, stored | {part: facts | found})
    replace_section(PAGE, "certainty", table(settings))


def runs_of(name: str, settings: dict[str, Any], out: Path) -> list[Run]:
    """The runs of the folds of a task."""
    place = out / name / "cross-entropy"
    return [ecgtune.load_run(place / f"fold-{number}") for number in range(1, settings["folds"] + 1)]


def certainty(settings: dict[str, Any], folder: Path, out: Path) -> dict[str, Any]:
    """Write the rows of coverage and abstention."""
    for name in settings["tasks"]:
        rows = list(task_rows(name, runs_of(name, settings, out)))
        replace_rows(RESULTS / "certainty.csv", rows, COLUMNS, COLUMNS[:3])
    return {}


def novelty(settings: dict[str, Any], folder: Path, out: Path) -> dict[str, Any]:
    """Write the rows of novelty."""
    for name, task in settings["tasks"].items():
        dataset, others = windows(task, folder, out), other_leads(task, folder)
        found = [novelty_of(run, dataset, others) for run in runs_of(name, settings, out)]
        replace_rows(RESULTS / "novelty.csv", list(novelty_rows(name, found)), NOVELTY_COLUMNS, NOVELTY_COLUMNS[:3])
    return {}


def task_rows(name: str, runs: list[Run]) -> Iterator[Row]:
    """Coverage, and error with and without abstention, of the test windows and recordings of all folds."""
    for unit in ("window", "recording"):
        covered, error, answered, group, found, classes = [], [], [], [], {}, []
        for run in runs:
            test = read_predictions(RunFolder(run.folder).predictions).of("test")
            data = Measured(test.label, test.probability, test.group)
            thresholds = getattr(run.certainty, unit)
            whole = data if unit == "window" else data.per_recording(None, run.recording_rule)
            if thresholds is None or isinstance(whole, str):
                return  # recordings of a patient have other labels; a window of PTB-XL is a whole recording
            data = whole
            label = np.asarray(data.label).reshape(len(data.label), -1)
            classes.append(label)
            for by_class in (False, True):
                sets = thresholds.sets(data.probability, run.task, by_class=by_class)
                sides = sets if run.task == "multilabel" else sets[:, None]
                there = np.take_along_axis(sides, label[..., None], axis=-1)[..., 0]
                found.setdefault(by_class, []).append((there, sides.sum(axis=-1)))
            covered.append(found[False][-1][0].mean(axis=1))
            error.append(wrong(data, run.decision))
            answered.append(run.decision.confidence(data.probability) >= thresholds.least_confidence(ABSTAIN))
            group.append(np.arange(len(label)).astype(str) if data.group is None else data.group)
        numbers = np.repeat(np.arange(len(runs)), [len(each) for each in group])
        names = np.array([f"{number}/{each}" for number, each in zip(numbers, np.concatenate(group), strict=True)])
        index = group_index(names, len(names))[1]
        size = np.bincount(index)
        rate = np.bincount(index, weights=np.concatenate(covered)) / size
        kept, lost = np.concatenate(answered).astype(float), np.concatenate(error)
        sums = [np.bincount(index, weights=each) for each in (lost * kept, kept, lost, np.ones(len(lost)))]
        draws = np.concatenate(list(resampled_counts(len(rate), len(rate), RESAMPLES, seed=0)))
        yield row(name, unit, "coverage", rate.mean(), draws @ rate / len(rate), len(rate))
        label = np.concatenate(classes)
        for by_class, sides in found.items():
            kind = KINDS[by_class]
            hits, sizes = (np.concatenate(each).astype(float) for each in zip(*sides, strict=True))
            for value, of in enumerate(SIDES):
                own = [
                    np.bincount(index, weights=each.sum(axis=1)) for each in (hits * (label == value), label == value)
                ]
                yield row(name, unit, f"{kind}, {of}", own[0].sum() / own[1].sum(), (draws @ own[0]) / (draws @ own[1]),
                          len(rate))  # fmt: skip
            mean = np.bincount(index, weights=sizes.mean(axis=1))
            yield row(name, unit, f"{kind}, size", mean.sum() / size.sum(), (draws @ mean) / (draws @ size), len(rate))
        yield row(name, unit, "abstained", 1 - kept.mean(), 1 - (draws @ sums[1]) / (draws @ sums[3]), len(rate))
        yield row(name, unit, "error", lost.mean(), (draws @ sums[2]) / (draws @ sums[3]), len(rate))
        yield row(name, unit, "error_answered", sums[0].sum() / sums[1].sum(), (draws @ sums[0]) / (draws @ sums[1]),
                  len(rate))  # fmt: skip
        reduction = 1 - (draws @ sums[0]) / (draws @ sums[1]) / ((draws @ sums[2]) / (draws @ sums[3]))
        value = 1 - (sums[0].sum() / sums[1].sum()) / lost.mean()
        yield row(name, unit, "reduction", value, reduction, len(rate))


def row(task: str, unit: str, measure: str, value: float, draws: np.ndarray, groups: int) -> Row:
    low, high = percentile_interval(draws, 0.95)
    numbers = {"value": value, "ci_low": low, "ci_high": high}
    return {
        "task": task, "unit": unit, "measure": measure, "groups": str(groups),
        **{name: f"{number:.4f}" for name, number in numbers.items()},
    }  # fmt: skip


def other_leads(task: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """Leads of the recordings that the run was not trained on, (recordings, samples) in mV, where there are any."""
    if "table" not in task:
        return {}
    with np.load(folder / task["file"]) as arrays:
        names = arrays["leads"].tolist()
        return {lead: arrays["X"][:, names.index(lead)].astype(np.float32) / 1000 for lead in ("I", "aVR", "V1", "V5")}


def novelty_of(run: Run, dataset: ecgtune.Dataset, others: dict[str, np.ndarray]) -> dict[tuple[str, str], float]:
    """AUROC of the novelty, test windows against windows of each kind, by kind and origin."""
    drawn = np.random.default_rng(1)
    rows = np.sort(drawn.permutation(read_split(RunFolder(run.folder))["test"])[:TESTED])
    signal, rate = np.array(dataset.signal[rows]), dataset.sampling_rate
    usual, few = scored(run, signal, rate), signal[:MADE]
    made = {(kind, "generated"): outliers(kind, few, rate, np.random.default_rng(100)) for kind in OUTLIERS}
    made |= {(kind, "neurokit2"): simulated(kind, few, rate) for kind in SIMULATED}
    for lead, each in others.items():
        made[f"lead {lead}", "recorded"] = each[drawn.permutation(len(each))[:MADE], None]
    label = np.repeat([0, 1], [len(usual), MADE])
    return {
        key: auroc(label[: len(usual) + len(each)], bounded(np.concatenate([usual, scored(run, each, rate)])))
        for key, each in made.items()
    }


def scored(run: Run, signal: np.ndarray, rate: float) -> np.ndarray:
    """Novelty of windows."""
    found = run.assess(signal, rate)[1]
    if found is None:
        raise SystemExit(f"{run.folder} has no novelty.npz; train it again with folds.py")
    return found


def bounded(score: np.ndarray) -> np.ndarray:
    """Scores as numbers up to 1, in the same order."""
    return score / (1 + score)


def simulated(kind: str, like: np.ndarray, rate: float) -> np.ndarray:
    """Windows of another signal by neurokit2, with mean and standard deviation of the windows `like`."""
    import neurokit2

    samples, made = like.shape[-1], []
    for seed in range(len(like)):
        seconds = int(np.ceil(samples / rate)) + 4
        options: dict[str, Any] = {"duration": seconds, "sampling_rate": 500, "random_state": seed}
        options |= {"ppg": {"heart_rate": 55 + seed % 50}, "rsp": {"respiratory_rate": 12 + seed % 10}}.get(kind, {})
        wave = np.asarray(getattr(neurokit2, f"{kind}_simulate")(**options), float)
        made.append(resample(wave[None], 500, rate)[:, -samples:])
    found = np.stack(made)
    level = (found - found.mean(-1, keepdims=True)) / np.maximum(found.std(-1, keepdims=True), 1e-12)
    return (level * like.std(-1, keepdims=True) + like.mean(-1, keepdims=True)).astype(np.float32)


def novelty_rows(name: str, found: list[dict[tuple[str, str], float]]) -> Iterator[Row]:
    """Mean and lowest AUROC over the folds, of each kind."""
    for kind, origin in found[0]:
        values = [each[kind, origin] for each in found]
        yield {
            "task": name, "kind": kind, "origin": origin, "auroc": f"{np.mean(values):.4f}",
            "lowest": f"{min(values):.4f}", "windows": str(MADE),
        }  # fmt: skip


def external(settings: dict[str, Any], folder: Path, out: Path) -> dict[str, Any]:
    """The probe of fold 1 of CinC 2017 on lead II of PTB-XL, windows of 6 s: sinus rhythm against any other rhythm."""
    with (folder / "ptbxl500_meta.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    rhythms = {"AFIB", "AFLT", "STACH", "SBRAD", "SARRH", "SVARR", "SVTAC", "PSVT", "PACE", "BIGU", "TRIGU"}
    codes = [set(ast.literal_eval(row["scp_codes"])) for row in rows]
    other = np.array([bool(each & rhythms) for each in codes])
    known = other | np.array(["SR" in each for each in codes])
    with np.load(folder / "ptbxl500_500hz.npz") as arrays:
        signal = arrays["X"][:, arrays["leads"].tolist().index("II"), :3000].astype(np.float32) / 1000
    patient = np.array([row["patient_id"].removesuffix(".0") for row in rows])
    made = out / "ptbxl-rhythms.npz"
    label = np.where(other, 1, 0)
    arrays = {"signal": signal, "label": label, "patient": patient}
    np.savez(made, sampling_rate=500, unit="mV", lead="II", **{name: each[known] for name, each in arrays.items()})
    place = out / "cinc2017" / "cross-entropy" / "fold-1"
    found = ecgtune.evaluate(place, ecgtune.read_dataset(made), out=out / "external")
    sides = found["certainty"]
    return {
        "windows": int(known.sum()),
        "other_rhythm": int(label[known].sum()),
        **{side: sides[side]["recording"] or sides[side]["window"] for side in ("internal", "external")},
    }


def stressed(settings: dict[str, Any], folder: Path, out: Path) -> dict[str, Any]:
    """The stress test of the probe of fold 1 of CinC 2017 on 200 of its test windows: rows, figure and table."""
    dataset = windows(settings["tasks"]["cinc2017"], folder, out)
    place = out / "cinc2017" / "cross-entropy" / "fold-1"
    ecgtune.stress(place, dataset, ecgtune.StressSettings(windows=200), out=out / "stress")
    for name in ("stress.csv", "stress.svg", "stress.md"):
        write_text(RESULTS / name, (out / "stress" / name).read_text(encoding="utf-8"))
    return {}


PARTS = {"certainty": certainty, "external": external, "stress": stressed, "novelty": novelty}


def table(settings: dict[str, Any]) -> str:
    """Markdown: coverage and errors per task and unit, coverage on other data, AUROC of the novelty by kind."""
    rows, lines = read_rows(RESULTS / "certainty.csv"), []
    if not rows:
        return "Not measured.\n"
    for name, task in settings["tasks"].items():
        for unit in ("window", "recording"):
            own = {each["measure"]: each for each in rows if (each["task"], each["unit"]) == (name, unit)}
            if not own:
                continue
            cells = [percent(own[key]) for key in ("coverage", "abstained", "error", "error_answered", "reduction")]
            lines.append((task["title"], unit, "90 %", *cells))
    header = (
        *("task", "per", "coverage promised", "found", "abstained (10 % asked)", "error of all", "error of answers"),
        "error removed",
    )
    by_class = [
        (settings["tasks"][task]["title"], unit, *(percent(own[f"{kind}, {of}"]) for kind in KINDS for of in SIDES),
         *(f"{float(own[f'{kind}, size']['value']):.2f}" for kind in KINDS))
        for task, unit in dict.fromkeys((each["task"], each["unit"]) for each in rows)
        if f"{KINDS[1]}, size" in (own := {
            each["measure"]: each for each in rows if (each["task"], each["unit"]) == (task, unit)
        })
    ]  # fmt: skip
    facts = json_value(FACTS)
    sides = facts["external"]
    moved = [
        (of, "90 %", *(percent({key: str(value) for key, value in sides[side]["coverage"]["found"].items()}),),
         "breaks" if sides[side]["coverage"]["broken"] else "holds")
        for side, of in (("internal", "CinC 2017, test recordings of fold 1"), ("external", "PTB-XL, lead II, 6 s"))
    ]  # fmt: skip
    scored_rows = read_rows(RESULTS / "novelty.csv")
    kinds = list(dict.fromkeys((each["kind"], each["origin"]) for each in scored_rows))
    found = {(each["task"], each["kind"], each["origin"]): each for each in scored_rows}
    scores = [
        (
            kind, origin,
            *(
                f"{float(found[name, kind, origin]['auroc']):.3f} ({float(found[name, kind, origin]['lowest']):.3f})"
                if (name, kind, origin) in found else ""
                for name in settings["tasks"]
            ),
        )
        for kind, origin in kinds
    ]  # fmt: skip
    titles = [f"{task['title']}, AUROC (lowest fold)" for task in settings["tasks"].values()]
    return "\n".join(
        [
            markdown(header, lines),
            markdown(
                (
                    *("task", "per", "covered where absent", "where present"),
                    *("by class: where absent", "where present", "classes in a set", "by class"),
                ),
                by_class,
            ),
            markdown(("one probe of CinC 2017 on", "coverage promised", "found", "promise"), moved),
            markdown(("windows that are no usual ECG", "origin", *titles), scores),
            f"{described(facts['certainty'])}.\n",
        ]
    )


def percent(entry: dict[str, str]) -> str:
    value, low, high = (100 * float(entry[key]) for key in ("value", "ci_low", "ci_high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
