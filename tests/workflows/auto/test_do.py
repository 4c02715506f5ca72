"""The order of trainings, their times, and what a resumed command finds; the trainings themselves are replaced."""

import re
import shutil
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
import torch

import ecgtune
from ecgtune.config.auto import AutoSettings
from ecgtune.errors import DataError, RunError
from ecgtune.utils.files import json_value, write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.auto import costs, trainings, validation
from ecgtune.workflows.auto import do as module
from ecgtune.workflows.auto.budget import Budget
from ecgtune.workflows.auto.plan_file import begin, read_plan
from ecgtune.workflows.auto.trial import measured
from helpers.auto import FACTS, trained

FIRST, SECOND = "ecg-fm-tiny", "ecg-fm-tiny-random"


@pytest.fixture
def out(tmp_path, monkeypatch):
    """A planned auto of two encoders, of which the second one scores higher, as `started` lists its trainings."""
    settings = AutoSettings(until="decide", encoders=(FIRST, SECOND), folds=1)
    ecgtune.auto(ecgtune.simulate(96, seed=1, seconds=3), settings, out=tmp_path)

    def trial(out, folder, callbacks=()):
        if not (folder / "result.json").is_file():
            job = json_value(folder / "job.json")
            score = 0.7 + 0.1 * (job["encoder"] == SECOND) + 0.1 * (job["method"] == "full")
            step = None if job["method"] == "probe" else 0.1
            write_json(folder / "result.json", {**FACTS, **job, "score": score, "spent": 100.0, "step": step})
            with (tmp_path / "started").open("a") as file:
                file.write(f"{job['name']}\n")
        return json_value(folder / "result.json")

    monkeypatch.setattr(trainings, "run_trial", trial)
    monkeypatch.setattr(costs, "measured", lambda *_: {"step": 1e-3, "forward": 1e-3})
    monkeypatch.setattr(trainings.Trainings, "are_level", lambda *_: False)  # no predictions are written
    return tmp_path


def done(out, jobs=1, seconds=1800.0):
    with ProgressBar(shown=False) as progress:
        plan, budget = read_plan(out).changed({"budget.seconds": seconds}), Budget(out, progress)
        budget.limit(seconds)
        return module.do(out, plan, budget, progress, jobs)


@pytest.mark.parametrize("spent", [0.2, 0.97])
def test_a_resumed_command_keeps_encoders_and_seeds_for_which_no_time_would_be_left(out, spent):
    before = done(out)
    started = (out / "started").read_text()
    assert before["encoder"] == SECOND
    assert {trial["seed"] for trial in before["trials"] if trial["method"] == "full"} == {0, 1, 2}
    write_json(out / "spent.json", {"seconds": spent * 1800})
    after = done(out)
    assert (after["encoder"], after["trials"]) == (before["encoder"], before["trials"])
    assert (out / "started").read_text() == started


def test_a_larger_budget_keeps_what_was_trained_with_a_smaller_one(out):
    before = done(out)
    write_json(out / "spent.json", {"seconds": 1800.0})
    after = done(out, seconds=2000.0)
    assert after["missing"] == {}
    names = {trial["name"] for trial in after["trials"]}
    assert names >= {trial["name"] for trial in before["trials"]}


