"""The cost of a comparison: the clock, the arithmetic, dry runs, and a plan of them."""

import pickle
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ecgtune
from ecgtune.cli.main import main
from ecgtune.data.splits import draw_split
from ecgtune.errors import CheckpointError, DataError, SettingError
from ecgtune.io.writing import write_csv
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.recipes.recipe import load_recipes
from ecgtune.workflows import dry_run as dry
from ecgtune.workflows.dry_run import Clock, DryRun, Timing, measure, sample
from ecgtune.workflows.plan import Plan, estimate
from helpers.cli import refused
from helpers.models import TINY
from helpers.settings import changed

DATA = ecgtune.simulate(120, seed=1, seconds=3)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    folder.mkdir()
    save_encoder(EcgFM(TINY), folder, {})
    return str(folder)


def recipe(name, model, **settings):
    (found,) = load_recipes(name)
    found = replace(found, model=replace(found.model, name=model))
    return changed(found, **{"epochs": 2, "batch_size": 16, "device": "cpu", **settings})


TIMING = Timing(2.0, [9.0, 9.0, 0.5, 0.5], [1.5, 1.5])
FOUND = DryRun(
    windows=(48, 10, 10), start=3.0, forward=0.1, trainings=(TIMING,), finish=6.0, peak=1000, file=50, folder=90,
    state=300, cached=0, window=20,
)  # fmt: skip


