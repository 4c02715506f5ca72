"""The commands that follow hold what exists."""

import shlex

import pytest

from ecgtune.workflows.auto import hand_over
from ecgtune.workflows.auto.hand_over import _shown_candidates, _trained, commands, export_note
from ecgtune.workflows.auto.plan_file import AutoPlan, write_plan


@pytest.mark.parametrize("exported", [True, False])
def test_commands_name_files_that_were_written_and_settings_that_are_set(exported, tmp_path):
    reading = {"kind": "windows", "path": "windows.csv", "sampling_rate": 100.0}
    found, plan = {"kind": "windows", "reading": reading, "request": reading}, AutoPlan()
    write_plan(tmp_path, plan, {})
    if exported:
        (tmp_path / "model.onnx").touch()
    lines = commands(tmp_path, found, plan, [tmp_path / "model"])
    assert {"predict", "evaluate at another hospital", "reproduce"} <= lines.keys()
    assert ("model.onnx" in str(lines)) == exported
    repeated = shlex.split(lines["reproduce"][0])
    assert repeated[repeated.index("--repeat") + 1] == tmp_path.as_posix()


@pytest.mark.parametrize(("second", "shown"), [("a", ["probe", "probe"]), ("b", ["probe of a", "probe of b"])])
def test_candidates_of_several_encoders_name_theirs(second, shown):
    rows = [{"method": "probe", "encoder": name, "title": "probe (9 windows)"} for name in ("a", second)]
    found = _shown_candidates([*rows, {"method": "scratch", "encoder": "a", "title": "scratch (9 windows)"}])
    assert [row["shown"] for row in found] == [*shown, "scratch"]
    assert found[1]["title"] == f"{shown[1]} (9 windows)"


def test_a_library_that_is_missing_is_told_before_the_trainings(monkeypatch):
    monkeypatch.setattr(hand_over, "find_spec", lambda name: None if name == "onnxscript" else name)
    assert export_note().startswith("model.onnx and page.html need onnxscript: pip install 'ecgtune[export]'")
    monkeypatch.setattr(hand_over, "find_spec", lambda name: name)
    assert export_note() == ""


TRAINING = {"score": 0.9, "windows": None, "train_windows": 3000, "epochs": 20, "trained_epochs": 20, "ended": False}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "**full**: all 3,000 training windows, 20 epochs."),
        (
            {"epochs": 4, "trained_epochs": 4},
            "4 epochs; 20 epochs of all windows take about 100 s on this machine.",
        ),
        ({"windows": 2900, "train_windows": 2900}, "**full**: 2,900 of 3,000 training windows, 20 epochs."),
        ({"windows": 64, "train_windows": 64}, "64 of 3,000 training windows, 20 epochs. Its scores say little; 20"),
        ({"trained_epochs": 1, "ended": True}, "1 epoch, ended by time. Its scores say little; 20 epochs of all"),
    ],
)
def test_the_answer_says_how_well_each_method_was_trained(change, said):
    small = {**TRAINING, "method": "full", "windows": 8, "train_windows": 8}
    trials = [small, {**TRAINING, "method": "full", **change}, {"method": "lora", "failed": "it takes other windows"}]
    (sentence,) = _trained({"trials": trials, "training": 3000, "whole": {"full": 100.0}}, AutoPlan())
    assert said in sentence


@pytest.mark.parametrize(
    ("members", "runs", "of", "what", "averaged"),
    [
        (["a"], 1, None, "probe (9 windows)", ""),
        (["a"], 1, "methods", "probe (9 windows)", "probe (9 windows) and lora (9 windows)"),
        (["a", "b"], 2, "methods", "Mean of 2 trainings (probe (9 windows) and lora (9 windows))", None),
        (["a"], 5, "folds", "Mean of 5 trainings (probe (9 windows))", "folds"),
        (["a", "c"], 2, "seeds", "Mean of 2 trainings (probe (9 windows))", "seeds"),
    ],
)
def test_the_headline_names_every_method_of_a_mean(members, runs, of, what, averaged):
    titles = {"a": "probe (9 windows)", "b": "lora (9 windows)", "c": "probe (9 windows)"}
    candidates = [{"name": name, "title": title} for name, title in titles.items()]
    ensemble = None if of is None else {"of": of, "members": ["a", "b"] if of == "methods" else members}
    choice = {"candidates": candidates, "members": members, "runs": ["run"] * runs, "ensemble": ensemble}
    assert hand_over._what(choice) == what
    if averaged is not None:
        assert hand_over._averaged(choice) == averaged
