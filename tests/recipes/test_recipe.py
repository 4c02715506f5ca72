"""Recipes: every one that comes along loads, is what it says, and survives a round trip."""

import tomllib
from dataclasses import replace

import pytest

from ecgtune.config.augmentation import Augmentation
from ecgtune.config.data import DataSettings
from ecgtune.config.evaluation import Evaluation
from ecgtune.config.model import ModelSettings
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.errors import SettingError
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.recipes.recipe import (
    Recipe,
    differences,
    list_recipes,
    load_recipes,
    recipe_folder,
    recipe_from_tables,
    recipe_text,
    stored_tables,
)


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_loads_and_survives_a_round_trip(name):
    for recipe in load_recipes(name):
        again = recipe_from_tables(tomllib.loads(recipe_text(recipe)), "again.toml", "")
        assert again == recipe
        assert differences(recipe, again) == []


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_is_commented(name):
    assert (recipe_folder() / f"{name}.toml").read_text().startswith("# ")


def test_variants_share_what_the_file_says_and_differ_in_what_they_say():
    variants = load_recipes("ablation-normalisation")
    assert [variant.data.normalisation for variant in variants] == ["zscore", "global", "none"]
    assert len({variant.name for variant in variants}) == 3
    assert {variant.method for variant in variants} == {LoRA(rank=16)}


@pytest.mark.parametrize(
    ("task", "alone"), [("ptbxl-superclasses", "ptbxl-lora"), ("cinc2017-rhythms", "cinc2017-lora")]
)
def test_a_real_task_has_its_lora_variant_as_a_recipe_of_its_own(task, alone):
    (recipe,) = load_recipes(alone)
    assert recipe in [
        replace(variant, name=alone) for variant in load_recipes(task) if isinstance(variant.method, LoRA)
    ]


