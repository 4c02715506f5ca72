"""A training for which memory is short takes smaller pieces of a batch; where that does not help, one line says so."""

import pytest
import torch

import ecgtune
from ecgtune.config.auto import AutoSettings
from ecgtune.errors import RunError
from ecgtune.utils.files import write_json
from ecgtune.workflows.auto import auto, trial
from ecgtune.workflows.auto.plan_file import read_plan
from helpers.auto import job


@pytest.fixture
def out(tmp_path):
    settings = AutoSettings(until="decide", encoders=("ecg-fm-tiny",), folds=1, batch_size=16)
    ecgtune.auto(ecgtune.simulate(96, seed=1, seconds=3), settings, out=tmp_path)
    return tmp_path


@pytest.fixture
def short(monkeypatch):
    """Memory for so many windows at a time."""
    fit, at_a_time = trial.fit, 4

    def limited(run, *given):
        trainer, batch = run.recipe.trainer, run.recipe.optimisation.batch_size
        most = max(trainer.inference_batch(batch), -(-batch // trainer.gradient_accumulation_steps))
        if most > limited.windows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return fit(run, *given)

    limited.windows = at_a_time
    monkeypatch.setattr(trial, "fit", limited)
    return limited


def planned(out):
    known = job(method="full", encoder="ecg-fm-tiny", windows=32, epochs=1, seconds=600.0)
    write_json(out / "do" / known["name"] / "round-0" / "job.json", known)
    return out / "do" / known["name"] / "round-0"


def test_a_batch_is_taken_in_pieces_that_fit(out, short):
    found = trial.run_trial(out, planned(out))
    assert found["pieces"]["pieces"] == 4
    assert 0 < found["score"] <= 1
    recipe = (planned(out) / "run/recipe.toml").read_text()
    assert "gradient_accumulation_steps = 4" in recipe


def test_one_window_that_is_too_much_is_a_reason(out, short):
    short.windows = 0
    found = trial.run_trial(out, planned(out))
    assert "memory of the cpu ends with one window at a time" in found["failed"]
    assert "\n" not in found["failed"]


def test_the_measurement_takes_pieces_too(out, short):
    found = trial.measured(out, read_plan(out), "full", "ecg-fm-tiny")
    assert found["pieces"]["pieces"] == 4
    assert found["step"] > 0


def test_memory_that_ends_elsewhere_is_one_line(tmp_path, monkeypatch):
    def look(*_, **__):
        raise MemoryError("Unable to allocate 3.2 GiB")

    monkeypatch.setattr(auto, "look", look)
    with pytest.raises(RunError, match=r"memory ran out \(Unable to allocate 3.2 GiB\); .*rerun"):
        ecgtune.auto(ecgtune.simulate(96, seed=1, seconds=3), out=tmp_path)
