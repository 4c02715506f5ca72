"""The sweep: equal trials, validation alone, going on where it was, refusing what is another sweep."""

import csv
import json
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

import ecgtune
from ecgtune.config.space import Around, Choice
from ecgtune.data.splits import draw_split
from ecgtune.errors import DataError, DivergedError, RunError, SettingError
from ecgtune.recipes.recipe import load_recipes, recipe_text
from ecgtune.recipes.space import space_of
from ecgtune.utils.locks import exclusive
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.sweep import runner as runner_module
from ecgtune.workflows.sweep.runner import TrialResult, TrialRunner
from ecgtune.workflows.sweep.studies import STARTUP, Studies, Variant
from helpers.settings import changed
from hostile.sweeps import journal_of_several

DATA = ecgtune.simulate(90, seed=1, seconds=3)
SPACE = {
    "all": {"optimisation.learning_rate": Around(10)},
    "lora": {"method.rank": Choice((1, 2)), "method.dropout": None},
}
TIMES = {"seconds"}


@pytest.fixture(scope="module")
def recipes(encoder):
    def chosen(names="lora,probe", **training):
        settings = {"epochs": 2, "batch_size": 32, "device": "cpu", **training}
        loaded = [recipe for name in names.split(",") for recipe in load_recipes(name)]
        return [changed(replace(recipe, model=replace(recipe.model, name=encoder)), **settings) for recipe in loaded]

    return chosen


def sweep(out, recipes, trials=3, data=DATA, *, seed=0, **settings):
    return ecgtune.sweep(data, recipes, ecgtune.SweepSettings(trials, SPACE, **settings), out=out, seed=seed)


