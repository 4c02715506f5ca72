"""Step do: plan.toml -> trained candidates; a probe first, then methods by successive halving within the budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgtune.errors import DataError, EcgtuneError, RunError
from ecgtune.text import shown
from ecgtune.utils import formatting
from ecgtune.utils.files import write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.utils.stored import REMOVE, read_json
from ecgtune.workflows.auto.budget import Budget
from ecgtune.workflows.auto.plan_file import FOLDER, AutoPlan, begin
from ecgtune.workflows.auto.schemas import DoneFile
from ecgtune.workflows.auto.trainings import LATE, Trainings
from ecgtune.workflows.auto.trial import PROBE, name_of

RESULTS = "results.json"
#: Fraction of the first tenth of the time for the probes; the machine may be slower than it was measured.
_EARLY = 0.55
#: Fraction of the time for trainings that a larger probe may take, and of the budget that one of all windows may take.
_PROBE = 0.2
#: Fraction of the time that is left for the last training.
_LAST = 0.95
_SEEDS = 3  # of the best method, where time is left


def do(out: Path, plan: AutoPlan, budget: Budget, progress: ProgressBar, jobs: int = 1) -> dict[str, Any]:
    """Train the candidates of the plan within its budget, and write do/results.json.

    The probe of each encoder comes first; its answer is logged within the first tenth of the time. The better one is
    repeated on all windows where it had a part. Then all methods train on its encoder for the same time each, and each
    round keeps the better half by validation. The last but one keeps the best, or the two best where they are level
    (`Trainings.are_level`): their mean is then a candidate. The same folds serve all. Raises RunError where do/ was
    begun with another plan.
    """
    begin(out, plan)
    trainings = Trainings(out, plan, budget, progress, jobs)
    rungs: list[dict[str, Any]] = []
    trials = _probes(trainings, rungs)
    encoder = trainings.encoder = next(iter(rungs[0]["scores"]))
    trials += _larger_probe(trainings, trials, encoder)
    alive, failed = list(plan.training.methods), dict[str, str]()
    fractions = plan.budget.rounds
    for number, fraction in enumerate(fractions):
        last = number == len(fractions) - 1
        rounds = trainings.material.rounds if last else min(number + 1, trainings.material.rounds)
        if last:
            trainings.last, trainings.members = 0.0, len(alive)
        left = max(0.0, budget.left - trainings.reserve)
        seconds = fraction * min(plan.budget.seconds, left / sum(fractions[number:]))
        if last:
            seconds = trainings.last = _LAST * left / (1 + trainings.final_fraction)
        for name in alive:
            try:
                trainings.measured(name, encoder)
            except EcgtuneError as error:
                if name not in failed:
                    progress.note(f"{name} is left out: {error}")
                failed[name] = str(error)
        able = [name for name in alive if name not in failed]
        stage = f"round {number + 1} of {plan.budget.seconds:g} s, {{}} of {jobs} at a time"
        found = trainings.run(_round(trainings, stage, able, seconds, rounds))
        trials += found
        each = seconds / max(1, math.ceil(len(able) * rounds / jobs))
        rung = _rung([trial for trial in found if trial["method"] in alive], "method", rounds, each * rounds)
        ranked = list(rung["scores"])
        if ranked:
            rungs.append(rung)
        if ranked and trainings.new:
            progress.note(f"round {number + 1}: " + ", ".join(f"{name} {s:.4f}" for name, s in rung["scores"].items()))
        alive = ranked[: max(1, math.ceil(len(ranked) / 2))] or alive
        if number == len(fractions) - 2:
            alive = (ranked or alive)[: 2 if trainings.are_level(found, ranked[:2]) else 1]
    trials += _seeds(trainings, trials, alive, encoder)
    trials += trainings.finished()  # also those of a smaller budget
    trained = {trial["method"] for trial in trials if "score" in trial}
    missing = [method for method in plan.training.methods if method not in trained]
    failed |= {trial["method"]: trial["failed"] for trial in trials if "failed" in trial}
    results = {
        "encoder": encoder,
        "rungs": rungs,
        "training": trainings.training,
        "affordable": trainings.affordable,
        "whole": {name: trainings.whole(name, encoder) for name in sorted(trained)},
        "missing": {method: failed.get(method, "no time was left") for method in missing},
        "trials": list({_id(one): one for one in trials}.values()),
    }
    write_json(out / FOLDER / RESULTS, results)
    return results


def read_results(out: Path) -> dict[str, Any]:
    """Read do/results.json of a folder. Raises RunError, one line."""
    file = out / FOLDER / RESULTS
    results = read_json(file, DoneFile, REMOVE)
    trials = results["trials"]
    wrong = next((trial["name"] for trial in trials if trial["name"] != name_of(trial)), None)
    if wrong is not None:
        raise RunError(f"{file}: {shown(wrong)} is not the name of its training; {REMOVE}")
    first = [one for one in trials if (one["method"], one["encoder"], one["round"]) == (PROBE, results["encoder"], 0)]
    if not any("score" in one for one in first):
        raise RunError(f"{file} has no probe of {shown(results['encoder'])}; {REMOVE}")
    return results


def _probes(trainings: Trainings, rungs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The probe of each encoder in the first tenth of the time."""
    plan, trials, note = trainings.plan, [], trainings.progress.note
    encoders, rounds = plan.model.encoders, trainings.material.rounds
    first_tenth = plan.budget.probe * plan.budget.seconds
    for number, encoder in enumerate(encoders):
        left = max(first_tenth - trainings.budget.spent, 0.0 if number else 0.3 * first_tenth)
        seconds = _EARLY * left / (len(encoders) - number)
        stage = f"first probe of {encoder}"
        if left < 0.2 * first_tenth and not trainings.is_planned(stage):
            note(f"{encoder}: not probed, the first tenth of the time is spent")
            continue
        try:
            job = trainings.planned(stage, PROBE, encoder, seconds / rounds, rounds)
            if job["windows"] is not None and rounds > 1:  # one fold with more windows
                job = trainings.planned(f"{stage}, one fold", PROBE, encoder, seconds, 1)
        except EcgtuneError as error:
            note(f"{encoder} is left out: {error}")
            continue
        if trials and (job["windows"] or trainings.training) < trials[0]["train_windows"] / 2:
            note(f"{encoder}: not probed, it would see less than half of the windows of the first")
            continue
        found = trainings.run([{**job, "rounds": 1}])
        failed = [trial["failed"] for trial in found if "failed" in trial]
        if failed or not found:
            note(f"{encoder} is left out: {failed[0] if failed else 'no time was left'}")
            continue
        if trainings.new:
            answer = "another encoder" if trials else "first answer"
            fold = " on one fold" if rounds > 1 else ""
            note(
                f"{answer} after {formatting.duration(trainings.budget.spent)}: a linear probe of {encoder} reaches a "
                f"validation AUROC of {formatting.score(found[0]['score'])}{fold} with "
                f"{formatting.counted(found[0]['train_windows'], 'training window')}"
            )
        trials += found if job["rounds"] == 1 else trainings.run([job])
    rung = _rung(trials, "encoder", rounds, first_tenth)
    if not rung["scores"]:
        raise DataError(f"no encoder of {', '.join(encoders)} takes these windows; see the notes above")
    rungs.append(rung)
    return trials


