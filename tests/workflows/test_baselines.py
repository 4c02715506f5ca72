"""The baselines of a comparison."""

import pytest

from ecgtune.recipes.recipe import load_recipes
from ecgtune.workflows.baselines import scratch_recipe
from helpers.settings import changed

(OWN,) = load_recipes("resnet")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("optimisation.epochs", 3), ("optimisation.patience", 2), ("optimisation.checkpoint_metric", "last"),
        ("evaluation.threshold", "f1"), ("trainer.device", "cpu"), ("trainer.precision", "bf16"),
    ],
)  # fmt: skip
def test_the_residual_network_shares_task_and_time_and_keeps_its_own_recipe(setting, value):
    table, name = setting.split(".")
    assert getattr(getattr(OWN, table), name) != value
    (lora,) = load_recipes("lora")
    made = scratch_recipe(changed(lora, learning_rate=0.5, **{name: value}))
    assert getattr(getattr(made, table), name) == value
    for kept in ("learning_rate", "batch_size"):
        assert getattr(made.optimisation, kept) == getattr(OWN.optimisation, kept)


@pytest.mark.parametrize(("given", "used"), [(8, 8), (256, OWN.optimisation.batch_size)])
def test_batches_are_no_larger_than_those_of_the_first_method(given, used):
    (lora,) = load_recipes("lora")
    assert scratch_recipe(changed(lora, batch_size=given)).optimisation.batch_size == used


def test_the_loss_of_the_residual_network_stays_plain():
    (lora,) = load_recipes("lora")
    made = scratch_recipe(changed(lora, class_weights="balanced", loss="focal")).optimisation
    assert (made.class_weights, made.loss) == ("none", "cross_entropy")
    assert (OWN.optimisation.class_weights, OWN.optimisation.loss) == ("none", "cross_entropy")
