"""What a comparison will cost: the clock, the arithmetic, a real plan, and the estimate that compare shows first."""

import json
import pickle
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

import ecgtune
from ecgtune.cli.main import main
from ecgtune.errors import DataError, RunError, SettingError
from ecgtune.io.writing import write_csv
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.recipe.recipe import load_recipes
from ecgtune.training.loop import count_steps
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows import estimate as estimates
from ecgtune.workflows import measure as measuring
from ecgtune.workflows.estimate import as_it_will_be, estimate, estimate_first, table_lines
from ecgtune.workflows.measure import Measurement, Phase, StepClock, measure, sample
from ecgtune.workflows.preparation import draw_split
from helpers.models import TINY

DATA = ecgtune.simulate(120, seed=1, seconds=3)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    folder.mkdir()
    save_encoder(EcgFM(TINY), folder, {})
    return str(folder)


def recipe(name, model, **training):
    (found,) = load_recipes(name)
    settings = {"epochs": 2, "batch_size": 16, "device": "cpu", **training}
    return replace(found, model=replace(found.model, name=model), optimisation=replace(found.optimisation, **settings))


def measurement(**changes):
    phase = Phase(before=2.0, step=0.5, epoch_end=1.5, epochs=2)
    values = {
        "train": 48, "val": 10, "test": 10, "start": 3.0, "prepare": 0.01, "forward": 0.1, "save": 0.5, "finish": 6.0,
        "phases": (phase,), "peak": 1000, "still": 100, "inference": 7, "window": (4, 8), "file": 50, "folder": 90,
        "state": 300,
    }  # fmt: skip
    return Measurement(**{**values, **changes})


