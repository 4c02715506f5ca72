"""The time that an auto takes, on a clock that stands still but for the trainings, whose costs the test states."""

import os
from itertools import product
from types import SimpleNamespace

import pytest

import ecgtune
from ecgtune.config.auto import AutoSettings
from ecgtune.errors import RunError
from ecgtune.utils.files import json_value, write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.auto import budget as clock
from ecgtune.workflows.auto import costs, trainings
from ecgtune.workflows.auto import do as module
from ecgtune.workflows.auto.plan_file import read_plan
from helpers.auto import FACTS

WINDOWS = 480  # that stand for more: their costs are those of all
OVERHEAD = 3.0  # seconds of a training before its first step and after its last


class Machine:
    """`now`, and trainings that cost `slower` times what was measured: of a window 3 `forward` for a step, 0.03 of a
    probe.

    busy: seconds that a second of computing takes, in trainings and around them. estimate: of a step, times that.
    around: times the seconds that are not of windows. late: seconds by which the first training of a method is late.
    """

    def __init__(self, forward, slower, busy=1.0, estimate=1.0, around=1.0, late=()):
        self.now, self.forward, self.slower, self.busy = 12.0, forward * busy, slower, busy
        self.estimate, self.first, self.around, self.late = estimate, None, around, dict(late)

    def computed(self):
        return self.now / self.busy

    def measured(self, out, plan, method, encoder):
        self.now += 3 * self.around * self.busy
        step = 0.03 if method == "probe" else 3 * self.estimate
        return {"step": step * self.forward, "forward": self.forward}

    def train(self, out, folder, callbacks=()):
        if (folder / "result.json").is_file():
            return json_value(folder / "result.json")
        job = json_value(folder / "job.json")
        split = costs.material_of(out, read_plan(out)).split(
            job["round"], windows=job["windows"], validated=job["validated"]
        )
        pass_, epoch = self.slower * self.forward, 0.0
        began = self.now
        self.now += OVERHEAD * self.around * self.busy + self.late.pop(job["method"], 0.0)
        if job["method"] == "probe":
            self.now += ((1 + 0.03 * job["epochs"]) * len(split.train) + len(split.val)) * pass_
        else:
            epoch = (3 * len(split.train) + len(split.val)) * pass_
            ended = job["seconds"] + (len(split.val) + 3 * 4) * pass_  # a last step and its validation
            self.now += min(job["epochs"] * epoch, ended) + len(split.val) * pass_
        self.first = self.first or self.now
        facts = {"score": 0.8, "train_windows": len(split.train), "spent": self.now - began}
        facts["step"] = 3 * pass_ if epoch else None
        result = {**FACTS, **job, **facts}
        write_json(folder / "result.json", result)
        return result


#: Minutes, windows, how much slower the machine becomes after the measurement, folds, two methods in the last round.
CASES = [
    *((*case, 1.3, *folds) for case in product((10, 30, 120), (3_000, 25_000)) for folds in ((1, False), (5, False))),
    *((minutes, 60_000, 1.0, *folds) for minutes in (10, 30, 120) for folds in ((1, False), (5, False), (1, True))),
    *((minutes, 25_000, 1.3, 1, True) for minutes in (10, 30)),
]
FAST = {(10, 25_000, 1.3, 1, True), (30, 25_000, 1.3, 5, False), (120, 60_000, 1.0, 1, False)}


@pytest.mark.parametrize(
    ("minutes", "windows", "slower", "folds", "level"),
    [pytest.param(*case, marks=() if case in FAST else pytest.mark.slow) for case in CASES],
)
def test_the_time_is_kept_and_the_first_answer_is_early(minutes, windows, slower, folds, level, planned, monkeypatch):
    seconds = 60.0 * minutes
    machine = Machine(0.0015 * windows / WINDOWS, slower)
    budget, after, _ = trained(planned(folds), machine, seconds, windows, monkeypatch, level)
    reserve = after * slower
    assert machine.first is not None
    assert machine.first - 12 <= 0.1 * seconds
    assert budget.spent + reserve <= 1.1 * seconds
    assert budget.spent + reserve >= 0.5 * seconds or windows == 3_000  # all epochs of all methods


