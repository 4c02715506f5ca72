"""From files to a model: a whole run, its resume after a kill, and the commands that it hands over."""

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ecgtune
import ecgtune.runtime
from ecgtune.config.auto import AutoSettings
from ecgtune.errors import RunError
from ecgtune.io.writing import write_csv
from ecgtune.utils.files import json_value, write_json
from ecgtune.workflows import cases
from ecgtune.workflows.auto import auto, do, hand_over, trainings
from ecgtune.workflows.auto.plan_file import begin, read_plan
from ecgtune.workflows.auto.trial import material_of
from ecgtune.workflows.auto.validation import Validation
from helpers.auto import choice
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


@pytest.mark.slow
def test_it_needs_no_flag_and_writes_everything(place):
    out = place / "runs" / "auto"
    assert [name for name in FILES if not (out / name).exists()] == []
    answer = (out / "answer.md").read_text()
    assert "Assumed: the sampling rate is 100 Hz" in answer
    assert "test AUROC" in answer
    results = json_value(out / "do" / "results.json")
    assert {"probe", "lora", "full", "scratch"} <= {trial["method"] for trial in results["trials"]}
    assert 0 < json_value(out / "spent.json")["seconds"] < 1200
    assert {"points", "extrapolated"} <= json_value(out / "curve.json").keys()


@pytest.mark.slow
def test_the_commands_that_follow_run(place, monkeypatch):
    monkeypatch.chdir(place)
    found = commands(place)
    assert set(found) == {"predict", "predict-onnx", "verify", "serve", "page", "evaluate", "auto"}
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
    first, again = place / "runs/auto", place / "runs/auto-again"
    assert json_value(again / "test.json") == json_value(first / "test.json")
    for name in ("split.csv", "model/predictions.csv"):
        assert (again / name).read_bytes() == (first / name).read_bytes()


@pytest.mark.slow
def test_a_finished_auto_is_kept_and_takes_no_other_budget(place, monkeypatch):
    monkeypatch.chdir(place)
    before = (place / "runs/auto/test.json").stat().st_mtime_ns
    with pytest.raises(RunError, match="test split was used"):
        ecgtune.auto("windows.csv", AutoSettings(budget="1h"), out="runs/auto")
    assert (place / "runs/auto/test.json").stat().st_mtime_ns == before


