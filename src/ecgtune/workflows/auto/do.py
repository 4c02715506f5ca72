"""Step do: plan.toml -> trained candidates; a probe first, then methods by successive halving within the budget."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecgtune.errors import DataError, EcgtuneError, RunError
from ecgtune.recipes.comparison import short_name
from ecgtune.utils import formatting
from ecgtune.utils.child import end_with_parent
from ecgtune.utils.files import read_json, write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.auto.budget import Budget
from ecgtune.workflows.auto.plan_file import FOLDER, SCRATCH, AutoPlan, begin
from ecgtune.workflows.auto.trial import JOB, PROBE, RESULT, material_of, run_trial, seconds_per_window

RESULTS, MEASURED, PLANNED_JOBS = "results.json", "measured.json", "jobs.json"
#: Fraction of the budget that validating all validation windows once may take; more of them are left out.
_VALIDATION, _FEWEST_VALIDATED = 0.02, 512
#: The steps after this one need some seconds, and predict the test windows several times (the exported file is verified
#: on them in float32); a part of the budget at most is kept for them.
_AFTER, _PASSES, _MOST_AFTER = 45.0, 6.0, 0.6
_SEEDS = 3  # of the best method, where time is left
_FEWEST_EPOCHS = 2
_LATE = 1.25  # times its time, after which a training is ended


class Trainings:
    """The trainings of an auto: jobs in, results out; one that is finished is not repeated."""

    def __init__(self, out: Path, plan: AutoPlan, budget: Budget, progress: ProgressBar, jobs: int = 1) -> None:
        self.out, self.plan, self.budget, self.progress, self.jobs = out, plan, budget, progress, jobs
        self.folder = out / FOLDER
        #: Of each training, where several run at a time; None for all.
        self.threads = None if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)
        self.new, self.skipped = False, set[str]()
        self._unfit: dict[str, EcgtuneError] = {}
        self.material = material_of(out, plan)
        first = self.material.split(0)
        self.training, self.validation, self.tested = len(first.train), len(first.val), len(first.test)

    @property
    def reserve(self) -> float:
        """Seconds that are kept for the choice, the test and the files, by measured seconds of a forward pass."""
        seconds = self.plan.budget.seconds
        passes = _PASSES * self.forward * (self.tested + self.validation)
        return max(seconds * (1 - _used(self.plan)), min(_AFTER + passes, _MOST_AFTER * seconds))

    @property
    def forward(self) -> float:
        """Seconds of a forward pass per window, by the first encoder that takes the windows."""
        for encoder in self.plan.model.encoders:
            with suppress(EcgtuneError):
                return self.measured(PROBE, encoder)[1]
        raise DataError(f"no encoder of {', '.join(self.plan.model.encoders)} takes these windows")

    def measured(self, method: str, encoder: str) -> tuple[float, float]:
        """Seconds per window of a step and of a forward pass, from measured.json or measured now.

        With the threads that a training has. Raises what the training raises.
        """
        file = self.folder / MEASURED
        known = read_json(file) if file.is_file() else {}
        key = f"{method} {encoder}" + ("" if self.threads is None else f", {self.threads} threads")
        if key in self._unfit:
            raise self._unfit[key]
        if key not in known:
            self.progress.describe(f"do: measure {method}")
            try:
                with _limited_threads(self.threads):
                    step, forward = seconds_per_window(self.out, self.plan, method, encoder)
            except EcgtuneError as error:
                self._unfit[key] = error
                raise
            known[key] = {"step": step, "forward": forward}
            write_json(file, known)
            self.budget.tick(now=True)
        return known[key]["step"], known[key]["forward"]

    @property
    def validated(self) -> int | None:
        """Validation windows that all trainings use, from measured.json or decided now; None for all."""
        forward = self.forward
        known = read_json(self.folder / MEASURED)
        if "validated" not in known:
            most = int(self.plan.budget.seconds * _VALIDATION / forward)
            known["validated"] = None if most >= self.validation else max(_FEWEST_VALIDATED, most)
            write_json(self.folder / MEASURED, known)
        return known["validated"]

    def job(self, method: str, encoder: str, seconds: float, rounds: int, *, seed: int = 0) -> dict[str, Any]:
        """The job of a method that fits into `seconds` per round: windows and epochs by measured seconds."""
        step, forward = self.measured(method, encoder)
        validated, most = self.validated, self.plan.training.epochs
        val = (self.validation if validated is None else validated) * forward
        windows: int | None = None
        if method == PROBE:
            fitting = int((seconds - val) / (forward + most * step))
            epochs = most
            windows = None if fitting >= self.training else max(fitting, self.fewest)
        else:
            epochs = int(seconds / (self.training * step + val))
            if epochs < _FEWEST_EPOCHS:
                epochs = _FEWEST_EPOCHS
                fitting = int((seconds / epochs - val) / step)
                windows = max(fitting, self.fewest) if fitting < self.training else None
            epochs = min(epochs, most)
        windows = None if windows is None or windows >= self.training else windows
        return {
            "method": method,
            "encoder": encoder,
            "windows": windows,
            "validated": validated,
            "epochs": epochs,
            "seed": seed,
            "rounds": rounds,
            "seconds": seconds * _LATE,
        }

    def planned(self, stage: str, method: str, encoder: str, seconds: float, rounds: int) -> dict[str, Any]:
        """The job of a stage, from jobs.json or made now, so that a resumed command trains the same."""
        known = self._stages
        if stage not in known:
            known[stage] = self.job(method, encoder, seconds, rounds)
            write_json(self.folder / PLANNED_JOBS, known)
        return known[stage]

    def is_planned(self, stage: str) -> bool:
        return stage in self._stages

    @property
    def _stages(self) -> dict[str, dict[str, Any]]:
        file = self.folder / PLANNED_JOBS
        return read_json(file) if file.is_file() else {}

    def is_finished(self, job: dict[str, Any]) -> bool:
        return all((self.folder / name_of(job) / f"round-{n}" / RESULT).is_file() for n in range(job["rounds"]))

    @property
    def fewest(self) -> int:
        """Windows for two steps, and two of each class."""
        return max(2 * self.plan.training.batch_size, 4 * len(self.material.dataset.classes))

    def run(self, jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run the rounds of jobs, and return the results of all; those for which no time is left are missing.

        `new` is then whether any of them was not finished before.
        """
        folders: list[Path] = []
        for job in jobs:
            for number in range(job["rounds"]):
                folder = self.folder / name_of(job) / f"round-{number}"
                rest = {key: value for key, value in job.items() if key != "rounds"}
                write_json(folder / JOB, {**rest, "name": name_of(job), "round": number})
                folders.append(folder)
        self.new = not all(map(self.is_finished, jobs))
        runner = self._run_here if self.jobs == 1 else self._run_apart
        return runner(folders)

    def _run_here(self, folders: Sequence[Path]) -> list[dict[str, Any]]:
        results = []
        for folder in folders:
            if not self._may_start(folder):
                continue
            self.progress.describe(f"do: {folder.relative_to(self.folder)}")
            results.append(run_trial(self.out, folder, [self.budget]))
            self.budget.tick(now=True)
        return results

    def _run_apart(self, folders: Sequence[Path]) -> list[dict[str, Any]]:
        """Each training in a process of its own, with its part of the cores."""
        start = self.threads or 1, os.getpid()
        started: list[Future[dict[str, Any]]] = []
        try:
            with ProcessPoolExecutor(self.jobs, get_context("spawn"), _start_process, start) as pool:
                for folder in folders:
                    while sum(not one.done() for one in started) >= self.jobs:
                        self._wait()
                    if self._may_start(folder):
                        started.append(pool.submit(run_trial, self.out, folder))
                while not all(one.done() for one in started):
                    self._wait()
            return [one.result() for one in started]
        except BrokenProcessPool:
            raise RunError(
                "a process that trains ended before it was done, perhaps for lack of memory; rerun with --jobs 1; a"
                " script calls auto below `if __name__ == '__main__':`"
            ) from None

    def _wait(self) -> None:
        time.sleep(0.2)
        self.budget.tick()

    def _may_start(self, folder: Path) -> bool:
        """Whether there is time for the job, which gets what is left where that is less than it asks for."""
        left = self.budget.left - self.reserve
        if (folder / RESULT).is_file():
            return True
        job = read_json(folder / JOB)
        if left < 0.3 * job["seconds"] and any(self.folder.glob(f"*/*/{RESULT}")):
            if job["name"] not in self.skipped:
                self.progress.note(f"{job['name']}: no time is left for it, or for all of its folds")
            self.skipped.add(job["name"])
            return False
        write_json(folder / JOB, {**job, "seconds": max(1.0, min(job["seconds"], left))})
        return True


