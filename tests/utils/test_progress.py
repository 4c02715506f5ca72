"""The time left, as the log tells it."""

import io
import logging
import sys

import pytest

import ecgtune
from ecgtune.training.callbacks import ProgressCallback
from ecgtune.utils import progress
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows import run


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_is_that_of_the_speed_so_far(clock, caplog):
    caplog.set_level(logging.INFO, "ecgtune")
    with ProgressBar() as bar:
        clock[0] += 50  # reading data is no measure of the speed
        bar.expect(8)
        callback = ProgressCallback(bar, "lora seed 0", 2)
        callback.on_train_begin(0, 4)
        assert bar.left == ""
        clock[0] += 30
        callback.on_step_end(0)
        callback.on_epoch_end({}, "epoch 1/4")
        for step in range(1, 4):
            callback.on_step_end(step)
        callback.on_epoch_end({}, "epoch 4/4")
    assert caplog.messages == ["lora seed 0: epoch 1/4, about 90.0 s left", "lora seed 0: epoch 4/4"]


@pytest.mark.parametrize(
    ("level", "shown", "told"),
    [
        (logging.NOTSET, True, True),
        (logging.INFO, True, True),
        (logging.WARNING, True, False),
        (logging.INFO, False, False),
    ],
)
def test_the_level_of_the_logger_hides_the_bar_and_its_notes(level, shown, told, caplog, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.INFO)
    monkeypatch.setattr(progress.LOGGER, "level", level)
    progress.LOGGER.manager._clear_cache()
    with ProgressBar(shown=shown) as bar:
        bar.describe("windows")
        bar.note("a note")
    assert ("windows" in terminal.getvalue()) is told
    assert (caplog.messages == ["a note"]) is told


def test_a_note_escapes_text_of_files(caplog):
    caplog.set_level(logging.INFO, "ecgtune")
    with ProgressBar() as bar:
        bar.note("caf\udce9: \x1b[2J")
    assert caplog.messages == [r"caf\udce9: \x1b[2J"]


@pytest.mark.parametrize(
    ("name", "settings", "cost"),
    [("full", {}, 3.0), ("lora", {}, 2.0), ("probe", {}, 0.1), ("side", {}, 0.1), ("side", {"augmented_copies": 0}, 1)],
)
def test_a_step_costs_what_passes_through_the_encoder(name, settings, cost):
    data = ecgtune.simulate(120, seconds=3)
    recipe = ecgtune.recipe(name, epochs=3, batch_size=10, **settings)
    split = ecgtune.split_dataset(data)
    assert run.work(recipe, split) == pytest.approx(3 * -(-len(split.train) // 10) * 10 * cost)
