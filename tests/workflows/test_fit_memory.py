"""Which pieces of a batch fit into `max_memory`: the search, what is said, and that a run is not changed by it."""

import importlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import ecgtune
from ecgtune.data.splits import draw_split
from ecgtune.errors import SettingError
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.recipes.recipe import Recipe, load_recipes
from ecgtune.training.run_folder import RunFolder, read_recipe
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows import fit_memory as memory_module
from ecgtune.workflows.fit_memory import choose_pieces, fit_memory
from ecgtune.workflows.run import work
from helpers.settings import changed, loop

DATA = ecgtune.simulate(120, seed=1, seconds=3)
SHORT = loop(epochs=1, batch_size=32, device="cpu", precision="fp32", max_memory="1GB")
BATCH = SHORT.optimisation.batch_size


def peak_of(base, window, checkpointed, limit=None, asked=None):
    """Bytes as a training takes them: a constant, and more for every window of a piece."""

    def peak(trainer):
        if asked is not None:
            asked.append((trainer.gradient_accumulation_steps, trainer.gradient_checkpointing))
        windows = -(-BATCH // trainer.gradient_accumulation_steps)
        total = base + windows * (checkpointed if trainer.gradient_checkpointing else window)
        return None if limit is not None and total > limit else total

    return peak


@pytest.mark.parametrize(
    ("base", "window", "checkpointed", "limit", "expected"),
    [
        (400e6, 10e6, 1e6, None, (1, False)),  # all 32 windows
        (400e6, 30e6, 1e6, None, (2, False)),  # 20 would fit
        (400e6, 100e6, 10e6, None, (8, False)),
        (400e6, 600e6, 10e6, None, (32, False)),  # exactly one
        (400e6, 700e6, 30e6, None, (2, True)),
        (400e6, 700e6, 10e6, None, (1, True)),
        (400e6, 100e6, 10e6, 2e9, (8, False)),  # the whole batch is more than the machine has
    ],
)
def test_the_fewest_pieces_that_fit_are_chosen(base, window, checkpointed, limit, expected):
    peaks = peak_of(base, window, checkpointed, limit)
    chosen, peak = choose_pieces(SHORT.trainer, BATCH, peaks, may_checkpoint=True)
    assert (chosen.gradient_accumulation_steps, chosen.gradient_checkpointing) == expected
    assert peak <= 1e9
    assert replace(chosen, gradient_accumulation_steps=1, gradient_checkpointing=False) == SHORT.trainer


def test_a_batch_that_fits_is_measured_twice_only():
    asked = []
    choose_pieces(SHORT.trainer, BATCH, peak_of(1e8, 1e6, 1e6, asked=asked), may_checkpoint=True)
    assert asked == [(32, False), (1, False)]


@pytest.mark.parametrize(
    ("window", "limit", "may_checkpoint", "needed"),
    [(800e6, None, False, "1.2 GB"), (800e6, None, True, "1.1 GB"), (800e6, 500e6, True, "more than is free")],
)
def test_one_window_that_does_not_fit_is_told(window, limit, may_checkpoint, needed):
    peaks = peak_of(400e6, window, 700e6, limit)
    with pytest.raises(SettingError, match=f"one window at a time needs {needed}"):
        choose_pieces(SHORT.trainer, BATCH, peaks, may_checkpoint=may_checkpoint)


def test_pieces_start_from_what_was_asked_for():
    asked = []
    settings = replace(SHORT.trainer, gradient_accumulation_steps=3)
    chosen, _ = choose_pieces(settings, BATCH, peak_of(4e8, 5e7, 1e6, asked=asked), may_checkpoint=True)
    assert chosen.gradient_accumulation_steps == 3
    assert {pieces for pieces, _ in asked} <= {3, 6, 12, 24, 32}


@pytest.mark.parametrize(("text", "expected"), [("4GB", 4_000_000_000), ("800MB", 800_000_000), ("1.5 GB", 1.5e9)])
def test_amounts_of_memory(text, expected):
    assert ecgtune.TrainerSettings(max_memory=text).max_memory_bytes == expected


@pytest.mark.parametrize("text", ["4", "4 gigabytes", "0GB", "-1GB", "4GiB", ""])
def test_other_amounts_are_refused(text):
    with pytest.raises(SettingError, match="allowed: an amount such as 4GB"):
        ecgtune.TrainerSettings(max_memory=text)


def test_without_gradients_no_more_windows_go_through_at_once_than_with_them():
    assert ecgtune.TrainerSettings().inference_batch(BATCH) == 256
    assert SHORT.trainer.inference_batch(BATCH) == 32
    assert replace(SHORT.trainer, gradient_accumulation_steps=5).inference_batch(BATCH) == 7


class Said(ProgressBar):
    def __init__(self):
        super().__init__(shown=False)
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def measured(monkeypatch):
    """Dry runs give the peaks of `peak_of`; returns which trainings were measured."""
    asked = []
    peak = peak_of(400e6, 100e6, 10e6, asked=asked)

    def dry_run(recipe, *_):
        return SimpleNamespace(peak=peak(recipe.trainer), windows=(len(DATA), 0, 0), window=1)

    monkeypatch.setattr(memory_module, "dry_run", dry_run)
    return asked


def test_a_run_keeps_what_was_chosen_and_ends_where_the_whole_batch_does(measured, encoder, tmp_path):
    def run(out, training, **more):
        recipe = ecgtune.Recipe(method=LoRA(rank=2), **loop(training, epochs=2)._asdict())
        model = ecgtune.load_model(encoder, classes=DATA.classes)
        return ecgtune.fine_tune(DATA, recipe, model=model, out=out, **more)

    whole = run(tmp_path / "whole", loop(SHORT, max_memory=None))
    fitted = run(tmp_path / "fitted", SHORT)
    stored = read_recipe(RunFolder(fitted.folder)).trainer
    assert (stored.gradient_accumulation_steps, stored.gradient_checkpointing, stored.max_memory) == (8, False, "1GB")
    np.testing.assert_allclose(fitted.predict(DATA.signal), whole.predict(DATA.signal), rtol=0, atol=1e-3)
    measured.clear()
    run(tmp_path / "fitted", SHORT, resume=True)
    assert measured == []  # a resumed run keeps its pieces


def test_it_is_said_in_one_line_and_the_bar_counts_the_same(measured):
    recipe = replace(load_recipes("lora")[0], **SHORT._asdict())
    split, said = draw_split(DATA, recipe.data), Said()
    found = fit_memory(recipe, DATA, split, progress=said)
    assert said.notes == [
        "lora: max_memory 1GB makes 8 pieces of 4 windows of a batch of 32, without checkpointing; measured peak 800 MB"
    ]
    assert work(found, split) == work(recipe, split)
    plain = changed(recipe, max_memory=None)
    assert fit_memory(plain, DATA, split, progress=said) is plain


def test_a_probe_is_never_checkpointed(monkeypatch):
    recipe = Recipe("probe", method=LinearProbe(), **SHORT._asdict())
    monkeypatch.setattr(memory_module, "dry_run", lambda *_: "too little")
    with pytest.raises(SettingError, match="needs more than is free"):
        fit_memory(recipe, DATA, draw_split(DATA, recipe.data), progress=Said())


def test_the_plan_is_of_what_was_chosen(measured, monkeypatch):
    recipe = replace(load_recipes("lora")[0], **SHORT._asdict())
    planned = []

    def dry_run(recipe, *_):
        planned.append(recipe.trainer.gradient_accumulation_steps)
        return "too little"

    monkeypatch.setattr(importlib.import_module("ecgtune.workflows.plan"), "dry_run", dry_run)
    ecgtune.plan(DATA, [recipe], ecgtune.CompareSettings(seeds=1, baselines=False))
    assert planned == [8]


def test_a_sweep_refuses_what_it_would_not_heed(tmp_path):
    pytest.importorskip("optuna")
    recipe = replace(load_recipes("lora")[0], **SHORT._asdict())
    with pytest.raises(SettingError, match="give a sweep gradient_accumulation_steps"):
        ecgtune.sweep(DATA, [recipe], ecgtune.SweepSettings(trials=1), out=tmp_path / "sweep")