def test_the_clock_times_what_the_loop_does_between_its_hooks(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(dry.time, "monotonic", lambda: now[0])
    clock = Clock()

    def after(seconds, hook, *values):
        now[0] += seconds
        hook(*values)

    after(5.0, clock.on_train_begin, 0, 6)
    for steps, end in (([9.0, 8.0, 1.0], 4.0), ([1.0, 2.0, 3.0], 6.0)):
        for step in steps:
            after(step, clock.on_step_end, 0)
        after(end, clock.on_epoch_end, {}, "an epoch")
    now[0] += 7.0
    clock.on_train_end(0)
    assert clock.lap() == 7.0
    (timing,) = clock.trainings
    assert timing == Timing(5.0, [9.0, 8.0, 1.0, 1.0, 2.0, 3.0], [4.0, 6.0])
    assert timing.step == 1.5  # the first two steps are audited


@pytest.mark.parametrize(
    ("found", "settings", "seconds"),
    [
        # 3 epochs of 5.25 steps, 1.5 and 8 windows more at their end; 16 windows more are predicted at the end
        (FOUND, {}, 3 + 2 + 3 * (5.25 * 0.5 + 1.5 + 0.8) + 6 + 1.6),
        # 44 windows more go through the frozen prefix before the first step
        (replace(FOUND, cached=7), {}, 3 + 2 + 2 / 58 * 44 + 3 * (5.25 * 0.5 + 1.5 + 0.8) + 6 + 1.6),
        # validation of features takes 1 ms a window
        (
            replace(FOUND, trainings=(replace(TIMING, ends=[0.01, 0.01]),)),
            {},
            3 + 2 + 3 * (5.25 * 0.5 + 0.018) + 6 + 1.6,
        ),
        # the head alone trains first
        (
            replace(FOUND, trainings=(Timing(1.0, [0.25], [0.5]), TIMING)),
            {"head_epochs": 5},
            3 + 1 + 5 * (5.25 * 0.25 + 0.9) + 2 + 3 * (5.25 * 0.5 + 2.3) + 6 + 1.6,
        ),
    ],
)
def test_seconds_are_those_of_steps_validation_and_what_is_around_them(found, settings, seconds):
    split = draw_split(DATA, ecgtune.DataSettings())
    split = replace(split, train=split.train[:84], val=np.arange(18), test=np.arange(18))
    variant = recipe("lora", "ecg-fm-tiny", epochs=3, **settings)
    one = estimate(variant, found, split, seeds=2)
    assert one.seconds == pytest.approx(2 * seconds)
    assert one.seconds_per_step == 0.5
    assert one.peak_memory_bytes == 1000 + 52 * 20
    assert one.file_bytes == 50
    assert one.disk_bytes == 2 * (90 + 120 * 60) + 2 * 300 + found.cached * 102 // 58
    assert one.problem == ""
    assert estimate(variant, found, split, seeds=2, memory=2000).problem == "2.0 kB are free"
    lines = Plan((one, replace(one, name="full", seconds=None, problem="too large")), 2000).lines()
    assert lines[1].startswith("lora x 2")
    assert lines[1].endswith("yes")
    assert "n/a" in lines[2]
    assert lines[2].endswith("no: too large")
    assert lines[3].startswith("all together")


def test_copies_made_beforehand_take_disk_for_each_seed():
    variant, split = recipe("lora", "ecg-fm-tiny", epochs=3), draw_split(DATA, ecgtune.DataSettings())
    variant = replace(variant, augmentation=replace(variant.augmentation, polarity_flip=0.5, augmented_copies=2))
    cached, none = (estimate(variant, replace(FOUND, cached=n), split, seeds=2).disk_bytes for n in (700, 0))
    assert cached - none == 2 * (700 * (2 * len(split.train) + len(split.val)) // 58)


@pytest.mark.parametrize("name", ["full", "lora", "probe", "top-layers"])
def test_a_dry_run_finds_what_its_run_will_have(name, tiny, tmp_path):
    variant = recipe(name, tiny)
    found = measure(variant, *sample(DATA, draw_split(DATA, variant.data), variant), tmp_path)
    run = ecgtune.fine_tune(DATA, variant, out=tmp_path / "own")
    (timing,) = found.trainings
    assert len(timing.ends) == 2
    assert 0 < timing.step < 5
    assert found.file == pytest.approx(run.metrics["training"]["file_bytes"], rel=0.01)
    assert found.window == 3 * 300 * 4
    assert found.peak > 50e6
    assert pickle.loads(pickle.dumps(found)) == found


def test_the_sample_holds_both_labels_and_keeps_the_parts_apart():
    split = draw_split(DATA, ecgtune.DataSettings())
    few, parts = sample(DATA, split, recipe("lora", "ecg-fm-tiny", batch_size=4, max_memory="1GB"))
    assert [len(rows) for rows in parts.by_name().values()] == [16, 16, 16]
    for name, rows in parts.by_name().items():
        assert set(few.label[rows]) == {0, 1}
        whole = {window.tobytes() for window in DATA.signal[split.by_name()[name]]}
        assert {window.tobytes() for window in few.signal[rows]} <= whole


def test_a_plan_measures_each_variant_and_writes_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = ecgtune.plan(DATA, recipe("lora", tiny), ecgtune.CompareSettings(seeds=3, baselines=False))
    (one,) = found.estimates
    assert (one.name, one.seeds, one.problem) == ("lora", 3, "")
    assert one.seconds is not None
    assert one.seconds > 3 * 2 * one.seconds_per_epoch
    assert 1e8 < one.peak_memory_bytes < 2e9
    assert "all together" in found.lines()[2]
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_does_not_fit_is_told(tiny):
    found = ecgtune.plan(
        DATA, [recipe("lora", tiny)], ecgtune.CompareSettings(seeds=1, baselines=False), memory=1_000_000
    )
    assert found.estimates[0].problem == "more than the 1.0 MB that are free"
    assert "n/a" in found.lines()[1]


def process(monkeypatch, answer=None, status=0, stderr=""):
    """Let every dry run end like this; returns the jobs."""
    jobs = []

    def run(command, **_):
        file = Path(command[-1].split("'")[1])
        jobs.append(pickle.loads(file.read_bytes()))
        if answer is not None:
            file.write_bytes(pickle.dumps(answer))
        return subprocess.CompletedProcess([], status, "", stderr)

    monkeypatch.setattr(dry, "subprocess", SimpleNamespace(run=run))  # and not of those who use it elsewhere
    return jobs


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ({"answer": DataError("no such file")}, "no such file"),
        ({"status": 1, "stderr": "Traceback\nValueError: odd"}, "dry run of lora failed: ValueError: odd"),
        ({"status": 1}, "no message"),
    ],
)
def test_what_goes_wrong_in_the_process_is_a_line_beside_what_was_measured(ends, message, monkeypatch):
    right, wrong = iter([FOUND, None]), dry.dry_run

    def run(*arguments):
        return next(right) or wrong(*arguments)

    monkeypatch.setattr("ecgtune.workflows.plan.dry_run", run)
    process(monkeypatch, **ends)
    found = ecgtune.plan(DATA, ["probe", recipe("lora", "ecg-fm-tiny")], ecgtune.CompareSettings(baselines=False))
    assert [one.failed for one in found.estimates] == [False, True]
    assert message in found.estimates[1].problem
    assert message in found.lines()[2]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(repository, file, known):
        raise CheckpointError(f"{repository}/{file} could not be downloaded")

    monkeypatch.setattr("ecgtune.models.registry.download", refuse)


@pytest.mark.parametrize(
    ("methods", "parts"),
    [
        (["lora", "paper-lora", "paper-full"], ["paper-lora, paper-full with the model ecg-fm", "--model ecg-fm-tiny"]),
        (["lora", "{mine}"], ["model of mine: no model or file 'ecg-fm-tinny'; did you mean 'ecg-fm-tiny'"]),
        (["lora", "{split}"], ["head_epochs is 2"]),
    ],
)
@pytest.mark.parametrize("function", ["plan", "compare"])
def test_all_variants_are_checked_before_one_is_measured(function, methods, parts, tmp_path, monkeypatch, no_network):
    mine, split = tmp_path / "mine.toml", tmp_path / "split.toml"
    mine.write_text('[method]\nname = "probe"\n[model]\nname = "ecg-fm-tinny"\n')
    split.write_text('[method]\nname = "probe"\n[optimisation]\nhead_epochs = 2\n[trainer]\nmax_memory = "4GB"\n')
    jobs = process(monkeypatch, FOUND)
    other = {} if function == "plan" else {"out": tmp_path / "out"}
    asked = [method.format(mine=mine, split=split) for method in methods]
    with pytest.raises((CheckpointError, SettingError)) as error:
        getattr(ecgtune, function)(DATA, asked, **other)
    assert all(part in str(error.value) for part in parts), str(error.value)
    assert jobs == []
    assert not (tmp_path / "out" / "lora").exists()