def test_a_killed_command_resumes_counts_the_time_and_can_be_repeated(tmp_path, monkeypatch):
    """The whole path without exports, which take most of the time, and with the fewest methods."""
    data, out = ecgtune.simulate(96, seed=1, seconds=3), tmp_path / "out"
    settings = AutoSettings(budget="20min", encoders=("ecg-fm-tiny",), methods=("full",), folds=1, epochs=2)
    trial, calls = trainings.run_trial, []

    def killed(*arguments):
        calls.append(arguments[1])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return trial(*arguments)

    def interrupted(*_):
        raise KeyboardInterrupt

    def without(*_):
        raise RunError("the extra is not installed")

    monkeypatch.setattr(do, "_SEEDS", 1)
    monkeypatch.setattr(hand_over, "export", without)
    monkeypatch.setattr(hand_over, "page", without)
    with monkeypatch.context() as patch:
        patch.setattr(trainings, "run_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            ecgtune.auto(data, settings, out=out)
    spent = json_value(out / "spent.json")["seconds"]
    done = {path: path.stat().st_mtime_ns for path in out.glob("do/*/*/result.json")}
    assert (len(done), spent > 0) == (2, True)
    with monkeypatch.context() as patch:  # and once more between the cases and the reports that show them
        patch.setattr(cases, "write_run_report", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ecgtune.auto(data, settings, out=out)
    assert "test AUROC" in (out / "answer.md").read_text()
    assert "Electrocardiogram" not in (out / "report.html").read_text()
    answer = ecgtune.auto(data, settings, out=out)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert json_value(out / "spent.json")["seconds"] > spent
    assert {trial["method"] for trial in json_value(out / "do/results.json")["trials"]} == {
        *("probe", "full", "scratch")
    }
    assert answer == tmp_path / "out" / "answer.md"
    assert "model.onnx was not written: `the extra is not installed; then rerun the command`" in answer.read_text()
    assert "page.html was not written: `it is made of model.onnx`" in answer.read_text()
    assert json_value(out / "test.json")["runs"] == ["model"]

    again = tmp_path / "again"
    ecgtune.auto(data, AutoSettings(repeat=out), out=again)
    assert json_value(again / "test.json") == json_value(out / "test.json")
    scores = [
        [(trial["name"], trial["score"]) for trial in json_value(folder / "do/results.json")["trials"]]
        for folder in (out, again)
    ]
    assert scores[0] == scores[1]
    shown = [sorted(file for file in (folder / "model/cases").iterdir()) for folder in (out, again)]
    assert [file.read_bytes() for file in shown[0]] == [file.read_bytes() for file in shown[1]]
    for name in ("report.html", "model/report.html"):
        pages = [(folder / name).read_text().count('aria-label="Electrocardiogram') for folder in (out, again)]
        assert pages[0] == pages[1] == len(shown[0]) - 1  # and cases.json


@pytest.mark.slow
def test_trainings_at_a_time_are_those_one_after_the_other(tmp_path):
    data = ecgtune.simulate(96, seed=1, seconds=3)
    scores = []
    for jobs in (1, 2):
        out = tmp_path / str(jobs)
        settings = AutoSettings(budget="10min", encoders=("ecg-fm-tiny",), folds=1, epochs=2, until="do", jobs=jobs)
        ecgtune.auto(data, settings, out=out)
        trials = json_value(out / "do" / "results.json")["trials"]
        scores.append({trial["name"]: trial["score"] for trial in trials if trial["seed"] == 0})
    assert scores[0].keys() == scores[1].keys()
    assert scores[0] == pytest.approx(scores[1], abs=0.05)  # of another number of threads


def test_a_plan_does_not_change_after_its_trainings_began(tmp_path):
    data, decided = ecgtune.simulate(96, seed=1, seconds=3), AutoSettings(until="decide", encoders=("ecg-fm-tiny",))
    ecgtune.auto(data, decided, out=tmp_path)
    begin(tmp_path, read_plan(tmp_path))
    ecgtune.auto(data, replace(decided, budget="60s"), out=tmp_path)
    before = (tmp_path / "plan.toml").read_text()
    assert "seconds = 60.0" in before
    with pytest.raises(RunError, match=re.escape("[training]")):
        ecgtune.auto(data, replace(decided, epochs=3), out=tmp_path)
    assert (tmp_path / "plan.toml").read_text() == before  # so that the command without the flag resumes
    ecgtune.auto(data, decided, out=tmp_path)


def test_an_edited_budget_is_refused_once_the_model_is_chosen(tmp_path):
    data, decided = ecgtune.simulate(96, seed=1, seconds=3), AutoSettings(until="decide", encoders=("ecg-fm-tiny",))
    ecgtune.auto(data, decided, out=tmp_path)
    begin(tmp_path, read_plan(tmp_path))
    write_json(tmp_path / "choice.json", choice())
    ecgtune.auto(data, decided, out=tmp_path)
    with pytest.raises(RunError, match="changed after its trainings began; choose another --out"):
        ecgtune.auto(data, replace(decided, epochs=3), out=tmp_path)
    file = tmp_path / "plan.toml"
    file.write_text(file.read_text().replace("seconds = 1800.0", "seconds = 3600.0"))
    with pytest.raises(RunError, match="was chosen with a budget of"):
        ecgtune.auto(data, decided, out=tmp_path)
    shutil.rmtree(tmp_path / "do")
    with pytest.raises(RunError, match=r"its trainings in .*do are gone; choose another --out"):
        ecgtune.auto(data, decided, out=tmp_path)


def test_the_command_names_the_result_of_the_last_step(tmp_path, monkeypatch, capsys):
    write_csv(ecgtune.simulate(60, seed=1, seconds=3), tmp_path / "windows.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(auto, "do", lambda *_: None)
    for step, result in (("look", "fingerprint.json"), ("decide", "plan.md"), ("do", "do/results.json")):
        run("auto", "windows.csv", "--until", step, "--quiet")
        assert f"runs/auto/{result}" in capsys.readouterr().out


def test_the_next_auto_in_a_folder_reads_its_own_files(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(auto, "do", lambda out, plan, *_: read.append(len(material_of(out, plan).dataset)))
    settings = AutoSettings(until="do", encoders=("ecg-fm-tiny",), folds=1)
    for windows in (96, 104):
        ecgtune.auto(ecgtune.simulate(windows, seed=1, seconds=3), settings, out=tmp_path / "out")
        shutil.rmtree(tmp_path / "out")
    assert read == [96, 104]


def test_a_folder_of_another_result_is_refused(tmp_path):
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(RunError, match="holds a run"):
        ecgtune.auto(ecgtune.simulate(96, seed=1, seconds=3), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


@pytest.mark.slow
def test_the_exported_file_holds_the_whole_ensemble(tmp_path, monkeypatch):
    monkeypatch.setattr(Validation, "shows", lambda *_: True)
    settings = AutoSettings(budget="20min", encoders=("ecg-fm-tiny",), methods=("full",), folds=1, epochs=2)
    data, out = ecgtune.simulate(96, seed=1, seconds=3), tmp_path / "out"
    ecgtune.auto(data, settings, out=out)
    folders = [out / name for name in json_value(out / "test.json")["runs"]]
    assert len(folders) > 1
    model = ecgtune.runtime.Model(out / "model.onnx")
    assert len(model.metadata["members"]) == len(folders)
    mean = ecgtune.load_run(folders).predict(data.signal, precision="fp32")
    np.testing.assert_allclose(model.predict(data.signal), mean, rtol=0, atol=1e-5)
    assert f"holds the {len(folders)} trainings" in (out / "answer.md").read_text()
