"""Methods by name, and what is refused before it trains."""

from dataclasses import dataclass

import pytest

import ecgtune
from ecgtune.errors import SettingError
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full, NormBias
from ecgtune.methods.registry import find_method, method_from_table, method_names, method_to_table, register_method
from ecgtune.recipes.recipe import Recipe
from helpers.encoders import ConvConfig, ConvNet, classifier, registered


@dataclass(frozen=True)
class Scales(NormBias):
    """A method from outside."""

    learning_rate = 1e-3
    extra: float = 0.5


@dataclass(frozen=True)
class Imitation(LoRA):
    """A subclass that inherits the name of what it is not."""


class Forgotten(NormBias):
    """Without @dataclass, so that its setting is an attribute of the class."""

    learning_rate = 1e-3
    rate: float = 0.5


def test_names_are_those_of_the_folders():
    families = ["adalora", "adapter", "full", "ia3", "lora", "norm-bias", "oft", "probe", "side", "top-layers", "vera"]
    assert method_names() == families
    assert [find_method(name).name for name in families] == families


def test_a_method_from_outside_goes_through_its_table():
    with registered():
        register_method("scales")(Scales)
        register_method("scales")(Scales)  # again is no duplicate
        assert "scales" in method_names()
        table = method_to_table(Scales(extra=0.25))
        assert table == {"name": "scales", "biases": True, "norms": True, "extra": 0.25}
        assert method_from_table(table) == Scales(extra=0.25)
    with pytest.raises(SettingError, match="method"):
        find_method("scales")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: register_method("lora")(Scales), r"a method 'lora' is registered already .*; choose another name"),
        (lambda: register_method("mine")(int), "allowed: a subclass of ecgtune.Method"),
        (
            lambda: register_method("mine")(type("Mine", (ecgtune.Method,), {})),
            "Mine has no learning rate; add the line",
        ),
        (lambda: register_method("mine")(Forgotten), r"rate of Forgotten can be no setting; write @dataclass\(frozen"),
        (lambda: find_method("lorra"), "did you mean 'lora'"),
        (lambda: method_from_table({"name": "fulll"}), "did you mean 'full'"),
    ],
)
def test_mistakes_are_one_line(act, message):
    with registered(), pytest.raises(SettingError, match=message) as error:
        act()
    assert "\n" not in str(error.value)


def test_a_class_that_could_not_be_loaded_again_is_refused_before_it_trains(tmp_path):
    dataset = ecgtune.simulate(60, seed=1, seconds=3)
    encoder = classifier(ConvNet, ConvConfig())
    for recipe, model, message in [
        (Recipe(method=Imitation(rank=2)), None, r"Imitation is not registered, .*@register_method\('name'\)"),
        (Recipe(method=Full()), encoder, r"ConvNet is not registered, .*@register_encoder\('name'\)"),
    ]:
        with pytest.raises(SettingError, match=message):
            ecgtune.fine_tune(dataset, recipe, model=model, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()