def test_the_command_ends_with_status_3_where_a_method_could_not_be_measured(tmp_path, monkeypatch, capsys):
    file = write_csv(DATA, tmp_path / "windows.csv")
    process(monkeypatch, DataError("odd"))
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(file), "--sampling-rate", "100", "--methods", "probe", "--no-baselines", "--quiet"])
    assert ended.value.code == 3
    assert "no: odd" in capsys.readouterr().out


def test_weights_are_fetched_before_data_are_read(tmp_path, no_network, capsys):
    (tmp_path / "windows.csv").write_text("not a table of windows")
    line = refused(capsys, "plan", tmp_path / "windows.csv", "--methods", "lora,paper-lora")
    assert "paper-lora with the model ecg-fm: wanglab/ecg-fm" in line


def test_a_process_that_the_system_ended_did_not_fit(monkeypatch):
    process(monkeypatch, status=-9)
    found = ecgtune.plan(DATA, [recipe("lora", "ecg-fm-tiny")], ecgtune.CompareSettings(baselines=False), memory=10**9)
    assert found.estimates[0].problem == "the system ended it, 1.0 GB were free"


def test_copies_made_beforehand_are_measured_as_they_will_be_used(tmp_path, monkeypatch):
    variant = recipe("side", "ecg-fm-tiny", epochs=5)
    few = sample(DATA, draw_split(DATA, variant.data), variant)
    assert (variant.augmentation.augmented_copies, variant.copies) == (2, 2)
    for name, epochs, cached in (("again", 5, True), ("once", 2, False)):  # then no copy is seen twice
        monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / name / "cache"))
        assert (measure(changed(variant, epochs=epochs), *few, tmp_path / name).cached > 0) == cached


@pytest.mark.parametrize(
    ("cached", "settings", "total", "measured"),
    [
        (700, {}, 10**9, ["auto"]),
        (700, {}, 4 * 4 * 700 - 1, ["auto", "off"]),  # four times as many windows: more than a quarter of the memory
        (700, {"prefix_cache": "on"}, 10, ["on"]),
        (0, {}, 10, ["auto"]),
    ],
)
def test_measured_is_what_will_be_computed_once(cached, settings, total, measured, tmp_path, monkeypatch):
    monkeypatch.setattr(dry.psutil, "virtual_memory", lambda: type("Memory", (), {"total": total}))
    monkeypatch.setattr(dry, "_limit_memory", lambda memory, device: None)
    taken = []

    def take(recipe, *_):
        taken.append(recipe.trainer.prefix_cache)
        return replace(FOUND, cached=0 if taken[-1] == "off" else cached)

    monkeypatch.setattr(dry, "measure", take)
    variant, split = recipe("lora", "ecg-fm-tiny", **settings), draw_split(DATA, ecgtune.DataSettings())
    whole = replace(split, train=np.arange(4 * 58 - len(split.val)))
    (tmp_path / "job").write_bytes(pickle.dumps((variant, DATA, split, whole, 10**9)))
    dry.measure_job(str(tmp_path / "job"))
    assert taken == measured
    assert isinstance(pickle.loads((tmp_path / "job").read_bytes()), DryRun)


def test_the_command_takes_the_flags_of_compare_and_prints_a_line_per_method(tmp_path, monkeypatch, capsys):
    file = write_csv(DATA, tmp_path / "windows.csv")
    jobs = process(monkeypatch, FOUND)
    flags = ["--sampling-rate", "100", "--epochs", "5", "--batch-size", "8", "--seeds", "2", "--quiet"]
    main(["plan", str(file), "--methods", "lora,probe", *flags])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["Method", "lora", "probe", "resnet", "all", "free"]
    assert [job[0].optimisation.epochs for job in jobs] == [5, 5, 5]
    main(["plan", str(file), "--methods", "lora", "--no-baselines", *flags])
    assert len(jobs) == 4


def test_a_plan_refuses_what_compare_refuses():
    with pytest.raises(SettingError, match="same name"):
        ecgtune.plan(DATA, ["lora", "lora"])
    with pytest.raises(SettingError, match="memory is 0"):
        ecgtune.plan(DATA, ["lora"], memory=0)
    with pytest.raises(SettingError, match="plan got a list first"):
        ecgtune.plan(["lora"], DATA)
