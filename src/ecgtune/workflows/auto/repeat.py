"""`--repeat`: the decisions and the trainings of another auto, whatever time they take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecgtune.errors import RunError
from ecgtune.utils.files import write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.auto.budget import Budget
from ecgtune.workflows.auto.choose import FINAL, TESTED, read_tested
from ecgtune.workflows.auto.do import RESULTS, read_results, rung_scores
from ecgtune.workflows.auto.look import read_fingerprint
from ecgtune.workflows.auto.material import read_split_facts
from ecgtune.workflows.auto.plan_file import FOLDER, AutoPlan, begin
from ecgtune.workflows.auto.trainings import Trainings
from ecgtune.workflows.auto.trial import JOB, material_of, read_job

#: Entries of a result that make its job; "steps" and "threads" are those of the training that is repeated.
_JOB = ("method", "encoder", "windows", "validated", "epochs", "seed", "pieces", "name", "round", "steps", "threads")
_PLACES = ("path", "table", "records")


class _Repeated(Trainings):
    def may_start(self, folder: Path) -> bool:
        return True


def check_repeated(first: Path, found: dict[str, Any]) -> None:
    """Raise RunError unless `first` holds a finished auto of the files and the flags of a fingerprint."""
    if not (first / TESTED).is_file():
        raise RunError(f"{first} holds no finished auto; give --repeat the folder of one")
    before = read_fingerprint(first)
    if before["sha256"] != found["sha256"]:
        raise RunError(f"the files differ from those of {first} (another sha256); a repetition needs the same")
    names = sorted(before["reading"].keys() | found["reading"].keys())
    for name in (name for name in names if name not in _PLACES):
        if before["reading"].get(name) != found["reading"].get(name):
            raise RunError(f"{name} of the reading differs from that of {first}; give the flags with which it read")


def repeat(out: Path, plan: AutoPlan, budget: Budget, progress: ProgressBar, jobs: int, first: Path) -> dict[str, Any]:
    """Repeat the trainings of `first`, each with its windows, steps and threads, and write do/results.json.

    Raises RunError where the windows or the split are others than those of `first`.
    """
    begin(out, plan)
    material_of(out, plan)
    if any(read_split_facts(out)[key] != read_split_facts(first)[key] for key in ("sha256", "rows_sha256")):
        raise RunError(f"the windows or their split differ from those of {first}, which another version may have read")
    stored = read_results(first)
    trainings, folders = _Repeated(out, plan, budget, progress, jobs), list[Path]()
    for trial in stored["trials"]:
        folder = out / FOLDER / trial["name"] / f"round-{trial['round']}"
        write_json(folder / JOB, {**{key: trial.get(key) for key in _JOB}, "seconds": None})
        folders.append(folder)
    for file in (first / FOLDER).glob(f"*/{FINAL}/{JOB}"):
        copy = out / FOLDER / file.relative_to(first / FOLDER)
        if not copy.is_file():
            write_json(copy, {**read_job(file.parent), "seconds": None})
    trials = trainings.run_in(folders)
    rungs = [{**rung, "scores": rung_scores(rung, trials)} for rung in stored["rungs"]]
    results = {**stored, "rungs": rungs, "trials": trials}
    write_json(out / FOLDER / RESULTS, results)
    return results


def compared(out: Path, first: Path) -> str:
    """A sentence on whether the choice and the test results are those of `first`."""
    same = read_tested(out) == read_tested(first)
    return f"the test results {'are those' if same else 'differ from those'} of {first}"
