"""The recipe of a training follows the plan, and its steps are timed."""

from types import SimpleNamespace

import pytest

from ecgtune.workflows.auto import trial
from ecgtune.workflows.auto.plan_file import AutoPlan
from ecgtune.workflows.auto.trial import HEAD_EPOCHS, recipe_of


@pytest.mark.parametrize("method", ["probe", "lora", "full", "scratch"])
def test_every_method_has_the_decisions_of_the_plan(method):
    values = {"class_weights": "balanced", "batch_size": 17, "device": "cpu", "threshold": "f1"}
    plan = AutoPlan().changed({f"training.{key}": value for key, value in values.items()})
    recipe = recipe_of(plan, method, "ecg-fm-tiny", epochs=9, task="binary")
    assert (recipe.optimisation.class_weights, recipe.optimisation.batch_size) == ("balanced", 17)
    assert (recipe.trainer.device, recipe.optimisation.epochs) == ("cpu", 9)
    assert (recipe.model.name == "ecg-fm-tiny") == (method != "scratch")


@pytest.mark.parametrize(
    ("method", "head"), [("probe", 0), ("lora", HEAD_EPOCHS), ("full", HEAD_EPOCHS), ("scratch", 0)]
)
def test_few_epochs_begin_with_the_head_of_a_pretrained_encoder(method, head):
    few, many = (recipe_of(AutoPlan(), method, "ecg-fm-tiny", epochs=count, task="binary") for count in (3, 4))
    assert (few.optimisation.head_epochs, many.optimisation.head_epochs) == (head, 0)
    assert few.optimisation.warmup > many.optimisation.warmup


@pytest.mark.parametrize(
    ("laps", "seconds"),
    [
        ([9.0, 5.0, 0.4, 0.4, 6.0, 0.4], 0.1),  # memory is allocated
        ([0.8, 0.4, 0.4], 0.1),  # two epochs of two steps
        ([2.0, 0.8], 0.2),
        ([0.8], 0.2),
        ([], None),
    ],
)
def test_the_time_of_a_step_is_that_of_the_later_ones(laps, seconds, monkeypatch):
    now = 100.0
    monkeypatch.setattr(trial, "time", SimpleNamespace(monotonic=lambda: now))
    steps = trial.Steps()
    for phase in ([50.0, 60.0], laps):  # the head alone, then the method
        steps.on_train_begin(0, len(phase) + 1)
        for step, lap in enumerate([20.0, *phase]):
            now += lap
            steps.on_step_end(step)
            if step % 2:
                now += 30.0  # the validation
                steps.on_epoch_end({}, "")
    assert steps.seconds(batch=4) == pytest.approx(seconds)
