"""The commands that follow hold what exists."""

import shlex
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ecgtune.cli.app import make_app
from ecgtune.cli.commands import load
from ecgtune.errors import RunError, SettingError
from ecgtune.io.label_table import TableColumns
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.records.reading import RecordFiles, RecordSettings
from ecgtune.io.windows import WindowFiles, WindowSettings
from ecgtune.workflows.auto import hand_over
from ecgtune.workflows.auto.hand_over import _shown_candidates, _trained, commands, export_note
from ecgtune.workflows.auto.plan_file import AutoPlan, value_text, write_plan


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
    assert "page" not in str(lines)
    repeated = shlex.split(lines["reproduce"][0])
    assert repeated[repeated.index("--repeat") + 1] == tmp_path.as_posix()


STATED = WindowSettings(
    **{"val_file": "val.csv", "test_file": "test.csv", "missing": ["none"], "positive": "1", "unit": "mV"},
    **{"lead_names": ["II"], "layout": "NCT", "drop_invalid": True, "limit": 90},
)
WINDOWS = WindowFiles("w.csv", label="AF", group="patient", sampling_rate=100.0, settings=STATED)
OPTIONS = {"sampling_rate": 300.0, "unit": "mV", "lead_names": ("I", "II"), "layout": "NCT", "dataset": "ecg"}
OPTIONS |= {"ignore_checksums": True, "start": 1.0, "stop": 9.0}
SIGNAL = {"window": 5.0, "step": 2.5, "short": "refuse", "band": (0.5, 40.0), "mains": 50.0, "longest_gap": 0.2}
SIGNAL |= {"sampling_rate": 100.0, "leads": ("I", "II"), "match_numbers": True, "max_skipped": 0.5, "zscore": True}
COLUMNS = TableColumns(label="AF", recording="name", patient="who", site="where", missing=("x",), positive="1")
RECORDS = RecordFiles("t.csv", "r", COLUMNS, ReadOptions(**OPTIONS), RecordSettings(**SIGNAL))


@pytest.mark.parametrize(
    "files",
    [
        WINDOWS,
        WindowFiles("w.csv", labels=("MI", "HYP")),
        RECORDS,
        replace(RECORDS, columns=TableColumns(fold="fold", val_fold=1, test_fold=2, val_file=None)),
        RecordFiles("r", "r", TableColumns(headers=True)),
    ],
)
def test_the_program_takes_every_command_as_it_is_printed(files, tmp_path):
    reading = files.plain()
    plan = AutoPlan().changed({"data.window": 5.0, "data.step": 2.5, "data.sampling_rate": 100.0, "data.leads": ("I",)})
    for name in ("model.onnx", "page.html"):
        (tmp_path / name).touch()
    found = {"kind": reading["kind"], "reading": reading, "request": reading}
    lines = [
        line for each in commands(tmp_path, found, plan, [tmp_path / "a", tmp_path / "b"]).values() for line in each
    ]
    assert len(lines) == 7
    for line in lines:
        _, name, *tokens = shlex.split(line)
        make_app(name, load(name)).parse_args([name, *tokens])  # raises for an option that the command does not have


@pytest.mark.parametrize("split", [{"fold": "f", "val_fold": 1, "test_fold": 2}, {"val_file": "v", "test_file": "t"}])
def test_another_hospital_is_evaluated_without_the_split_of_the_training(split, tmp_path):
    files = replace(RECORDS, columns=replace(COLUMNS, **split))
    reading = files.plain()
    lines = commands(tmp_path, {"kind": "records", "reading": reading, "request": reading}, AutoPlan(), [tmp_path])
    flags = {f"--{name.replace('_', '-')}" for name in split}
    words = {name: set(shlex.split(lines[name][0])) for name in ("evaluate at another hospital", "reproduce")}
    assert not flags & words["evaluate at another hospital"]
    assert flags <= words["reproduce"]
    assert {"--label", "--patient", "--recording-column", "--records"} <= words["evaluate at another hospital"]


@pytest.mark.parametrize(
    ("second", "shown"),
    [
        ({"encoder": "b"}, ["probe of a", "probe of b"]),
        ({"seed": 1}, ["probe, seed 0", "probe, seed 1"]),
        ({"title": "probe (5 windows)"}, ["probe", "probe"]),
    ],
)
def test_candidates_of_several_encoders_or_seeds_name_theirs(second, shown):
    probe = {"method": "probe", "encoder": "a", "seed": 0, "title": "probe (9 windows)"}
    rows = [probe, probe | second, probe | {"method": "scratch", "title": "scratch (9 windows)"}]
    rows = [row | {"name": str(number)} for number, row in enumerate(rows)]
    trials = [{**TRAINING, "name": row["name"], "epochs": 2, "trained_epochs": 1, "ended": True} for row in rows]
    found = _shown_candidates(rows, [*trials, {"name": "failed"}])
    assert [row["shown"] for row in found] == [*shown, "scratch"]
    assert len({row["title"] for row in found}) == 3
    assert {row["trained"] for row in found} == {"1 of 2 epochs, ended by time"}