def test_without_time_for_a_last_training_the_results_can_be_read(out, monkeypatch):
    monkeypatch.setattr(costs, "_AFTER", 2000.0)  # more than is left is kept for the steps that follow
    write_json(out / "spent.json", {"seconds": 900.0})
    found = done(out)
    assert found["missing"] == {}
    assert found["rungs"] == module.read_results(out)["rungs"]


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_the_time_of_a_round_is_that_of_its_trainings_one_after_the_other_in_each_process(jobs, out, monkeypatch):
    monkeypatch.setattr(trainings.Trainings, "_run_apart", trainings.Trainings._run_here)
    monkeypatch.setattr(costs, "measured", lambda *_: {"step": 1.0, "forward": 1e-3})  # no training is whole
    first, last = done(out, jobs)["rungs"][-2:]
    assert first["seconds"] * -(-len(first["scores"]) // jobs) <= 0.35 * 1800
    assert last["seconds"] <= 1800


def unfit(monkeypatch, method, encoder):
    """Make one method unable to run with one encoder."""
    measured = costs.measured

    def seconds(out, plan, *given):
        if given == (method, encoder):
            raise DataError("it takes other windows")
        return measured(out, plan, *given)

    monkeypatch.setattr(costs, "measured", seconds)


@pytest.mark.parametrize("level", [True, False])
def test_two_methods_share_the_last_round_where_neither_is_shown_to_be_better(level, out, monkeypatch):
    asked = []
    monkeypatch.setattr(trainings.Trainings, "are_level", lambda self, _, methods: asked.append(methods) or level)
    found = done(out)
    first, last = found["rungs"][-2:]
    assert asked == [list(first["scores"])[:2]]
    assert list(last["scores"]) == asked[0][: 2 if level else 1]
    assert len(last["scores"]) * last["seconds"] == pytest.approx(0.94 * 1800, rel=0.01)  # together, as one alone


@pytest.mark.parametrize(
    ("skills", "level"),
    [
        ({"lora": 1.0, "full": 1.0}, True),
        ({"lora": 3.0, "full": 0.0}, False),
        ({"lora": 0.0, "full": 3.0}, False),
        ({"lora": 1.0}, False),
        ({"lora": 1.0, "scratch": 1.0}, False),  # one file could not hold both with an encoder's preset
    ],
)
def test_methods_are_level_where_validation_shows_no_difference(skills, level, out, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(validation, "FEWEST_GROUPS", 1)
    begin(out, read_plan(out))
    random, trials = np.random.default_rng(0), []
    with ProgressBar(shown=False) as progress:
        made = trainings.Trainings(out, read_plan(out), Budget(out, progress), progress)
    rows = made.material.split(0).val
    label = made.material.dataset.label[rows]
    for method, skill in skills.items():
        trials.append(trained(method=method))
        folder = out / "do" / trials[-1]["name"] / "round-0"
        folder.mkdir(parents=True)
        odds = skill * (2 * label - 1) + random.normal(size=len(rows))
        np.savez(folder / "validation.npz", row=rows, probability=1 / (1 + np.exp(-odds)))
    assert made.are_level(trials, list(skills)) == level


def test_an_encoder_that_takes_other_windows_is_left_out_though_it_is_the_first(out, monkeypatch):
    unfit(monkeypatch, "probe", FIRST)
    assert done(out)["encoder"] == SECOND


def test_a_method_that_cannot_run_is_left_out_with_its_reason(out, monkeypatch):
    unfit(monkeypatch, "lora", SECOND)
    found = done(out)
    assert found["missing"] == {"lora": "it takes other windows"}
    assert {"probe", "full", "scratch"} <= {trial["method"] for trial in found["trials"]}


def test_a_method_whose_state_does_not_fit_on_the_disk_is_left_out(out, monkeypatch):
    monkeypatch.setattr(costs, "measured", measured)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**7))
    missing = done(out)["missing"]
    assert re.match(r".*its disk has 10\.0 MB free, but about [\d.]+ MB are needed", missing["full"])
    assert "lora" not in missing


def test_a_training_that_failed_is_tried_again_by_the_next_command(out):
    done(out)
    (file,) = out.glob("do/lora*/round-0/result.json")
    trial = json_value(file)
    write_json(
        file,
        {key: trial[key] for key in json_value(file.with_name("job.json"))} | {"failed": "no memory", "spent": 1.0},
    )
    (out / "started").write_text("")
    assert "lora" not in done(out)["missing"]
    assert (out / "started").read_text() == f"{trial['name']}\n"
    assert "failed" not in json_value(file)


def test_a_process_that_dies_is_told_in_one_line(out, monkeypatch):
    class Broken:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, *_):
            raise BrokenProcessPool

    monkeypatch.setattr(trainings, "ProcessPoolExecutor", Broken)
    with pytest.raises(RunError, match="--jobs 1"):
        done(out, jobs=2)


def test_trainings_at_a_time_are_measured_with_the_threads_of_one(out, monkeypatch):
    threads = []
    measured = costs.measured
    monkeypatch.setattr(costs, "measured", lambda *_: threads.append(torch.get_num_threads()) or measured(*_))
    monkeypatch.setattr(trainings.os, "cpu_count", lambda: 6)
    before = torch.get_num_threads()
    with ProgressBar(shown=False) as progress:
        trainings.Trainings(out, read_plan(out), Budget(out, progress), progress, jobs=2).measured("probe", FIRST)
    assert (threads, torch.get_num_threads()) == ([3], before)


def test_encoders_of_two_pretrainings_have_folders_of_their_own():
    job = {"method": "probe", "windows": None, "epochs": 2, "seed": 0}
    names = {trainings.name_of({**job, "encoder": f"runs/{run}/best"}) for run in ("a", "b")}
    assert len(names) == 2
