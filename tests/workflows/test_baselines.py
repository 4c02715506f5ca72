"""The baselines of a comparison."""

from dataclasses import replace

import pytest

from ecgtune.recipe.recipe import load_recipes
from ecgtune.workflows.baselines import resnet_recipe

OWN = load_recipes("resnet")[0].training


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 3), ("patience", 2), ("best", "last"), ("threshold", "f1"), ("device", "cpu"), ("precision", "bf16"),
    ],
)  # fmt: skip
def test_the_residual_network_shares_task_and_time_and_keeps_its_own_recipe(name, value):
    assert getattr(OWN, name) != value
    (lora,) = load_recipes("lora")
    floor = resnet_recipe(
        replace(lora, optimisation=replace(lora.optimisation, learning_rate=0.5, **{name: value}))
    ).training
    assert getattr(floor, name) == value
    assert (floor.learning_rate, floor.batch_size) == (OWN.learning_rate, OWN.batch_size)


def test_the_loss_of_the_residual_network_stays_plain():
    (lora,) = load_recipes("lora")
    weighted = replace(lora.training, class_weights="balanced", loss="focal")
    floor = resnet_recipe(replace(lora, training=weighted)).training
    assert (floor.class_weights, floor.loss) == (OWN.class_weights, OWN.loss) == ("none", "cross_entropy")