def test_the_clock_tells_what_the_loop_was_doing(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(measuring.time, "monotonic", lambda: now[0])
    clock = StepClock()

    def after(seconds, word, *values):
        now[0] += seconds
        word(*values)

    after(5.0, clock.advance, 0)
    for steps, end in (([9.0, 8.0, 1.0], 4.0), ([1.0, 2.0, 3.0], 6.0)):
        for step in steps:
            after(step, clock.advance, 16)
        after(end, clock.note, "an epoch")
    after(0.5, clock.advance, 0)
    after(7.0, clock.describe, "the rest")
    assert clock.lap() == 7.0
    assert clock.phases == (Phase(before=5.0, step=1.5, epoch_end=5.0, epochs=2),)


@pytest.mark.parametrize(
    ("found", "seconds"),
    [
        # start 3, prepare 1.2 (120 windows), finish 6 - 2 + 3.6 (36); 3 epochs of 5.25 steps, 1.8 + 0.5 at their end
        (measurement(), 3 + 1.2 + 2 + 3 * (5.25 * 0.5 + 0.1 * 18 + 0.5) + 6 - 2 + 3.6),
        # 58 windows took 5.8 s through the encoder before the first step, so 102 take 10.2
        (measurement(phases=(Phase(5.8, 0.5, 1.5, 2),)), 3 + 1.2 + 10.2 + 3 * (2.625 + 1.8 + 0.5) + 6 - 2 + 3.6),
        # the head alone first, for as many epochs as were measured
        (
            measurement(phases=(Phase(2.0, 0.25, 0.5, 5), Phase(2.0, 0.5, 1.5, 2))),
            3 + 1.2 + 2 + 5 * (5.25 * 0.25 + 0.5) + 2 + 3 * (2.625 + 1.8 + 0.5) + 6 - 2 + 3.6,
        ),
    ],
)
def test_seconds_are_those_of_steps_validation_saving_and_what_stands_around_them(found, seconds):
    split = draw_split(DATA, ecgtune.DataSettings())
    split = replace(split, train=split.train[:84], val=np.arange(18), test=np.arange(18))
    variant = recipe("lora", "ecg-fm-tiny", epochs=3)
    one = estimate(variant, found, DATA, split, seeds=2)
    assert one.seconds == pytest.approx(2 * seconds)
    # 36 + 8 + 8 windows more: as read, twice as prepared, those of validation once again
    windows = 52 * (4 + 2 * 8) + 8 * 8
    assert one.peak_memory_bytes == 1000 + windows
    lower, once = replace(found, peak=500), replace(found, peak=500, once=1)
    assert estimate(variant, lower, DATA, split, seeds=2).peak_memory_bytes == 100 + 300 + 18 * 7 + windows
    assert estimate(variant, once, DATA, split, seeds=2).peak_memory_bytes == 100 + 300 + 84 * 7 + windows
    assert one.file_bytes == 50
    assert one.disk_bytes == 2 * (90 + 120 * 60) + 2 * 300
    assert one.problem == ""
    assert estimate(variant, found, DATA, split, seeds=2, memory=2000).problem == "2.0 kB are free"
    lines = table_lines([one, replace(one, name="full", seconds=None, problem="too large")])
    assert lines[1].startswith("lora x 2")
    assert lines[1].endswith("yes")
    assert "n/a" in lines[2]
    assert lines[2].endswith("no: too large")


@pytest.mark.parametrize("name", ["full", "lora", "probe", "top-layers"])
def test_measuring_a_recipe_finds_what_its_run_will_have(name, tiny, tmp_path):
    variant = recipe(name, tiny)
    found = measure(variant, *sample(DATA, draw_split(DATA, variant.data), variant), steps=3)
    run = ecgtune.fine_tune(DATA, variant, out=tmp_path / "run", quiet=True)
    (phase,) = found.phases
    assert phase.epochs == 2
    assert 0 < phase.step < 5
    assert (found.train, found.val, found.test) == (48, 16, 16)
    assert found.file == pytest.approx(run.metrics["training"]["file_bytes"], rel=0.01)
    assert found.window == (300 * 4, 300 * 4)
    assert found.peak > 50e6
    assert Measurement.from_table(json.loads(json.dumps(asdict(found)))) == found


def test_the_sample_holds_both_labels_and_keeps_the_parts_apart():
    split = draw_split(DATA, ecgtune.DataSettings())
    few, parts = sample(DATA, split, recipe("lora", "ecg-fm-tiny", batch_size=4), steps=2)
    assert [len(rows) for rows in parts.by_name().values()] == [8, 6, 6]
    for name, rows in parts.by_name().items():
        assert set(few.label[rows]) == {0, 1}
        whole = {window.tobytes() for window in DATA.signal[split.by_name()[name]]}
        assert {window.tobytes() for window in few.signal[rows]} <= whole


def test_a_plan_measures_each_variant_and_writes_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = ecgtune.plan(DATA, [recipe("lora", tiny)], seeds=3, baselines=False, quiet=True)
    (one,) = found.estimates
    assert (one.name, one.seeds, one.problem) == ("lora", 3, "")
    assert one.seconds is not None
    assert one.seconds > 3 * 2 * one.seconds_per_epoch
    assert 1e8 < one.peak_memory_bytes < 2e9
    assert "all together" in found.lines()[2]
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_does_not_fit_is_told(tiny):
    found = ecgtune.plan(DATA, [recipe("lora", tiny)], seeds=1, baselines=False, memory=1_000_000, quiet=True)
    assert found.estimates[0].problem == "more than the 1.0 MB that are free"
    assert "n/a" in found.lines()[1]


@pytest.mark.parametrize(
    ("process", "error", "message"),
    [
        ((0, '{"error": "DataError", "message": "no such file"}', ""), DataError, "no such file"),
        ((1, "", "Traceback\nValueError: odd"), RunError, "measuring lora failed: ValueError: odd"),
        ((1, "", ""), RunError, "it said nothing"),
    ],
)
def test_what_goes_wrong_in_the_process_is_told(process, error, message, monkeypatch):
    status, out, err = process
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], status, out, err))
    with pytest.raises(error, match=message):
        ecgtune.plan(DATA, [recipe("lora", "ecg-fm-tiny")], baselines=False, quiet=True)


def test_a_process_that_the_system_ended_did_not_fit(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], -9, "", ""))
    found = ecgtune.plan(DATA, [recipe("lora", "ecg-fm-tiny")], baselines=False, quiet=True, memory=10**9)
    assert found.estimates[0].problem == "the system ended it, 1.0 GB were free"


def test_what_is_computed_once_takes_disk():
    variant, split = recipe("lora", "ecg-fm-tiny"), draw_split(DATA, ecgtune.DataSettings())
    found = measurement(train=10, val=len(split.val), once=700)
    few = replace(split, train=np.arange(4 * (10 + len(split.val)) - len(split.val)))
    told = [estimate(variant, one, DATA, few, seeds=2).disk_bytes for one in (found, replace(found, once=0))]
    assert told[0] - told[1] == 4 * 700
    copied = replace(
        variant,
        augmentation=replace(variant.augmentation, augmented_copies=2),
        optimisation=replace(variant.optimisation, epochs=3),
    )
    told = [estimate(copied, one, DATA, few, seeds=2).disk_bytes for one in (found, replace(found, once=0))]
    windows = 2 * len(few.train) + len(few.val)  # of each seed
    assert told[0] - told[1] == 2 * (700 * windows // (10 + len(split.val)))


def test_copies_made_beforehand_are_measured_as_they_will_be_used(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path))
    variant = recipe("side", "ecg-fm-tiny", epochs=5)
    few = sample(DATA, draw_split(DATA, variant.data), variant, 3)
    assert (variant.augmentation.augmented_copies, variant.copies) == (2, 2)
    assert measure(variant, *few, steps=3).once > 0
    twice = replace(variant, optimisation=replace(variant.optimisation, epochs=2))  # no copy is seen again
    assert measure(twice, *few, steps=3).once == 0