def trained(out, machine, seconds, windows, monkeypatch, level=False):
    """Step do on a machine: the budget, the seconds that the steps after it need, and the results."""
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: machine.now, process_time=machine.computed))
    monkeypatch.setattr(trainings, "run_trial", machine.train)
    monkeypatch.setattr(costs, "measured", machine.measured)
    monkeypatch.setattr(costs, "_FEWEST_VALIDATED", 512 * WINDOWS // windows)
    monkeypatch.setattr(trainings.Trainings, "are_level", lambda *_: level)
    (out / "spent.json").unlink(missing_ok=True)
    with ProgressBar(shown=False) as progress:
        plan, budget = read_plan(out), clock.Budget(out, progress)
        plan = plan.changed({"budget.seconds": seconds})
        machine.now += 12 * machine.around * machine.busy  # the look and the decisions
        budget.limit(seconds)
        results = module.do(out, plan, budget, progress)
        ended = trainings.Trainings(out, plan, budget, progress)
        after = ended.after(2 if level else min(results["affordable"], ended.material.rounds))
    return budget, after, results


@pytest.mark.parametrize("folds", [1, 5])
@pytest.mark.parametrize("windows", [480, 1_000])
def test_a_minute_is_used_and_kept(windows, folds, planned, monkeypatch):
    machine = Machine(0.001 * windows / WINDOWS, 1.0, around=0.3)
    budget, after, results = trained(planned(folds), machine, 60.0, windows, monkeypatch)
    assert results["missing"] == {}
    assert 0.8 * 60 <= budget.spent + after <= 1.1 * 60
    whole = {trial["round"] for trial in results["trials"] if trial["method"] == "probe" and trial["windows"] is None}
    assert len(whole) == folds or windows == 1_000  # five passes over these take more than the time allows


def test_later_trainings_of_a_round_get_what_a_late_one_leaves(planned, monkeypatch):
    machine = Machine(0.0015 * 25_000 / WINDOWS, 1.0, late={"lora": 60.0})
    budget, after, results = trained(planned(1), machine, 600.0, 25_000, monkeypatch)
    late, *later = [one["seconds"] for one in results["trials"] if one["method"] != "probe"][:3]
    assert max(later) <= 0.7 * late
    assert len(results["rungs"]) == 4  # the probes, and three rounds
    assert budget.spent + after <= 1.1 * 600


@pytest.mark.parametrize("folds", [1, 5])
@pytest.mark.parametrize("busy", [1, 2, 4])
def test_every_method_is_trained_on_a_machine_that_does_other_work(busy, folds, planned, monkeypatch):
    machine = Machine(0.0015 * 25_000 / WINDOWS, 1.3, busy)
    budget, _, results = trained(planned(folds), machine, 300.0, 25_000, monkeypatch)
    assert results["missing"] == {}
    assert {"probe", "lora", "full", "scratch"} == {trial["method"] for trial in results["trials"]}
    assert budget.spent <= 0.8 * 300  # the rest is for the steps that follow


@pytest.mark.parametrize("estimate", [0.4, 2.5])
def test_the_time_of_a_step_is_learned_from_trainings(estimate, planned, monkeypatch):
    machine = Machine(0.0015 * 25_000 / WINDOWS, 1.0, estimate=estimate)
    budget, after, results = trained(planned(1), machine, 600.0, 25_000, monkeypatch)
    assert 0.7 * 600 <= budget.spent + after <= 1.1 * 600
    last = max(results["trials"], key=lambda trial: trial["spent"])
    assert last["ended"] is False
    assert last["epochs"] > 1


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A function: the folder of a planned auto by its folds, without trainings."""
    import shutil

    made = {}
    for folds in (1, 5):
        made[folds] = tmp_path_factory.mktemp(f"folds-{folds}")
        settings = AutoSettings(until="decide", encoders=("ecg-fm-tiny",), folds=folds, batch_size=4)
        ecgtune.auto(ecgtune.simulate(WINDOWS, seed=1, seconds=3), settings, out=made[folds])

    def fresh(folds):
        shutil.rmtree(made[folds] / "do", ignore_errors=True)
        return made[folds]

    return fresh


def test_a_machine_that_does_other_work_is_slower(tmp_path, monkeypatch):
    now, computed = [0.0], [0.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now[0], process_time=lambda: computed[0]))
    with ProgressBar(shown=False) as progress:
        budget = clock.Budget(tmp_path, progress)
        assert budget.slowdown == 1
        now[0], computed[0] = 60.0, 20.0
        assert budget.slowdown == 3
        computed[0] = 110.0  # two threads
        assert budget.slowdown == 1


def test_a_time_that_cannot_be_read_is_not_taken_for_none(tmp_path):
    os.mkfifo(tmp_path / clock.FILE)
    with ProgressBar(shown=False) as progress, pytest.raises(RunError, match=clock.FILE):
        clock.Budget(tmp_path, progress)