def test_a_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[method]\nname = "lora"\nrank = 4\ntargets = ["q_proj"]\n[optimisation]\nepochs = 2\n')
    (recipe,) = load_recipes(str(file))
    assert recipe == Recipe(name="mine", method=LoRA(rank=4, targets=("q_proj",)), optimisation=Optimisation(epochs=2))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[method", ["mine.toml", "TOML"]),
        ('[metod]\nname = "lora"', ["mine.toml", "metod", "did you mean 'method'"]),
        ('method = "lora"', ["mine.toml", "[method]"]),
        ('[method]\nname = "lora"\nrank = -1', ["rank", "-1"]),
        ("[optimisation]\nepochs = 0", ["epochs", "0", "1 or more"]),
        ("[optimisation]\nlearning_rate = 0", ["learning_rate"]),
        ("[optimisation]\nrate_width = 192", ["rate_width is 192", "beside a learning_rate"]),
        ("[optimisation]\nlearning_rate = 0.001\nrate_width = 0", ["rate_width is 0", "1 or more"]),
        (
            '[method]\nname = "probe"\n[trainer]\ngradient_accumulation_steps = 100',
            ["gradient_accumulation_steps", "batch_size"],
        ),
        ("[optimisation]\nwarmup = 1.0", ["warmup"]),
        ("[optimisation]\npatience = 0", ["patience"]),
        ('[optimisation]\npatience = 2\ncheckpoint_metric = "last"', ["patience", "last", "auroc or loss"]),
        ('[optimisation]\ncheckpoint_metric = "f1"', ["checkpoint_metric", "f1", "auroc"]),
        ("[optimisation]\nmax_grad_norm = -1", ["max_grad_norm"]),
        ("[optimisation]\nweight_decay = -1", ["weight_decay"]),
        ("[trainer]\nsave_minutes = 0", ["save_minutes"]),
        ("[optimisation]\nlabel_smoothing = 1.0", ["label_smoothing", "1.0", "0 (off)"]),
        ("[optimisation]\nhead_rate_factor = 0.0", ["head_rate_factor", "0.0", "above 0"]),
        ("[optimisation]\nhead_epochs = -1", ["head_epochs", "-1", "0 or more"]),
        ("[optimisation]\nlayer_decay = 1.1", ["layer_decay", "1.1", "1 (off)"]),
        ("[optimisation]\ndrop_path = 0.9", ["drop_path", "0.9", "0.5"]),
        ("[optimisation]\nlayer_drop = 0.9", ["layer_drop", "0.9", "0.5"]),
        ('[method]\nname = "probe"\nlayers = "all"', ["layers", "all", "last, mix"]),
        ("[optimisation]\nema = 1.0", ["ema", "1.0", "0 (off)", "decay"]),
        ("[augmentation]\nshfit = 0.1", ["shfit", "did you mean 'shift'", "[augmentation]"]),
        ("[augmentation]\ncrop = 0.0", ["crop", "0.0", "whole window"]),
        ("[augmentation]\npolarity_flip = 1.5", ["polarity_flip", "1.5", "probability"]),
        ("[augmentation]\nlead_mask = 1.0", ["lead_mask", "1.0", "below 1"]),
        ("[augmentation]\nnoise = -0.1", ["noise", "-0.1", "0 (off)"]),
        ("[augmentation]\naugmented_copies = 2", ["augmented_copies is 2", "nothing is augmented"]),
        ("[augmentation]\npolarity_flip = 0.5\naugmented_copies = -1", ["augmented_copies is -1", "0 (new aug"]),
        ('[optimisation]\noptimizer = "sgd"', ["optimizer", "sgd", "adam"]),
        ("[data]\ntrain_fraction = 0.9\nval_fraction = 0.2", ["0.9", "0.2", "test"]),
        ("[data]\ntrain_fraction = 0.0", ["0.0"]),
        ("[data]\nlabel_fraction = 0.0", ["label_fraction", "0.0", "above 0"]),
        ("[data]\nlabel_fraction = 10", ["label_fraction", "10", "up to 1"]),
        ('[model]\npooling = "max"', ["pooling", "max", "statistics"]),
        ("[optimisation]\nepochs = 2", ["[method] of", "mine.toml", "has no name", "lora, norm-bias"]),
        ("", ["[method] of", "mine.toml", "has no name"]),
        ('name = "../escaped"\n[method]\nname = "probe"', ["../escaped", "names a folder"]),
        ('name = ""\n[method]\nname = "probe"', ["name ''"]),
        ('title = 3\n[method]\nname = "probe"', ["title 3", "text"]),
        ("variant = [3]", ["[[variant]]"]),
        (
            'data = 3\n[method]\nname = "probe"\n[[variant]]\n[variant.data]\nnormalisation = "none"\n[[variant]]',
            ["[data]"],
        ),
        ("variant = []", ["[[variant]]"]),
        ('[method]\nname = "probe"\n[[variant]]\nname = "a"\n[[variant]]\nname = "a"', ["same name"]),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path, text, parts):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(SettingError) as error:
        load_recipes(str(file))
    assert all(part in str(error.value) for part in parts), str(error.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Optimisation(optimizer="sgd"),
        lambda: Optimisation(schedule="linear"),
        lambda: TrainerSettings(precision="int8"),
        lambda: Optimisation(class_weights="Balanced"),
        lambda: Evaluation(threshold="f2"),
        lambda: Optimisation(epochs=1.5),
        lambda: Optimisation(weight_decay=float("inf")),
        lambda: DataSettings(normalisation="z"),
        lambda: DataSettings(split_seed=-1),
        lambda: DataSettings(label_fraction=float("nan")),
        lambda: ModelSettings(pooling="median"),
        lambda: LinearProbe(layers="first"),
        lambda: LoRA(rank=2.0),
        lambda: LoRA(rslora="yes"),
        lambda: Recipe(name="a/b"),
        lambda: Augmentation(shift=1.0),
        lambda: Augmentation(wander="much"),
    ],
)
def test_python_settings_are_as_strict_as_files(make):
    with pytest.raises(SettingError):
        make()


@pytest.mark.parametrize(("name", "hint"), [("lorra", "did you mean 'lora'"), ("nowhere.toml", "no such recipe")])
def test_unknown_names(name, hint):
    with pytest.raises(SettingError, match=hint):
        load_recipes(name)


def test_settings_of_augmentation_survive_a_round_trip_and_say_what_acts():
    recipe = Recipe(name="a", augmentation=Augmentation(crop=0.5, polarity_flip=0.1))
    again = recipe_from_tables(tomllib.loads(recipe_text(recipe)), "again.toml", "")
    assert again == recipe
    assert again.augmentation.acting == ("crop", "polarity_flip")
    assert Augmentation().acting == ()
    assert differences(Recipe(name="a"), recipe) == [
        "augmentation.crop was 1.0, now 0.5",
        "augmentation.polarity_flip was 0.0, now 0.1",
    ]


def test_differences_are_named():
    one = Recipe(name="a")
    other = replace(
        one, optimisation=Optimisation(epochs=3), data=DataSettings(normalisation="none"), method=LoRA(rank=2)
    )
    found = "; ".join(differences(one, other))
    assert "optimisation.epochs was 20, now 3" in found
    assert "data.normalisation was zscore, now none" in found
    assert "rank=2" in found


@pytest.mark.parametrize(("adapter", "mode"), [("true", "adapter"), ("false", "copy")])
def test_a_run_that_named_the_lead_adapter_apart_is_read(adapter, mode):
    text = f'[method]\nname = "probe"\n[model]\nlead_mode = "copy"\nlead_adapter = {adapter}\n'
    stored = recipe_from_tables(stored_tables(tomllib.loads(text)), "recipe.toml", "run")
    assert stored.model.lead_mode == mode
