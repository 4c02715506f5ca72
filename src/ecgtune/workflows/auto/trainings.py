"""The trainings of an auto: how large each may be, whether there is time for it, and how it is run."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ecgtune.errors import DataError, EcgtuneError, RunError
from ecgtune.utils import formatting
from ecgtune.utils.child import end_with_parent
from ecgtune.utils.files import write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.utils.stored import REMOVE, read_json
from ecgtune.workflows.auto.budget import Budget
from ecgtune.workflows.auto.plan_file import FOLDER, SCRATCH, AutoPlan
from ecgtune.workflows.auto.schemas import MeasuredFile, PlannedRounds
from ecgtune.workflows.auto.trial import (
    FEW_EPOCHS,
    HEAD_EPOCHS,
    HEAD_STEP,
    JOB,
    PROBE,
    RESULT,
    limited_threads,
    material_of,
    measured,
    name_of,
    read_job,
    read_trial,
    read_validation,
    run_trial,
)
from ecgtune.workflows.auto.validation import validation_of

MEASURED, PLANNED_JOBS = "measured.json", "jobs.json"
#: Fraction of the budget that validating all validation windows once may take; more of them are left out.
_VALIDATION, _FEWEST_VALIDATED = 0.004, 512
#: The fewest are fewer where they would take more than this fraction of the budget.
_MOST_VALIDATION, _SMALLEST_VALIDATION = 0.02, 128
#: The steps after this one need some seconds, and predict the validation and test windows, up to 1,300 for the novelty,
#: and `VERIFIED` for the exported file with and without torch; a part of the budget at most is kept for that.
_AFTER, _PASSES, _NOVELTY, _MOST_AFTER = 45.0, 1.1, 1300, 0.6
VERIFIED = 512
_SAFE = 1.1  # times the time that these steps need
_LEAST_KEPT = 0.2  # fraction of the budget that is kept for them from the first training of a method
_FEWEST_EPOCHS = 2
#: Seconds of a training outside of its epochs: the model, its audits, the windows.
OVERHEAD = 2.0
LATE = 1.25  # times its time, after which a training is ended


class Trainings:
    """The trainings of an auto: jobs in, results out; one that is finished is not repeated."""

    def __init__(self, out: Path, plan: AutoPlan, budget: Budget, progress: ProgressBar, jobs: int = 1) -> None:
        self.out, self.plan, self.budget, self.progress, self.jobs = out, plan, budget, progress, jobs
        self.folder = out / FOLDER
        #: Of each training, where several run at a time; None for all.
        self.threads = None if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)
        self.new, self.skipped = False, set[str]()
        self._unfit: dict[str, EcgtuneError] = {}
        for file in self.folder.glob(f"*/*/{RESULT}"):  # what failed, perhaps for lack of memory, is tried again
            if "failed" in read_trial(file.parent):
                file.unlink()
        _ = self._measured, self._stages  # a damaged file is refused here, and is no reason to leave an encoder out
        self.material = material_of(out, plan)
        first, final = self.material.split(0), self.material.final()
        self.training, self.validation = len(first.train), len(first.val)
        self._tested, self._validated_at_end = len(final.test), len(final.val)
        #: The encoder of the methods, once it is chosen, and the seconds of the last round, once it is planned.
        self.encoder: str | None = None
        self.last = plan.budget.rounds[-1] * plan.budget.seconds if self.material.rounds > 1 else 0.0
        #: Trainings whose mean is perhaps chosen, and then tested and exported.
        self.members = 1

    @property
    def reserve(self) -> float:
        """Seconds that are kept for the choice, the test and the files."""
        return min(_SAFE * self.after + self.final_fraction * self.last, _MOST_AFTER * self.plan.budget.seconds)

    @property
    def after(self) -> float:
        """Seconds that the choice, the test and the files need, by measured seconds of a forward pass."""
        slowdown = self.budget.slowdown if self.jobs == 1 else 1.0  # others compute in processes of their own
        tested = self._tested + (self._validation if self.material.rounds == 1 else self._validated_at_end)
        verified, novelty = 3 * min(VERIFIED, self._tested), min(_NOVELTY, self.training)
        return _AFTER * slowdown + (self.members * (_PASSES * tested + verified) + novelty) * self.forward

    @property
    def final_fraction(self) -> float:
        """Time of the last training after folds, on all but one of them, as a fraction of that of all folds."""
        rounds = self.material.rounds
        return 0.0 if rounds == 1 else (rounds - 1) / (rounds - 2) / rounds

    @property
    def forward(self) -> float:
        """Seconds of a forward pass per window, by the chosen encoder, else by the first that takes the windows."""
        for encoder in (self.encoder,) if self.encoder else self.plan.model.encoders:
            with suppress(EcgtuneError):
                return self.measured(PROBE, encoder)["forward"]
        raise DataError(f"no encoder of {', '.join(self.plan.model.encoders)} takes these windows")

    def measured(self, method: str, encoder: str) -> dict[str, Any]:
        """Seconds per window of a "step" and of a "forward" pass, and the "pieces" of a batch, where memory is short.

        From measured.json or measured now, with the threads that a training has; the step of a method that was trained
        is that of its last training. Raises what the training raises.
        """
        stored = self._measured
        known = stored["methods"]
        key = self._key(method, encoder)
        if key in self._unfit:
            raise self._unfit[key]
        if key not in known:
            self.progress.describe(f"do: measure {method}")
            try:
                with limited_threads(self.threads):
                    known[key] = measured(self.out, self.plan, method, encoder)
            except EcgtuneError as error:
                self._unfit[key] = error
                raise
            write_json(self.folder / MEASURED, stored)
            self.budget.tick(now=True)
        return known[key]

    def is_measured(self, method: str, encoder: str) -> bool:
        return self._key(method, encoder) in self._measured["methods"]

    def _key(self, method: str, encoder: str) -> str:
        return f"{method} {encoder}" + ("" if self.threads is None else f", {self.threads} threads")

    @property
    def validated(self) -> int | None:
        """Validation windows that all trainings use, from measured.json or decided now; None for all."""
        forward = self.forward
        known = self._measured
        if "validated" not in known:
            most, least = (
                int(fraction * self.plan.budget.seconds / forward / self.material.rounds)
                for fraction in (_VALIDATION, _MOST_VALIDATION)
            )
            few = min(_FEWEST_VALIDATED, max(_SMALLEST_VALIDATION, least))
            known["validated"] = None if most >= self.validation else max(few, most)
            write_json(self.folder / MEASURED, known)
        return known["validated"]

    @property
    def _measured(self) -> dict[str, Any]:
        file = self.folder / MEASURED
        return read_json(file, MeasuredFile, REMOVE) if file.is_file() else {"methods": {}}

    def job(self, method: str, encoder: str, seconds: float, rounds: int, *, seed: int = 0) -> dict[str, Any]:
        """The job of a method that fits into `seconds` per round: windows and epochs by measured seconds."""
        found = self.measured(method, encoder)
        step, forward, limit = found["step"], found["forward"], seconds
        validated, most = self.validated, self.plan.training.epochs
        val = self._validation * forward
        windows: int | None = None
        seconds = max(0.0, seconds - OVERHEAD)
        if method == PROBE:
            fitting = int((seconds - val) / (forward + most * step))
            epochs = most
            windows = None if fitting >= self.training else max(fitting, self.fewest)
        else:
            seconds -= val  # of the predictions by which it is chosen
            epochs, head = int(seconds / (self.training * step + val)), self.head(method, encoder)
            if epochs < FEW_EPOCHS:
                seconds -= val  # of which features are computed too
                epochs = int((seconds - self.training * head) / (self.training * step + val))
            if epochs < _FEWEST_EPOCHS:
                epochs = _FEWEST_EPOCHS
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
            "seconds": max(1.0, limit * LATE - OVERHEAD - 2 * val),  # then a last validation, and predictions
            "pieces": found.get("pieces"),
        }

    def head(self, method: str, encoder: str) -> float:
        """Seconds per window of the head that is trained alone before few epochs."""
        passes = 0.0 if method == SCRATCH else 1 + HEAD_EPOCHS * HEAD_STEP
        return passes * self.measured(method, encoder)["forward"]

    def planned(self, stage: str, method: str, encoder: str, seconds: float, rounds: int) -> dict[str, Any]:
        """The job of a stage, from jobs.json or made now, so that a resumed command trains the same."""
        known = self._stages
        if stage not in known:
            known[stage] = self.job(method, encoder, seconds, rounds)
            write_json(self.folder / PLANNED_JOBS, known)
        return known[stage]

    def is_planned(self, stage: str) -> bool:
        return stage in self._stages

    def whole(self, method: str, encoder: str) -> float:
        """Seconds of a training on all windows for all epochs of the plan, by measured seconds."""
        found, epochs = self.measured(method, encoder), self.plan.training.epochs
        once = (self.training + self._validation) * found["forward"]
        each = self.training * found["step"] + self._validation * found["forward"]
        return once + epochs * self.training * found["step"] if method == PROBE else epochs * each

    def least(self, method: str, encoder: str) -> float:
        """Seconds of the smallest training of a method; 0 for one that cannot be run."""
        try:
            found = self.measured(method, encoder)
        except EcgtuneError:
            return 0.0
        steps = self.fewest * (_FEWEST_EPOCHS * found["step"] + self.head(method, encoder))
        validation = (_FEWEST_EPOCHS + 2) * self._validation * found["forward"]
        return OVERHEAD * self.budget.slowdown + steps + validation

    @property
    def _validation(self) -> int:
        """Validation windows that a training uses."""
        return self.validation if self.validated is None else self.validated

    @property
    def _untrained(self) -> set[str]:
        """Methods of the plan that have no result."""
        trained = {read_trial(file.parent)["method"] for file in self.folder.glob(f"*/*/{RESULT}")}
        return {*self.plan.training.methods} - trained

    @property
    def _stages(self) -> dict[str, dict[str, Any]]:
        file = self.folder / PLANNED_JOBS
        return read_json(file, dict[str, PlannedRounds], REMOVE) if file.is_file() else {}

    def finished(self) -> list[dict[str, Any]]:
        """The results of all finished trainings in the folder."""
        return [read_trial(file.parent) for file in sorted(self.folder.glob(f"*/round-*/{RESULT}"))]

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
                if (folder / JOB).is_file():  # it may have begun, in pieces that fit into memory
                    rest["pieces"] = read_job(folder)["pieces"]
                write_json(folder / JOB, {**rest, "name": name_of(job), "round": number})
                folders.append(folder)
        self.new = not all(map(self.is_finished, jobs))
        return self.run_in(folders)

    def run_in(self, folders: Sequence[Path]) -> list[dict[str, Any]]:
        """Run the jobs in these folders, and return the results; those for which no time is left are missing."""
        known = {folder for folder in folders if (folder / RESULT).is_file()}
        results = self._run_here(folders) if self.jobs == 1 else self._run_apart(folders)
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

    def _run_here(self, folders: Sequence[Path]) -> list[dict[str, Any]]:
        results = []
        for folder in folders:
            if not self.may_start(folder):
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
