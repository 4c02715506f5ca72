"""The recipe of a training follows the plan."""

import pytest

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
