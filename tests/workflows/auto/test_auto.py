"""From files to a model: a whole run, its resume after a kill, and the commands that it hands over."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import ecgtune
from ecgtune.config.auto import AutoSettings
from ecgtune.errors import RunError
from ecgtune.io.writing import write_csv
from ecgtune.utils.files import read_json
from ecgtune.workflows.auto import do
from ecgtune.workflows.auto.plan_file import read_plan
from helpers.cli import run

#: So much time that a slow machine is done sooner: two epochs are few.
SETTINGS = ["--budget", "20min", "--encoders", "ecg-fm-tiny", "--folds", "1", "--epochs", "2", "--quiet"]
FILES = [
    *("fingerprint.json", "plan.toml", "plan.md", "split.csv", "choice.json", "test.json", "curve.json", "answer.md"),
    *("next.md", "report.html", "model.onnx", "page.html", "model/README.md", "model/report.html"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A finished auto in runs/auto of a CSV file that states no rate."""
    folder = tmp_path_factory.mktemp("auto")
    write_csv(ecgtune.simulate(96, seed=1, seconds=3), folder / "windows.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(do, "_SEEDS", 2)
        run("auto", "windows.csv", *SETTINGS)
    return folder


def commands(folder: Path) -> dict[str, list[str]]:
    """The commands of next.md by their first word, as tokens."""
    lines = re.findall(r"^(ecgtune .*)$", (folder / "runs/auto/next.md").read_text(), flags=re.MULTILINE)
    return {shlex.split(line)[1] + ("-onnx" if "-onnx" in line else ""): shlex.split(line)[1:] for line in lines}


def test_it_needs_no_flag_and_writes_everything(place):
    out = place / "runs" / "auto"
    assert [name for name in FILES if not (out / name).exists()] == []
    answer = (out / "answer.md").read_text()
    assert "Assumed: the sampling rate is 100 Hz" in answer
    assert "test AUROC" in answer
    results = read_json(out / "do" / "results.json")
    assert {"probe", "lora", "full", "scratch"} <= {trial["method"] for trial in results["trials"]}
    assert 0 < read_json(out / "spent.json")["seconds"] < 1200
    assert {"points", "extrapolated"} <= read_json(out / "curve.json").keys()


def test_the_commands_that_follow_run(place, monkeypatch):
    monkeypatch.chdir(place)
    found = commands(place)
    assert set(found) == {"predict", "predict-onnx", "verify", "page", "evaluate", "auto"}
    for name in ("predict", "predict-onnx", "verify", "page", "evaluate"):
        run(*found[name])
    first, second = (
        np.genfromtxt(place / "runs/auto" / name / "predictions.csv", delimiter=",", names=True, dtype=None)
        for name in ("predictions", "predictions-onnx")
    )
    assert len(first) == len(second) == 96


@pytest.mark.slow
def test_the_command_that_reproduces_runs(place, monkeypatch):
    monkeypatch.chdir(place)
    run(*commands(place)["auto"])
    assert (place / "runs/auto-again/answer.md").is_file()


def test_a_finished_auto_is_kept_and_takes_no_other_budget(place, monkeypatch):
    monkeypatch.chdir(place)
    before = (place / "runs/auto/test.json").stat().st_mtime_ns
    with pytest.raises(RunError, match="test split was used"):
        ecgtune.auto("windows.csv", AutoSettings(budget="1h"), out="runs/auto", quiet=True)
    assert (place / "runs/auto/test.json").stat().st_mtime_ns == before


def test_a_killed_command_resumes_and_counts_the_time(tmp_path, monkeypatch):
    data = ecgtune.simulate(96, seed=1, seconds=3)
    settings = AutoSettings(budget="20min", encoders=("ecg-fm-tiny",), folds=1, epochs=2, until="do")
    trial, calls = do.run_trial, []

    def killed(*arguments):
        calls.append(arguments[1])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return trial(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(do, "run_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            ecgtune.auto(data, settings, out=tmp_path, quiet=True)
    spent = read_json(tmp_path / "spent.json")["seconds"]
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("do/*/*/result.json")}
    assert (len(done), spent > 0) == (2, True)
    ecgtune.auto(data, settings, out=tmp_path, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert read_json(tmp_path / "spent.json")["seconds"] > spent
    assert (tmp_path / "do" / "results.json").is_file()


@pytest.mark.slow
def test_trainings_at_a_time_are_those_one_after_the_other(tmp_path):
    data = ecgtune.simulate(96, seed=1, seconds=3)
    scores = []
    for jobs in (1, 2):
        out = tmp_path / str(jobs)
        settings = AutoSettings(budget="10min", encoders=("ecg-fm-tiny",), folds=1, epochs=2, until="do", jobs=jobs)
        ecgtune.auto(data, settings, out=out, quiet=True)
        trials = read_json(out / "do" / "results.json")["trials"]
        scores.append({trial["name"]: trial["score"] for trial in trials if trial["seed"] == 0})
    assert scores[0].keys() == scores[1].keys()
    assert scores[0] == pytest.approx(scores[1], abs=0.05)  # of another number of threads


def test_a_plan_does_not_change_after_its_trainings_began(tmp_path):
    data = ecgtune.simulate(96, seed=1, seconds=3)
    ecgtune.auto(data, AutoSettings(until="decide", encoders=("ecg-fm-tiny",)), out=tmp_path, quiet=True)
    file = tmp_path / "plan.toml"
    do._check_plan(tmp_path, read_plan(tmp_path))
    file.write_text(file.read_text().replace("seconds = 1800.0", "seconds = 60.0"))
    do._check_plan(tmp_path, read_plan(tmp_path))
    file.write_text(file.read_text().replace("epochs = 20", "epochs = 3"))
    with pytest.raises(RunError, match=re.escape("[training]")):
        do._check_plan(tmp_path, read_plan(tmp_path))
    assert json.loads((tmp_path / "do" / "plan.json").read_text())["training"]["epochs"] == 20