def rows(folder, without=TIMES):
    with (folder / "trials.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in without} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def swept(tmp_path_factory, recipes):
    folder = tmp_path_factory.mktemp("sweep") / "both"
    return folder, sweep(folder, recipes())


def test_every_method_gets_as_many_trials_and_the_first_is_the_recipe(swept, recipes):
    folder, _ = swept
    told = rows(folder)
    assert [(row["method"], row["trial"]) for row in told] == [(m, str(t)) for m in ("lora", "probe") for t in range(3)]
    for recipe in recipes():
        first = next(row for row in told if row["method"] == recipe.name)
        assert float(first["optimisation.learning_rate"]) == recipe.optimisation.learning_rate
        assert float(first["optimisation.weight_decay"]) == recipe.optimisation.weight_decay
    assert {row["method.rank"] for row in told if row["method"] == "lora"} <= {"3", "1", "2"}
    assert {row["method.rank"] for row in told if row["method"] == "probe"} == {""}
    assert len({row["optimisation.learning_rate"] for row in told}) == 6
    assert all(row["state"] == "finished" and row["epochs"] == "2" for row in told)


def test_the_folder(swept):
    folder, best = swept
    found = {path.name for path in folder.iterdir()}
    assert found == {"sweep.db", "sweep.json", "trials.csv", "best", "figures", "report.html"}
    assert best == {name: folder / "best" / f"{name}.toml" for name in ("lora", "probe")}
    settings = json.loads((folder / "sweep.json").read_text())
    assert settings["trials"] == 3
    assert settings["split"]["counts"]["test"]["windows"] == 0


def test_the_best_file_is_the_best_trial_as_a_recipe(swept, tmp_path):
    folder, best = swept
    for name, file in best.items():
        told = [row for row in rows(folder) if row["method"] == name]
        top = max(told, key=lambda row: float(row["val_auroc"]))
        (recipe,) = load_recipes(str(file))
        assert recipe.name == name
        assert recipe.optimisation.learning_rate == float(top["optimisation.learning_rate"])
        assert recipe.optimisation.weight_decay == float(top["optimisation.weight_decay"])
    run = ecgtune.fine_tune(DATA, load_recipes(str(best["lora"]))[0], out=tmp_path / "run")
    log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    top = max((row for row in rows(folder) if row["method"] == "lora"), key=lambda row: float(row["val_auroc"]))
    assert max(row["val_auroc"] for row in log) == float(top["val_auroc"])  # the trial is the training, to the bit


def test_the_test_windows_are_never_looked_at(swept, recipes, tmp_path):
    folder, _ = swept
    test = draw_split(DATA, ecgtune.DataSettings()).test
    signal, label = DATA.signal.copy(), DATA.label.copy()
    signal[test] = np.nan  # preprocessing refuses this wherever it comes by
    poisoned = replace(DATA, signal=signal)
    with pytest.raises(DataError):
        ecgtune.compare(
            poisoned, recipes("probe"), ecgtune.CompareSettings(seeds=1, baselines=False), out=tmp_path / "never"
        )
    sweep(tmp_path / "poisoned", recipes(), data=poisoned)
    assert rows(tmp_path / "poisoned") == rows(folder)
    runner = TrialRunner(DATA, draw_split(DATA, ecgtune.DataSettings()))
    held = set(map(bytes, runner.dataset.signal))
    assert not held & set(map(bytes, DATA.signal[test]))
    assert len(runner.split.test) == 0
    assert len(runner.dataset) == len(label) - len(test)


def test_a_finished_sweep_adds_nothing_and_more_trials_are_added(swept, recipes, tmp_path, monkeypatch):
    folder = shutil.copytree(swept[0], tmp_path / "copy")
    before = rows(folder)
    monkeypatch.setattr(TrialRunner, "run", lambda *_: pytest.fail("a finished trial was run again"))
    assert sweep(folder, recipes()).keys() == {"lora", "probe"}
    assert rows(folder, ()) == rows(swept[0], ())
    monkeypatch.undo()
    sweep(folder, recipes(), trials=4)
    assert [row for row in rows(folder) if row["trial"] != "3"] == before
    assert len(rows(folder)) == 8


def test_a_stopped_sweep_ends_as_one_that_never_was(swept, recipes, tmp_path, monkeypatch):
    run, left = TrialRunner.run, [3]

    def stop(self, *arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return run(self, *arguments)

    monkeypatch.setattr(TrialRunner, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / "stopped", recipes())
    monkeypatch.undo()
    assert [(row["method"], row["trial"]) for row in rows(tmp_path / "stopped")] == [
        ("lora", "0"), ("lora", "1"), ("probe", "0"),
    ]  # fmt: skip
    sweep(tmp_path / "stopped", recipes())
    assert rows(tmp_path / "stopped") == rows(swept[0])


KILLED = """
import os, signal, sys
sys.path[:0] = [{tests!r}]
from workflows.test_sweep import *
from ecgtune.workflows.sweep.runner import TrialRunner
run, left = TrialRunner.run, [1]
def stop(self, *arguments):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return run(self, *arguments)
TrialRunner.run = stop
sweep({out!r}, load_recipes({recipe!r}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_after_a_kill_the_running_trial_is_run_again(swept, recipes, tmp_path):
    (probe,) = recipes("probe")
    (tmp_path / "probe.toml").write_text(recipe_text(probe))
    tests = str(Path(__file__).resolve().parents[1])
    code = KILLED.format(tests=tests, recipe=str(tmp_path / "probe.toml"), out=str(tmp_path / "killed"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    sweep(tmp_path / "killed", [probe])
    told = [row for row in rows(swept[0]) if row["method"] == "probe"]
    assert rows(tmp_path / "killed") == [{k: v for k, v in row.items() if k != "method.rank"} for row in told]
    study = optuna.load_study(study_name="probe", storage=f"sqlite:///{tmp_path / 'killed' / 'sweep.db'}")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


def test_methods_can_be_added_with_as_many_trials(swept, recipes, tmp_path):
    folder = shutil.copytree(swept[0], tmp_path / "copy")
    with pytest.raises(RunError, match=r"also holds 3 trials of lora, probe; name all methods"):
        sweep(folder, recipes("norm-bias"), trials=4)
    sweep(folder, recipes("norm-bias"))
    assert [row for row in rows(folder) if row["method"] != "norm-bias"] == rows(swept[0])
    assert len(rows(folder)) == 9
    assert {path.stem for path in (folder / "best").iterdir()} == {"lora", "probe", "norm-bias"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"trials": 2}, "give --trials 3 or more"),
        ({"data": ecgtune.simulate(90, seed=2, seconds=3)}, "data was"),
        ({"data": replace(DATA, label=1 - DATA.label)}, "windows_sha256 was"),
        ({"training": {"epochs": 3}}, r"optimisation\.epochs was 2, now 3 in lora"),
        ({"fixed": ["optimisation.weight_decay"]}, r"the space of optimisation\.weight_decay in lora was"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_another_sweep_in_the_folder_is_refused(swept, recipes, tmp_path, change, message):
    folder = shutil.copytree(swept[0], tmp_path / "copy")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    options = {key: value for key, value in change.items() if key != "training"}
    with pytest.raises(RunError, match=message):
        sweep(folder, recipes(**change.get("training", {})), **options)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_folders_that_hold_something_else(recipes, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="is a file"):
        sweep(tmp_path / "file", recipes())
    with pytest.raises(RunError, match="not empty and holds no sweep"):
        sweep(tmp_path, recipes())
    with pytest.raises(SettingError, match="sqlite cannot open"):
        sweep(tmp_path / "caf\udce9", recipes())
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / ".lock").touch()  # of a sweep that was killed before it wrote anything
    assert sweep(tmp_path / "begun", recipes("probe"), trials=1).keys() == {"probe"}


def test_a_damaged_database_is_told_and_two_sweeps_keep_apart(swept, recipes, tmp_path):
    folder = shutil.copytree(swept[0], tmp_path / "copy")
    with exclusive(folder, "ecgtune sweep"), pytest.raises(RunError, match="is in use by process"):
        sweep(folder, recipes())
    (folder / "sweep.db").write_bytes(b"no database" * 100)
    with pytest.raises(RunError, match=r"sweep\.db cannot be read"):
        sweep(folder, recipes())


def spaces_of(variants):
    return {name: variant.space for name, variant in variants.items()}


def test_a_journal_deletes_no_file(swept, recipes, tmp_path):
    folder, victim = shutil.copytree(swept[0], tmp_path / "copy"), tmp_path / "victim"
    victim.write_bytes(b"mine\0")
    (folder / "sweep.db-journal").write_bytes(journal_of_several(victim))
    with pytest.raises(RunError, match=r"sweep\.db-journal cannot be read"):
        sweep(folder, recipes())
    assert victim.is_file()


HOT = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN")
database.execute("UPDATE trial_user_attributes SET value_json = '7'")
database.execute("CREATE TABLE t AS WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 99999)"
                 " SELECT n FROM c")
os._exit(0)
"""


def test_a_write_that_a_kill_cut_is_undone(swept, recipes, tmp_path, monkeypatch):
    folder = shutil.copytree(swept[0], tmp_path / "copy")
    subprocess.run([sys.executable, "-c", HOT, folder / "sweep.db"], check=True)
    assert (folder / "sweep.db-journal").is_file()
    assert (folder / "sweep.db").read_bytes() != (swept[0] / "sweep.db").read_bytes()
    monkeypatch.setattr(TrialRunner, "run", lambda *_: pytest.fail("a finished trial was run again"))
    sweep(folder, recipes())
    assert rows(folder, ()) == rows(swept[0], ())


@pytest.mark.parametrize("tables", [0, 1, 5, 12])
def test_a_database_that_a_kill_left_unfinished_is_finished(swept, recipes, tmp_path, tables):
    variants = {recipe.name: Variant(recipe, space_of(recipe)) for recipe in recipes()}
    with sqlite3.connect(swept[0] / "sweep.db") as whole, sqlite3.connect(tmp_path / "sweep.db") as begun:
        for (text,) in whole.execute("SELECT sql FROM sqlite_master WHERE type = 'table'").fetchall()[:tables]:
            begun.execute(text)
    studies = Studies(tmp_path / "sweep.db", variants, spaces=spaces_of(variants), trials=2, seed=0)
    assert studies.next().index == 0
    again = Studies(tmp_path / "sweep.db", variants, spaces=spaces_of(variants), trials=2, seed=0)
    assert again.next().index == 0  # the trial that was begun is repeated
    for _ in range(2):
        Studies(tmp_path / "sweep.db", variants, spaces=spaces_of(variants), trials=2, seed=0)


def test_rows_of_earlier_methods_are_checked_too(swept, recipes, tmp_path):
    folder = shutil.copytree(swept[0], tmp_path / "copy")
    with sqlite3.connect(folder / "sweep.db") as database:
        database.execute("UPDATE trial_params SET param_value = 9 WHERE param_name = 'optimisation.learning_rate'")
    with pytest.raises(RunError, match=r"sweep\.db, trial 0 of (lora|probe): optimisation\.learning_rate is '9.0'"):
        sweep(folder, recipes("norm-bias"))


@pytest.mark.parametrize("error", [DivergedError("no number"), DataError("probability 0 is nan")], ids=type)
def test_a_trial_that_diverges_is_counted_and_told(recipes, tmp_path, monkeypatch, error):
    fit, turn = runner_module.fit, [0]

    def diverge(run, progress):
        turn[0] += 1
        if turn[0] > 1:
            raise error
        return fit(run, progress)

    monkeypatch.setattr(runner_module, "fit", diverge)
    best = sweep(tmp_path, recipes("probe"))
    told = rows(tmp_path)
    assert [row["state"] for row in told] == ["finished", "diverged", "diverged"]
    assert [row["val_auroc"] for row in told[1:]] == ["", ""]
    assert (
        load_recipes(str(best["probe"]))[0].optimisation.learning_rate == recipes("probe")[0].optimisation.learning_rate
    )
    assert "<td>2</td>" in (tmp_path / "report.html").read_text()


def test_when_all_diverge_there_is_no_best_and_a_report_all_the_same(recipes, tmp_path, monkeypatch):
    def diverge(run, progress):
        raise DivergedError("no number")

    monkeypatch.setattr(runner_module, "fit", diverge)
    assert sweep(tmp_path, recipes("probe")) == {}
    assert "Every trial diverged" in (tmp_path / "report.html").read_text()


def test_a_mistake_in_the_last_method_is_told_before_anything_is_written(recipes, tmp_path):
    late = recipes("oft")[0]
    with pytest.raises(SettingError):
        ecgtune.sweep(
            DATA,
            [*recipes(), late],
            ecgtune.SweepSettings(space={"oft": {"method.block": Choice((7,))}}),
            out=tmp_path / "never",
        )
    for options, message in [({"trials": 0}, "trials is 0"), ({"seed": -1}, "seed is -1")]:
        with pytest.raises(SettingError, match=message):
            sweep(tmp_path / "never", recipes(), **options)
    with pytest.raises(SettingError, match="same name"):
        sweep(tmp_path / "never", recipes("probe,probe"))
    other = replace(late, data=replace(late.data, split_seed=1))
    with pytest.raises(SettingError, match="different splits"):
        sweep(tmp_path / "never", [*recipes(), other])
    assert not (tmp_path / "never").exists()


def test_the_bar_counts_what_is_left(recipes, tmp_path, monkeypatch):
    expected, advanced = [], []
    monkeypatch.setattr(ProgressBar, "expect", lambda self, units: expected.append(units))
    monkeypatch.setattr(ProgressBar, "advance", lambda self, units: advanced.append(units))
    sweep(tmp_path, recipes("probe"), trials=2)
    assert 0 < sum(expected) == pytest.approx(sum(advanced))
    sweep(tmp_path, recipes("probe"), trials=2)
    assert expected[1:] == [0]


@pytest.mark.slow
def test_trials_are_a_function_of_the_seed_and_later_of_what_was_found(recipes, tmp_path):
    def tried(file, seed, score):
        variant = Variant(recipes("probe")[0], space_of(recipes("probe")[0]))
        studies = Studies(
            tmp_path / file, {"probe": variant}, spaces={"probe": variant.space}, trials=STARTUP + 2, seed=seed
        )
        values = []
        while job := studies.next():
            values.append(job.values["optimisation.learning_rate"])
            studies.tell(job, TrialResult("finished", val_auroc=score(np.log10(values[-1]))))
        return values

    rising, again = tried("a.db", 0, lambda rate: rate), tried("b.db", 0, lambda rate: rate)
    falling, other = tried("c.db", 0, lambda rate: -rate), tried("d.db", 1, lambda rate: rate)
    assert rising == again
    assert rising[:STARTUP] == falling[:STARTUP]
    assert rising[STARTUP:] != falling[STARTUP:]
    assert rising[0] == other[0]
    assert not set(rising[1:]) & set(other[1:])


def test_an_index_that_is_given_up_is_begun_again(recipes, tmp_path):
    variants = {recipe.name: Variant(recipe, space_of(recipe)) for recipe in recipes()}
    studies = Studies(tmp_path / "sweep.db", variants, spaces=spaces_of(variants), trials=2, seed=0)
    first, second = studies.next(), studies.next()
    assert (first.variant, first.index, second.variant) == ("lora", 0, "probe")
    third = studies.next()
    assert (third.variant, third.index) == ("lora", 1)
    studies.mark_failed(first)
    again = studies.next()
    assert (again.variant, again.index, again.values) == ("lora", 0, first.values)
    studies.tell(again, TrialResult("finished", val_auroc=0.5))
    assert [row["trial"] for row in studies.rows("lora")] == [0]
    assert studies.left == {"lora": 0, "probe": 1}
    assert studies.next().variant == "probe"
    assert studies.next() is None


def test_ray_runs_the_same_trials(swept, recipes, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'ecgtune[ray]'")
    sweep(tmp_path / "ray", recipes(), trials=2, backend="ray")
    first = [row for row in rows(swept[0]) if row["trial"] in "01"]
    assert rows(tmp_path / "ray") == first  # before the sampler learns, order does not matter


@pytest.mark.parametrize("library", ["optuna", "ray"])
def test_a_missing_library_is_told_with_what_to_install(recipes, tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SettingError, match=r"pip install 'ecgtune\[(sweep|ray)\]'"):
        sweep(tmp_path / "out", recipes("probe"), backend="ray" if library == "ray" else "local")
    assert not (tmp_path / "out").exists()


@contextmanager
def few_pages(file):
    """Let databases have no more pages; sqlite reports a full disk."""
    from sqlalchemy import Engine, event

    def full(connection, _):
        if connection.execute("PRAGMA database_list").fetchone()[2]:  # it is a file
            connection.execute("PRAGMA max_page_count = 1")  # of pages that the file has not yet

    event.listen(Engine, "connect", full)
    try:
        yield
    finally:
        event.remove(Engine, "connect", full)


@contextmanager
def small_files(file):
    """Let no file grow beyond the size of `file`; sqlite reports that as an I/O error, as a full disk at an fsync."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("full", "reason"),
    [(few_pages, "No space left on device"), (small_files, "disk I/O error; perhaps: No space left on device")],
)
def test_a_full_disk_is_one_line(recipes, tmp_path, full, reason):
    variants = {recipe.name: Variant(recipe, space_of(recipe)) for recipe in recipes("probe")}
    file = tmp_path / "sweep.db"

    def opened():
        return Studies(file, variants, spaces=spaces_of(variants), trials=300, seed=0)

    def all_trials(studies):
        while job := studies.next():
            studies.tell(job, TrialResult("finished", val_auroc=0.5))

    kept = opened()
    with full(file), pytest.raises(RunError, match=rf"sweep\.db cannot be written \({reason}\); free some space"):
        all_trials(opened())
    assert len(kept.rows("probe")) >= 1


def test_a_database_that_another_program_holds_is_kept(recipes, tmp_path):
    variants = {recipe.name: Variant(recipe, space_of(recipe)) for recipe in recipes("probe")}
    arguments = (tmp_path / "sweep.db", variants)
    Studies(*arguments, spaces=spaces_of(variants), trials=3, seed=0)
    with sqlite3.connect(tmp_path / "sweep.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RunError, match=r"used by another program \(database is locked\); close that program"):
            Studies(*arguments, spaces=spaces_of(variants), trials=3, seed=0)
    Studies(*arguments, spaces=spaces_of(variants), trials=3, seed=0)


def test_a_disk_without_room_for_a_trial_is_told_before_anything_is_written(tmp_path, recipes, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**4))
    with pytest.raises(RunError, match=r"its disk has 10\.0 kB free, but about [\d.]+ [kM]B are needed"):
        sweep(tmp_path / "out", recipes())
    assert not (tmp_path / "out").exists()