def name_of(job: dict[str, Any]) -> str:
    """Name of a candidate, and of its folder."""
    encoder = "" if job["method"] == SCRATCH else f"-{short_name(job['encoder'])}"
    windows = "all" if job["windows"] is None else job["windows"]
    return f"{job['method']}{encoder}-{windows}-windows-{job['epochs']}-epochs-seed-{job['seed']}"


def do(out: Path, plan: AutoPlan, budget: Budget, progress: ProgressBar, jobs: int = 1) -> dict[str, Any]:
    """Train the candidates of the plan within its budget, and write do/results.json.

    The probe of each encoder comes first; its answer is logged within the first tenth of the time. Then all methods
    train on the better encoder for the same time each, and each round keeps the better half by validation. The same
    folds serve all. Raises RunError where do/ was begun with another plan.
    """
    begin(out, plan)
    trainings = Trainings(out, plan, budget, progress, jobs)
    rungs: list[dict[str, Any]] = []
    trials = _probes(trainings, rungs)
    encoder = max(_scores(trials).items(), key=lambda item: item[1])[0].encoder
    alive, failed = list(plan.training.methods), dict[str, str]()
    fractions = plan.budget.rounds
    whole_time = sum(fractions) * plan.budget.seconds
    # On a slow machine less is left for rounds.
    scale = min(1.0, max(0.0, budget.left - trainings.reserve) / whole_time)
    for number, fraction in enumerate(fractions):
        last = number == len(fractions) - 1
        rounds = trainings.material.rounds if last else min(number + 1, trainings.material.rounds)
        seconds = fraction * plan.budget.seconds * scale * jobs / len(alive)
        stage = f"round {number + 1} of {plan.budget.seconds:g} s, {{}} of {jobs} at a time"
        wanted = []
        for name in alive:
            try:
                wanted.append(trainings.planned(stage.format(name), name, encoder, seconds / rounds, rounds))
            except EcgtuneError as error:
                if name not in failed:
                    progress.note(f"{name} is left out: {error}")
                failed[name] = str(error)
        if all(trial["windows"] is not None for trial in trials if trial["method"] == PROBE):
            whole = trainings.material.rounds
            again = trainings.planned(stage.format(PROBE), PROBE, encoder, seconds / whole, whole)
            wanted = [again, *wanted]  # of the windows for which the first tenth was too short
        found = trainings.run(wanted)
        trials += found
        scores = {key.method: score for key, score in _scores(found).items() if key.method in alive}
        ranked = sorted(scores, key=scores.__getitem__, reverse=True)
        if ranked:
            rungs.append({"scores": {name: scores[name] for name in ranked}, "rounds": rounds, "seconds": seconds})
        if ranked and trainings.new:
            progress.note(f"round {number + 1}: " + ", ".join(f"{name} {scores[name]:.4f}" for name in ranked))
        alive = ranked[: max(1, math.ceil(len(ranked) / 2))] or alive
        if number == len(fractions) - 2:
            alive = alive[:1]
    trials += _seeds(trainings, trials, alive, encoder)
    trained = {trial["method"] for trial in trials if "score" in trial}
    missing = [method for method in plan.training.methods if method not in trained]
    failed |= {trial["method"]: trial["failed"] for trial in trials if "failed" in trial}
    results = {
        "encoder": encoder,
        "rungs": rungs,
        "missing": {method: failed.get(method, "no time was left") for method in missing},
        "trials": list({_id(one): one for one in trials}.values()),
    }
    write_json(out / FOLDER / RESULTS, results)
    return results