@pytest.mark.parametrize(("rounds", "lora", "folds"), [(5, " (2 of 5 folds)", " (3 of 5 folds)"), (1, "", "")])
def test_the_answer_says_of_how_many_folds_a_score_is_the_mean(rounds, lora, folds):
    done = {"probe": 3, "full": 1, "scratch": 1, "lora": 2} if rounds > 1 else dict.fromkeys(("probe", "lora"), 1)
    trials = [
        {"name": name, "method": name, "encoder": "e", "round": number, "score": 0.8}
        for name, count in done.items()
        for number in range(count)
    ]
    trials += [{"name": "lora", "method": "lora", "encoder": "e", "round": 4, "failed": "memory ran out"}]
    others = [name for name in done if name != "probe"]
    methods = [[one["name"], one["round"]] for one in trials if one["name"] in others]
    rungs = [
        {"by": "encoder", "trials": [["probe", 0]], "rounds": rounds, "scores": {"e": 0.8}},
        {"by": "method", "trials": methods, "rounds": rounds, "scores": dict.fromkeys(others, 0.8)},
    ]
    results = {"rungs": rungs, "trials": trials}
    first = "full 0.800, scratch 0.800 (1 of 5 folds); " if rounds > 1 else ""
    one = " (1 of 5 folds)" if rounds > 1 else ""
    assert hand_over._shown_rungs(results) == [f"Probes: e 0.800{one}", f"Round 1: {first}lora 0.800{lora}"]
    assert hand_over._folds(results) == folds


def test_a_library_that_is_missing_is_told_before_the_trainings(monkeypatch):
    monkeypatch.setattr(hand_over, "find_spec", lambda name: None if name == "onnxscript" else name)
    assert export_note().startswith("model.onnx and page.html need onnxscript: pip install 'ecgtune[export]'")
    monkeypatch.setattr(hand_over, "find_spec", lambda name: name)
    assert export_note() == ""


def test_a_page_of_an_encoder_with_a_preset_has_a_remedy_of_auto(monkeypatch, tmp_path):
    monkeypatch.setattr(hand_over, "Model", lambda _: SimpleNamespace(metadata={"input": {"prepared_by_runtime": 1}}))
    with pytest.raises(SettingError, match="--encoders ecg-fm-tiny and another --out"):
        hand_over._page(tmp_path / "model.onnx", tmp_path / "page.html")


@pytest.mark.parametrize(
    ("error", "note", "again"),
    [(SettingError, "", False), (SettingError, "model.onnx needs onnx", True), (RunError, "", True)],
)
def test_another_attempt_is_advised_where_it_can_succeed(error, note, again, monkeypatch):
    monkeypatch.setattr(hand_over, "export_note", lambda: note)
    assert hand_over._problem(error("no")) == ("no; then rerun the command" if again else "no")


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
        ({"trained_epochs": 1, "ended": True}, "1 of 20 epochs, ended by time. Its scores say little; 20"),
        ({"ended": True}, "20 of 20 epochs, ended by time. Its scores say little; 20"),
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


@pytest.mark.parametrize(
    ("value", "said"), [(None, "not set"), (True, "yes"), (90.0, "90"), ((0.2, 0.5), "0.2, 0.5"), ("none", "none")]
)
def test_decisions_are_shown_as_in_the_plan(value, said):
    assert value_text(value) == said


@pytest.mark.parametrize(
    ("high", "groups", "changed", "said"),
    [
        (-0.0004, 30, {}, "shown to be worse"),
        (-0.0004, 2, {}, "not shown to help"),
        (0.0, 30, {}, "not shown to help"),
        (None, 30, {}, "not shown to help"),
        (0.1, 30, {"helps": True}, "and neither of the two is shown to be better than the other"),
        (0.1, 30, {"helps": True, "shown": True}, "shown to help"),
        (0.1, 30, {"shown": True}, "shown to help, but no time was left for its test and its files"),
    ],
)
def test_the_answer_says_what_validation_shows_about_a_mean(high, groups, changed, said):
    ensemble = {"difference": {"value": -0.03, "ci_low": -0.05, "ci_high": high}, "helps": False, **changed}
    assert hand_over._verdict({"ensemble": ensemble, "groups": groups}) == said
