"""Step choose: validation predictions -> choice.json; then the test split, once -> model/ and test.json."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecgtune.errors import RunError
from ecgtune.evaluation.decision import Decision, mean_decision
from ecgtune.evaluation.evaluate import Grouping, evaluate
from ecgtune.evaluation.intervals import percentile_interval
from ecgtune.training.predictions import read_predictions
from ecgtune.training.run_folder import RunFolder
from ecgtune.utils import formatting
from ecgtune.utils.files import replace_folder, write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.utils.stored import REMOVE, read_json
from ecgtune.workflows.auto.budget import Budget, Deadline
from ecgtune.workflows.auto.do import read_results
from ecgtune.workflows.auto.material import Material
from ecgtune.workflows.auto.plan_file import CHOICE, FOLDER, SCRATCH, AutoPlan, read_choice
from ecgtune.workflows.auto.schemas import Tested
from ecgtune.workflows.auto.trial import (
    FINAL,
    JOB,
    PROBE,
    RESULT,
    RUN,
    limited_threads,
    material_of,
    read_job,
    read_validation,
    ready_run,
)
from ecgtune.workflows.auto.validation import FEWEST_GROUPS, METRIC, Validation, difference_of, validation_of
from ecgtune.workflows.run import run_recipe

MODEL, TESTED = "model", "test.json"
LEVEL = 0.95  # of the intervals of candidates
_LEAST_FINAL = 30.0  # seconds that a last training after folds may take at least


@dataclass(frozen=True, eq=False)
class Candidate:
    """A trained candidate: its result of step do, and its predictions of the validation windows.

    copies: one array (windows, ...) of one split; of folds two, because each window is validated by two trainings.
    """

    name: str
    result: dict[str, Any]
    folders: tuple[str, ...]
    copies: tuple[NDArray[np.float64], ...]


def choose(out: Path, plan: AutoPlan, budget: Budget, progress: ProgressBar) -> dict[str, Any]:
    """Choose by the validation predictions, write choice.json, then evaluate the choice on the test split once."""
    progress.describe("choose")
    material = material_of(out, plan)
    if not (out / CHOICE).is_file():
        candidates = read_candidates(out, material)
        most = read_results(out).get("affordable", math.inf)
        choice = chosen(candidates, validation_of(material, candidates[0][1]), most)
        write_json(out / CHOICE, {"budget": plan.budget.seconds, **choice})
        progress.note(choice["reason"])
    choice = read_choice(out)
    for state in (out / FOLDER).glob(f"*/*/{RUN}/last"):  # nothing but what was chosen goes on
        if state.parent.parent.relative_to(out).as_posix() not in choice["runs"]:
            shutil.rmtree(state, ignore_errors=True)
    budget.tick(now=True)
    if not (out / TESTED).is_file():
        _test(out, plan, choice, material, budget, progress)
    return choice


def read_candidates(out: Path, material: Material) -> list[tuple[Candidate, NDArray[np.int64]]]:
    """The candidates that validate what the probe does, which is all development windows where there was time.

    With the rows of these windows. Of a candidate with more rounds, those of the probe count.
    """
    results = read_results(out)
    by_name: dict[str, list[dict[str, Any]]] = {}
    for trial in results["trials"]:
        if "score" in trial:
            by_name.setdefault(trial["name"], []).append(trial)
    if not by_name:
        raise RunError(f"{out / FOLDER} has no finished candidate; give a larger --budget")
    probes = [trials for trials in by_name.values() if trials[0]["method"] == PROBE]
    wanted = max(({one["round"] for one in trials} for trials in probes or by_name.values()), key=len)
    found = []
    for name, trials in by_name.items():
        if not {one["round"] for one in trials} >= wanted:
            continue
        folders = [f"{FOLDER}/{name}/round-{number}" for number in sorted(wanted)]
        rows, copies = _copies([read_validation(out / folder, material.dataset) for folder in folders])
        found.append((Candidate(name, trials[0], tuple(folders), copies), rows))
    return found


def _copies(
    stored: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]],
) -> tuple[NDArray[np.int64], tuple[NDArray[np.float64], ...]]:
    """Rows that are validated, sorted, and their first and, of folds, second prediction."""
    if len(stored) == 1:
        return stored[0][0], (stored[0][1],)
    rows = np.unique(np.concatenate([row for row, _ in stored]))
    shape = (2, len(rows), *stored[0][1].shape[1:])
    copies, seen = np.full(shape, np.nan), np.zeros(len(rows), dtype=int)
    for row, probability in stored:
        at = np.searchsorted(rows, row)
        copies[seen[at], at] = probability
        seen[at] += 1
    if np.isnan(copies).any():  # not all rounds were trained: what there is of each window
        return rows, (np.nanmean(copies, axis=0),)
    return rows, tuple(copies)


def chosen(
    candidates: Sequence[tuple[Candidate, NDArray[np.int64]]], validation: Validation, most: float = math.inf
) -> dict[str, Any]:
    """The content of choice.json: a probe unless another method, or the mean of two, is shown to be better.

    The mean of two methods of which neither is shown to be better comes before the better one where it is ahead of
    both. Another mean is used where it is shown to be better than its best member. A mean is of `most` trainings at
    most: for the test and the files of more there is no time.
    """
    everyone = [one for one, _ in candidates]
    draws = {one.name: validation.draws(one.copies) for one in everyone}
    ranked = sorted(everyone, key=lambda one: (-draws[one.name][0], one.result["trainable"]))
    probes = [one for one in ranked if one.result["method"] == PROBE]
    others = [one for one in ranked if one.result["method"] != PROBE]
    taken, difference, both = ranked[0], None, None
    reason = f"{_title(ranked[0])} is the only kind of candidate that was trained to the end"
    if others:
        both = _level_mean(others, draws, validation) if most > 1 else None
    if probes and others:
        best, probe = others[0], probes[0]
        tried: list[tuple[str, dict[str, float], Mean | None]]
        tried = [(_title(best), difference_of(draws[best.name], draws[probe.name]), None)]
        if both:
            title = f"the mean of {' and '.join(map(_title, both.group))}"
            tried.insert(0, (title, difference_of(both.draws, draws[probe.name]), both))
        title, difference, both = next((each for each in tried if validation.shows(each[1])), (*tried[0][:2], None))
        reason = _reason(title, difference, validation)
        taken = best if validation.shows(difference) else probe
    means = _means(taken, ranked, draws, validation)
    usable = (one for one in means if one.shown and one.trainings <= most)
    mean = both or next(usable, next((one for one in means if one.shown), next(iter(means), None)))
    used = mean is not None and (mean is both or (mean.shown and mean.trainings <= most))
    members = mean.group if mean and used else [taken]
    return {
        "metric": METRIC,
        "validated": len(validation.label),
        "groups": validation.groups,
        "candidates": [_row(one, draws[one.name]) for one in ranked],
        "chosen": taken.name,
        "difference": difference,
        "reason": reason,
        "ensemble": mean and mean.to_dict() | {"helps": used},
        "members": [one.name for one in members],
        "runs": _runs(members, averaged=used),
    }


def _reason(best: str, difference: dict[str, float], validation: Validation) -> str:
    """A clause on the choice between the probe and the best other candidate, or mean."""
    text = f"{formatting.signed(difference['value'])}, 80 % interval {formatting.signed_interval(difference)}"
    if validation.shows(difference):
        return f"{best} is shown to be better than the probe on validation (AUROC {text})"
    if difference["value"] == difference["ci_low"] == difference["ci_high"] == 0:
        return f"{best} ranks the validation windows as the probe does"
    if validation.groups < FEWEST_GROUPS:
        few = formatting.counted(validation.groups, validation.unit)
        return f"{few} for validation cannot show a difference to the probe (best other: {best}, {text})"
    return f"no other method is shown to be better than the probe on validation (best: {best}, {text})"


def _runs(members: Sequence[Candidate], *, averaged: bool) -> list[str]:
    """Folders of the trainings that are tested; of folds without an ensemble one more is trained, on more windows."""
    if len(members[0].folders) == 1 or averaged:
        return [folder for one in members for folder in one.folders]
    return [f"{FOLDER}/{members[0].name}/{FINAL}"]


@dataclass(frozen=True, eq=False)
class Mean:
    """The mean of the candidates of a group, or of the folds of one.

    difference: to the first of the group, which is the best. shown: whether that is shown to be above 0.
    """

    of: str
    group: list[Candidate]
    draws: NDArray[np.float64]
    difference: dict[str, float]
    shown: bool

    @property
    def trainings(self) -> int:
        return sum(len(one.folders) for one in self.group)

    def to_dict(self) -> dict[str, Any]:
        members = [one.name for one in self.group]
        return {"of": self.of, "members": members, "difference": self.difference, "shown": self.shown}


def _level_mean(others: Sequence[Candidate], draws: Mapping[str, NDArray], validation: Validation) -> Mean | None:
    """The best mean of the best method with another one where neither is shown to be better, if it is ahead of both."""
    best = others[0]
    for mean in _means(best, others, draws, validation):
        level = mean.of == "methods" and len(mean.group) == 2
        if level and mean.difference["value"] > 0 and validation.level(*(draws[one.name] for one in mean.group)):
            return mean
    return None


def _means(
    taken: Candidate, ranked: Sequence[Candidate], draws: Mapping[str, NDArray], validation: Validation
) -> list[Mean]:
    """The means of the folds of a candidate, else with its other seeds or another method, the best first.

    A small network from scratch has no other partner: an encoder's preset and its windows do not go into one file.
    """
    if len(taken.copies) > 1:
        groups = [("folds", [taken])]
    else:
        same = [one for one in ranked if _kind(one) == _kind(taken)]
        groups = [("seeds", same)] if len(same) > 1 else []
        alone = {taken.result["method"], SCRATCH}
        others = {one.result["method"]: one for one in reversed(ranked) if one.result["method"] not in alone}
        others = {} if taken.result["method"] == SCRATCH else others
        groups += [("methods", [taken, one]) for one in others.values()]
        seeds = ([each for each in ranked if _kind(each) == _kind(one)] for one in others.values())
        groups += [("methods", [taken, *same]) for same in seeds if len(same) > 1]
    found = []
    for of, group in groups:
        copies = taken.copies if of == "folds" else [one.copies[0] for one in group]
        mean = validation.draws([np.mean(copies, axis=0)])
        difference = difference_of(mean, draws[taken.name])
        found.append(Mean(of, group, mean, difference, validation.shows(difference)))
    return sorted(found, key=lambda one: -one.draws[0])


def _kind(one: Candidate) -> tuple[Any, ...]:
    """All of a candidate but its seed."""
    return tuple(one.result[key] for key in ("method", "encoder", "windows", "epochs"))


def _row(one: Candidate, draws: NDArray[np.float64]) -> dict[str, Any]:
    low, high = percentile_interval(draws[1:], LEVEL)
    keys = ("method", "encoder", "windows", "epochs", "seed", "train_windows", "trainable", "trainable_fraction")
    return {
        "name": one.name,
        "title": _title(one),
        **{key: one.result[key] for key in keys},
        "seconds": one.result["spent"] * len(one.folders),
        "ended": one.result["ended"],
        "score": float(draws[0]),
        "ci_low": low,
        "ci_high": high,
    }


def _title(one: Candidate) -> str:
    windows = formatting.counted(one.result["train_windows"], "window")
    return f"{one.result['method']} ({windows}, {epochs_text(one.result)})"


def epochs_text(trial: Mapping[str, Any]) -> str:
    """How long a training was: `20 epochs`, or `1 of 20 epochs, ended by time`; the last one may not be whole."""
    part = trial["ended"] or trial["trained_epochs"] < trial["epochs"]
    of = f"{trial['trained_epochs']} of " if part else ""
    return f"{of}{formatting.counted(trial['epochs'], 'epoch')}{', ended by time' if trial['ended'] else ''}"


def _test(
    out: Path, plan: AutoPlan, choice: dict[str, Any], material: Material, budget: Budget, progress: ProgressBar
) -> None:
    """Evaluate the chosen trainings on the test split: model/, or model-1, model-2, ..., and test.json."""
    progress.describe("choose: test")
    runs = choice["runs"]
    places = [out / MODEL] if len(runs) == 1 else [out / f"{MODEL}-{number}" for number in range(1, len(runs) + 1)]
    for folder, place in zip(runs, places, strict=True):
        job_file = out / folder / JOB
        if not job_file.is_file():  # the last training after folds
            first = read_job(out / Path(folder).parent / "round-0")
            write_json(job_file, {**first, "round": -1})
        job = read_job(out / folder)
        if (out / folder / RUN).is_dir() and not place.is_dir():
            replace_folder(place, lambda partial, source=out / folder / RUN: _copy(source, partial))
        run = ready_run(out, plan, job, place)
        trained = (out / folder / RESULT).is_file()
        if trained:
            limit = Deadline(0.0)
        else:
            spent = next(row["seconds"] for row in choice["candidates"] if row["name"] == job["name"])
            repeated = job.get("seconds", 0.0) is None
            most = max(_LEAST_FINAL, 2 * spent / material.rounds)
            limit = Deadline(math.inf if repeated else most, job.get("steps"))
        with limited_threads(job.get("threads")):
            run_recipe(run, ProgressBar(shown=False), [limit, budget])
            if limit.ended and not trained:
                write_json(job_file, {**job, "steps": limit.steps, "threads": torch.get_num_threads()})
        budget.tick(now=True)
    write_json(out / TESTED, tested(places, material))


def read_tested(out: Path) -> dict[str, Any]:
    """Read test.json of a folder. Raises RunError, one line."""
    return read_json(out / TESTED, Tested, REMOVE)


def _copy(source: Path, partial: Path) -> None:
    shutil.copytree(source, partial, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock", ".owner.json"))


def tested(places: Iterable[Path], material: Material) -> dict[str, Any]:
    """The metrics of the test split: of a run those of its metrics.json, of several those of their mean."""
    folders = list(places)
    names = [folder.name for folder in folders]
    metrics = [RunFolder(folder).read_metrics() for folder in folders]
    if len(folders) == 1:
        return {"runs": names, **{key: metrics[0][key] for key in ("window", "group", "threshold")}}
    predictions = [
        read_predictions(RunFolder(folder).predictions, own).of("test")
        for folder, own in zip(folders, metrics, strict=True)
    ]
    decision = mean_decision([Decision.from_dict(one["threshold"]) for one in metrics])
    first, dataset = predictions[0], material.dataset
    probability = np.mean([one.probability for one in predictions], axis=0)
    grouping = Grouping(first.group, dataset.group_name or "record", first.recording)
    found = evaluate(first.label, probability, grouping, decision, dataset.classes)
    return {"runs": names, **found, "threshold": decision.to_dict(dataset.classes)}