def _larger_probe(trainings: Trainings, trials: list[dict[str, Any]], encoder: str) -> list[dict[str, Any]]:
    """The probe of the windows or folds for which the first tenth was too short.

    It costs one pass over the windows, where an epoch of another method costs several.
    """
    rounds = trainings.material.rounds
    probes = [trial for trial in trials if trial["method"] == PROBE and trial["encoder"] == encoder]
    whole = {trial["round"] for trial in probes if trial["windows"] is None and trial.get("ended") is False}
    if len(whole) == rounds:
        return []
    plan = trainings.plan
    others = sum(trainings.least(method, encoder) for method in plan.training.methods)
    turns = math.ceil((rounds - len(whole)) / trainings.jobs)
    needed = turns * (trainings.whole(PROBE, encoder) + trainings.overhead)
    left, whole_time = trainings.budget.left - trainings.reserve, plan.budget.seconds
    seconds = _PROBE * (left - others)
    # Also where a short budget has no time but for what follows.
    if needed <= max(plan.budget.probe * whole_time, min(_PROBE * whole_time, left)):
        seconds = max(seconds, needed)
    if seconds <= 0:
        return []
    if seconds < needed:  # of fewer windows, the folds that have all do not count
        turns = math.ceil(rounds / trainings.jobs)
    stage = f"larger probe of {plan.budget.seconds:g} s"
    return trainings.run([trainings.planned(stage, PROBE, encoder, seconds / turns, rounds)])


def _round(
    trainings: Trainings, stage: str, methods: Sequence[str], seconds: float, rounds: int
) -> Iterator[dict[str, Any]]:
    """The jobs of a round that takes `seconds`; each is planned when it can start, for its part of what is left."""
    assert trainings.encoder is not None
    end = trainings.budget.spent + seconds
    for number, name in enumerate(methods):
        turns = math.ceil((len(methods) - number) * rounds / trainings.jobs)
        each = max(0.0, end - trainings.budget.spent) / turns
        yield trainings.planned(stage.format(name), name, trainings.encoder, each, rounds)


def _seeds(trainings: Trainings, trials: list[dict[str, Any]], alive: list[str], encoder: str) -> list[dict[str, Any]]:
    """Further seeds of the best method, where the time of the rounds is not spent; folds are an ensemble already."""
    found: list[dict[str, Any]] = []
    if trainings.material.rounds > 1 or not alive:
        return found
    own = [trial for trial in trials if trial["method"] == alive[0] and "score" in trial]
    if not own:
        return found
    last = own[-1]
    for seed in range(1, _SEEDS):
        keys = ("method", "encoder", "windows", "validated", "epochs", "pieces")
        trainings.members += 1  # their mean may be chosen
        job = {key: last[key] for key in keys} | {"seed": seed, "rounds": 1, "seconds": last["spent"] * LATE}
        if not trainings.is_finished(job) and trainings.budget.left - trainings.reserve < last["spent"]:
            break
        found += trainings.run([job])
    return found


def _rung(trials: Sequence[dict[str, Any]], by: str, rounds: int, seconds: float) -> dict[str, Any]:
    """The scores of trials by "encoder" or "method", the best first."""
    scored = [_id(trial) for trial in trials if "score" in trial]
    rung = {"by": by, "trials": [list(each) for each in scored], "rounds": rounds, "seconds": seconds}
    return {**rung, "scores": rung_scores(rung, trials)}


def rung_scores(rung: Mapping[str, Any], trials: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Mean score over the rounds of each encoder or method of a rung, the best first."""
    values: dict[str, list[float]] = {}
    for trial in trials:
        if [*_id(trial)] in rung["trials"] and trial.get("score") is not None and not math.isnan(trial["score"]):
            values.setdefault(trial[rung["by"]], []).append(trial["score"])
    means = {name: float(np.mean(scores)) for name, scores in values.items()}
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def _id(trial: dict[str, Any]) -> tuple[str, int]:
    return trial["name"], trial["round"]