def _probes(trainings: Trainings, rungs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The probe of each encoder in the first tenth of the time."""
    plan, trials, note = trainings.plan, [], trainings.progress.note
    encoders, rounds = plan.model.encoders, trainings.material.rounds
    first_tenth = plan.budget.probe * plan.budget.seconds
    for number, encoder in enumerate(encoders):
        left = max(first_tenth - trainings.budget.spent, 0.0 if number else 0.3 * first_tenth)
        seconds = 0.7 * left / rounds
        stage = f"first probe of {encoder}"
        if left < 0.2 * first_tenth and not trainings.is_planned(stage):
            note(f"{encoder}: not probed, the first tenth of the time is spent")
            continue
        try:
            job = trainings.planned(stage, PROBE, encoder, seconds, rounds)
        except EcgtuneError as error:
            note(f"{encoder} is left out: {error}")
            continue
        if trials and (job["windows"] or trainings.training) < trials[0]["train_windows"] / 2:
            note(f"{encoder}: not probed, it would see less than half of the windows of the first")
            continue
        found = trainings.run([job])
        failed = [trial["failed"] for trial in found if "failed" in trial]
        if failed or not found:
            note(f"{encoder} is left out: {failed[0] if failed else 'no time was left'}")
            continue
        trials += found
        score = float(np.mean([trial["score"] for trial in found]))
        if not trainings.new:
            continue
        answer = "first answer" if number == 0 else "another encoder"
        note(
            f"{answer} after {formatting.duration(trainings.budget.spent)}: a linear probe of {encoder} reaches a "
            f"validation AUROC of {score:.3f} with {formatting.counted(found[0]['train_windows'], 'training window')}"
        )
    scores = _scores(trials)
    if not scores:
        raise DataError(f"no encoder of {', '.join(encoders)} takes these windows; see the notes above")
    rungs.append(
        {"scores": {key.encoder: score for key, score in scores.items()}, "rounds": rounds, "seconds": first_tenth}
    )
    return trials


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
        keys = ("method", "encoder", "windows", "validated", "epochs")
        job = {key: last[key] for key in keys} | {"seed": seed, "rounds": 1, "seconds": last["spent"] * _LATE}
        if not trainings.is_finished(job) and trainings.budget.left - trainings.reserve < last["spent"]:
            break
        found += trainings.run([job])
    return found


def _used(plan: AutoPlan) -> float:
    return plan.budget.probe + sum(plan.budget.rounds)


class _Key(NamedTuple):
    method: str
    encoder: str


def _scores(trials: Iterable[dict[str, Any]]) -> dict[_Key, float]:
    """Mean score over the rounds of each method and encoder; those that failed are left out."""
    values: dict[_Key, list[float]] = {}
    for trial in trials:
        if "score" in trial and trial["score"] is not None and not math.isnan(trial["score"]):
            values.setdefault(_Key(trial["method"], trial["encoder"]), []).append(trial["score"])
    return {key: float(np.mean(scores)) for key, scores in values.items()}


def _id(trial: dict[str, Any]) -> tuple[str, int]:
    return trial["name"], trial["round"]


@contextmanager
def _limited_threads(threads: int | None) -> Iterator[None]:
    """torch with so many threads; None for those that it has."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _start_process(threads: int, parent: int) -> None:
    import torch

    end_with_parent(parent)
    torch.set_num_threads(threads)