@pytest.mark.parametrize(
    ("found", "training", "total", "settings"),
    [
        ({"once": 700}, {}, 10**9, ["auto"]),
        ({"once": 700}, {}, 4 * 4 * 700 - 1, ["auto", "off"]),  # more than a quarter of the memory
        ({"once": 700}, {"epochs": 1, "batch_size": 4}, 10**9, ["auto", "off"]),
        ({"once": 700, "features": True}, {"epochs": 1, "batch_size": 4}, 10**9, ["auto"]),
        ({"once": 700}, {"prefix_cache": "on"}, 10, ["on"]),
        ({"once": 0}, {}, 10, ["auto"]),
    ],
)
def test_measured_is_what_will_be_computed_once(found, training, total, settings, monkeypatch):
    monkeypatch.setattr(estimates.psutil, "virtual_memory", lambda: type("Memory", (), {"total": total}))
    variant, split = recipe("lora", "ecg-fm-tiny", **training), draw_split(DATA, ecgtune.DataSettings())
    few = replace(split, train=np.arange(4 * (10 + len(split.val)) - len(split.val)))
    taken = []

    def take(one):
        taken.append(one.trainer.prefix_cache)
        return measurement(**{"train": 10, "val": len(split.val), **found})

    assert isinstance(as_it_will_be(variant, few, take), Measurement)
    assert taken == settings
    assert as_it_will_be(variant, few, lambda one: "too large") == "too large"


def test_the_command_takes_the_flags_of_compare_and_prints_a_line_per_method(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    file = write_csv(DATA, tmp_path / "windows.csv")
    jobs = []

    def process(command, **_):
        jobs.append(pickle.loads(Path(command[-1]).read_bytes()))
        return subprocess.CompletedProcess([], 0, json.dumps(asdict(measurement())), "")

    monkeypatch.setattr(subprocess, "run", process)
    flags = ["--sampling-rate", "100", "--epochs", "5", "--batch-size", "8", "--seeds", "2", "--quiet"]
    main(["plan", str(file), "--methods", "lora,probe", *flags])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["Method", "lora", "probe", "resnet", "all", "free"]
    assert [job[0].optimisation.epochs for job in jobs] == [5, 5, 5]
    train = len(draw_split(DATA, ecgtune.DataSettings()).train)
    assert len(jobs[0][1]) == train + 8 + 8  # all training windows, one batch of the others
    main(["plan", str(file), "--methods", "lora", "--no-baselines", *flags])
    assert len(jobs) == 4


def test_a_plan_refuses_what_compare_refuses():
    with pytest.raises(SettingError, match="same name"):
        ecgtune.plan(DATA, ["lora", "lora"], quiet=True)
    with pytest.raises(SettingError, match="memory is 0"):
        ecgtune.plan(DATA, ["lora"], memory=0, quiet=True)


class Heard(ProgressBar):
    """What a bar was told."""

    def __init__(self, *, quiet=False):
        super().__init__(quiet=True)
        self.notes, self.done, self.expected = [], 0.0, 0.0

    def note(self, text):
        self.notes.append(text)

    def expect(self, units):
        self.expected += units

    def advance(self, units):
        self.done += units * self._weight


def test_compare_shows_the_estimate_and_one_bar_and_ends_on_the_same_numbers(tiny, tmp_path, monkeypatch):
    variants = [recipe("lora", tiny), recipe("probe", tiny)]
    quiet = ecgtune.compare(DATA, variants, out=tmp_path / "quiet", seeds=1, baselines=False, quiet=True)
    heard = Heard()
    monkeypatch.setattr(sys.modules["ecgtune.workflows.compare"], "ProgressBar", lambda quiet: heard)
    monkeypatch.setattr(estimates, "SHARE", 1.0)
    told = ecgtune.compare(DATA, variants, out=tmp_path / "told", seeds=1, baselines=False)
    assert heard.notes[0].startswith("Method")
    assert heard.notes[1].startswith("lora x 1")
    assert heard.notes[3].startswith("all together")
    assert heard.done == pytest.approx(heard.expected)
    assert [row["metrics"] for row in told["rows"]] == [row["metrics"] for row in quiet["rows"]]


def test_a_short_comparison_is_not_measured_first():
    split = draw_split(DATA, ecgtune.DataSettings())
    heard = Heard()
    variant = recipe("lora", "ecg-fm-tiny")
    assert estimate_first(DATA, split, [(variant, 2)], heard) == {}
    steps = 2 * count_steps(len(split.train), variant.training)
    assert heard.notes == [
        f"no estimate first: {steps} steps are too few to measure some beforehand; `ecgtune plan` does"
    ]
