"""The trainings of an auto: how large each may be, whether there is time for it, and how it is run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ecgtune.errors import RunError
from ecgtune.utils import formatting
from ecgtune.utils.child import end_with_parent
from ecgtune.utils.files import write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.utils.stored import REMOVE, is_there, read_json
from ecgtune.workflows.auto.budget import Budget
from ecgtune.workflows.auto.costs import FEWEST_EPOCHS, MEASURED, OVERHEAD, Costs
from ecgtune.workflows.auto.plan_file import SCRATCH, AutoPlan
from ecgtune.workflows.auto.schemas import PlannedRounds
from ecgtune.workflows.auto.trial import (
    FEW_EPOCHS,
    JOB,
    PROBE,
    RESULT,
    name_of,
    read_job,
    read_trial,
    read_validation,
    run_trial,
)
from ecgtune.workflows.auto.validation import validation_of

PLANNED_JOBS = "jobs.json"
#: Fraction of the budget that is kept for the steps after this one from the first training of a method.
_LEAST_KEPT = 0.2
LATE = 1.25  # times its time, after which a training is ended


class Trainings(Costs):
    """The trainings of an auto: jobs in, results out; one that is finished is not repeated."""

    def __init__(self, out: Path, plan: AutoPlan, budget: Budget, progress: ProgressBar, jobs: int = 1) -> None:
        super().__init__(out, plan, budget, progress, jobs)
        self.new, self.skipped = False, set[str]()
        _ = self._stages  # a damaged file is refused here
        for file in self.folder.glob(f"*/*/{RESULT}"):  # what failed, perhaps for lack of memory, is tried again
            if "failed" in read_trial(file.parent):
                file.unlink()

    def job(self, method: str, encoder: str, seconds: float, rounds: int, *, seed: int = 0) -> dict[str, Any]:
        """The job of a method that fits into `seconds` per round: windows and epochs by measured seconds."""
        found = self.measured(method, encoder)
        step, forward, limit = found["step"], found["forward"], seconds
        validated, most = self.validated, self.plan.training.epochs
        val = self._validation * forward
        windows: int | None = None
        overhead = min(self.overhead, OVERHEAD) if method == PROBE else OVERHEAD
        seconds = max(0.0, seconds - overhead)
        if method == PROBE:
            fitting = round((seconds - val) / (forward + most * step))
            epochs = most
            windows = None if fitting >= self.training else max(fitting, self.fewest)
        else:
            seconds -= val  # of the predictions by which it is chosen
            epochs, head = int(seconds / (self.training * step + val)), self.head(method, encoder)
            if epochs < FEW_EPOCHS:
                seconds -= val  # of which features are computed too
                epochs = int((seconds - self.training * head) / (self.training * step + val))
            if epochs < FEWEST_EPOCHS:
                epochs = FEWEST_EPOCHS
                fitting = int((seconds - epochs * val) / (epochs * step + head))
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
            "seconds": max(1.0, limit * LATE - overhead - 2 * val),  # then a last validation, and predictions
            "pieces": found.get("pieces"),
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
    def _untrained(self) -> set[str]:
        """Methods of the plan that have no result."""
        trained = {read_trial(file.parent)["method"] for file in self.folder.glob(f"*/*/{RESULT}")}
        return {*self.plan.training.methods} - trained

    @property
    def _stages(self) -> dict[str, dict[str, Any]]:
        file = self.folder / PLANNED_JOBS
        return read_json(file, dict[str, PlannedRounds], REMOVE) if is_there(file) else {}

    def is_finished(self, job: dict[str, Any]) -> bool:
        return all((self.folder / name_of(job) / f"round-{n}" / RESULT).is_file() for n in range(job["rounds"]))

    def are_level(self, trials: Sequence[dict[str, Any]], methods: Sequence[str]) -> bool:
        """Whether of two methods neither is shown to be better by its training of a round.

        False with folds, which are averaged themselves, and for a network from scratch, whose windows may be others.
        """
        names = [one["name"] for one in trials if one["method"] in methods and "score" in one]
        if self.material.rounds > 1 or len(names) != 2 or SCRATCH in methods:
            return False
        folders = [self.folder / name / "round-0" for name in names]
        rows, copies = zip(*(read_validation(folder, self.material.dataset) for folder in folders), strict=True)
        validation = validation_of(self.material, rows[0])
        return validation.level(*(validation.draws([each]) for each in copies))

    def run(self, jobs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run the rounds of jobs, and return the results of all; those for which no time is left are missing.

        A job is taken when it can start. `new` is then whether any of them was not finished before.
        """
        self.new = False
        return self.run_in(self._folders(jobs))

    def _folders(self, jobs: Iterable[dict[str, Any]]) -> Iterator[Path]:
        """The folders of the rounds of jobs, each with its job.json."""
        for job in jobs:
            self.new |= not self.is_finished(job)
            for number in range(job["rounds"]):
                folder = self.folder / name_of(job) / f"round-{number}"
                rest = {key: value for key, value in job.items() if key != "rounds"}
                if (folder / JOB).is_file():  # it may have begun, in pieces that fit into memory
                    rest["pieces"] = read_job(folder)["pieces"]
                write_json(folder / JOB, {**rest, "name": name_of(job), "round": number})
                yield folder

    def run_in(self, folders: Iterable[Path]) -> list[dict[str, Any]]:
        """Run the jobs in these folders, and return the results; those for which no time is left are missing."""
        known: set[Path] = set()

        def taken() -> Iterator[Path]:
            for folder in folders:
                if (folder / RESULT).is_file():
                    known.add(folder)
                yield folder

        results = self._run_here(taken()) if self.jobs == 1 else self._run_apart(taken())
        for result in results:
            if self.folder / result["name"] / f"round-{result['round']}" in known:
                continue
            self._learn(result)
            if result.get("pieces"):
                few = -(-self.plan.training.batch_size // result["pieces"]["pieces"])
                windows = formatting.counted(few, "window")
                self.progress.note(f"{result['name']}: memory is short, trained with {windows} at a time")
        return results

    def _learn(self, result: dict[str, Any]) -> None:
        """Keep the seconds of a step that a new training took; those of a few steps before it were an estimate."""
        if not result.get("step"):  # of a probe, or of one that failed
            return
        stored = self._measured
        found = stored["methods"].get(self._key(result["method"], result["encoder"]))
        if found is None:  # it repeats another auto, and needs no estimate
            return
        found["step"] = result["step"]
        write_json(self.folder / MEASURED, stored)

    def _run_here(self, folders: Iterable[Path]) -> list[dict[str, Any]]:
        results = []
        for folder in folders:
            if not self.may_start(folder):
                continue
            self.progress.describe(f"do: {folder.relative_to(self.folder)}")
            results.append(run_trial(self.out, folder, [self.budget]))
            self.budget.tick(now=True)
        return results

    def _run_apart(self, folders: Iterator[Path]) -> list[dict[str, Any]]:
        """Each training in a process of its own, with its part of the cores."""
        start = self.threads or 1, os.getpid()
        started: list[Future[dict[str, Any]]] = []
        try:
            with ProcessPoolExecutor(self.jobs, get_context("spawn"), _start_process, start) as pool:
                while (folder := self._next(folders, started)) is not None:
                    if self.may_start(folder):
                        started.append(pool.submit(run_trial, self.out, folder))
                while not all(one.done() for one in started):
                    self._wait()
            return [one.result() for one in started]
        except BrokenProcessPool:
            raise RunError(
                "a process that trains ended before it was done, perhaps for lack of memory; rerun with --jobs 1; a"
                " script calls auto below `if __name__ == '__main__':`"
            ) from None

    def _next(self, folders: Iterator[Path], started: Sequence[Future[Any]]) -> Path | None:
        """The next folder, once a process is free for it; None behind the last."""
        while sum(not one.done() for one in started) >= self.jobs:
            self._wait()
        return next(folders, None)

    def _wait(self) -> None:
        time.sleep(0.2)
        self.budget.tick()

    def may_start(self, folder: Path) -> bool:
        """Whether there is time for the job, which gets what is left where that is less than it asks for.

        The time of a small training of each measured method that has none yet is kept; the first answer does not wait
        for their measurement. A probe, and the first training of another method, may also use what is kept for the
        steps that follow, but for a fifth of the budget.
        """
        if (folder / RESULT).is_file():
            return True
        job = read_job(folder)
        untrained = self._untrained
        others = (method for method in untrained - {job["method"]} if self.is_measured(method, job["encoder"]))
        kept = sum(self.least(method, job["encoder"]) for method in others)
        left = self.budget.left - self.reserve - kept
        if job["method"] in untrained or job["method"] == PROBE:
            small = self.least(job["method"], job["encoder"]) if job["method"] in untrained else job["seconds"]
            starts = self.budget.left - _LEAST_KEPT * self.plan.budget.seconds >= small
            left = max(left, small)
        else:
            starts = left >= 0.3 * job["seconds"]
        if not starts and any(self.folder.glob(f"*/*/{RESULT}")):
            if job["name"] not in self.skipped:
                self.progress.note(f"{job['name']}: no time is left for it, or for all of its folds")
            self.skipped.add(job["name"])
            return False
        write_json(folder / JOB, {**job, "seconds": max(1.0, min(job["seconds"], left))})
        return True


def _start_process(threads: int, parent: int) -> None:
    import torch

    end_with_parent(parent)
    torch.set_num_threads(threads)
