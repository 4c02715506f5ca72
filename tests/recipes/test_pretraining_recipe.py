"""Recipes of pretraining: apart from those of fine-tuning, strict, and a round trip."""

import tomllib
from dataclasses import replace

import pytest

from ecgtune.config.optimisation import Optimisation
from ecgtune.errors import SettingError
from ecgtune.recipes.pretraining import (
    ContrastiveTask,
    Crops,
    EncoderSizes,
    MaskedTeacherTask,
    Pretraining,
    load_pretraining_recipe,
    pretraining_differences,
    pretraining_from_tables,
    pretraining_text,
)
from ecgtune.recipes.recipe import list_pretrainings, list_recipes, load_recipes, recipe_folder


@pytest.mark.parametrize("name", list_pretrainings())
def test_every_pretraining_loads_and_survives_a_round_trip(name):
    recipe = load_pretraining_recipe(name)
    again = pretraining_from_tables(tomllib.loads(pretraining_text(recipe)), "again.toml", "")
    assert again == recipe
    assert pretraining_differences(recipe, again) == []
    assert (recipe_folder() / f"{name}.toml").read_text().startswith("# ")


def test_the_two_kinds_of_recipe_stay_apart():
    continuing = ["continue-contrastive", "continue-masked-signal", "continue-masked-teacher"]
    assert list_pretrainings() == [*continuing, "pretrain-tiny", "pretrain-tiny-contrastive"]
    assert not set(list_pretrainings()) & set(list_recipes())
    with pytest.raises(SettingError, match="ecgtune pretrain --recipe"):
        load_recipes("pretrain-tiny")
    with pytest.raises(SettingError, match=r"no table 'objective'.*pretrain-tiny"):
        load_pretraining_recipe("lora")
    with pytest.raises(SettingError, match="did you mean 'pretrain-tiny'"):
        load_pretraining_recipe("pretrain-tinny")


def test_what_ships_has_the_sizes_of_ecg_fm_tiny():
    for name in list_pretrainings():
        assert load_pretraining_recipe(name).encoder == EncoderSizes()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[objective]\nmasks = 2", ["name", "contrastive", "data2vec"]),
        ('[objective]\nname = "data2vek"', ["data2vek", "did you mean 'data2vec'"]),
        ('[objective]\nname = "data2vec"\nmask = 2', ["mask", "did you mean 'masks'"]),
        ('[objective]\nname = "data2vec"\nvisible = 1.0', ["visible", "1.0"]),
        ('[objective]\nname = "data2vec"\ndecoder_kernel = 4', ["decoder_kernel", "odd"]),
        ('[objective]\nname = "data2vec"\ndecoder_width = 30', ["decoder_groups"]),
        ('[objective]\nname = "data2vec"\ndecay_start = 0.9999', ["decay"]),
        ('[objective]\nname = "data2vec"\nkeep = "both"', ["keep", "student"]),
        ('[objective]\nname = "data2vec"\nrhythm = -1', ["rhythm", "-1", "0 (off) or more"]),
        ('[objective]\nname = "data2vec"\nmasks = 0', ["masks", "0", "1 or more, or 0 when rhythm is above 0"]),
        ('[objective]\nname = "data2vec"\nmasks = -1\nrhythm = 1', ["masks", "-1"]),
        ('[objective]\nname = "contrastive"\nmasked = 0.0', ["masked"]),
        ('[objective]\nname = "contrastive"\ncode_width = 15', ["code_width", "groups"]),
        ('[objective]\nname = "contrastive"\nnegatives = 0', ["negatives", "1 to 65536"]),
        (
            '[objective]\nname = "contrastive"\n[optimisation]\ncheckpoint_metric = "auroc"',
            ["auroc", "no labels", "last, loss"],
        ),
        ('[objective]\nname = "contrastive"\n[method]\nname = "lora"', ["method"]),
        ('[objective]\nname = "contrastive"\n[encoder]\nwidth = 0', ["width", "0"]),
        ('[objective]\nname = "contrastive"\n[crops]\ntime_stretch = 1.5', ["time_stretch", "1.5"]),
        ('[objective]\nname = "contrastive"\n[crops]\nnoise = -1.0', ["noise"]),
        ('[objective]\nname = "contrastive"\n[crops]\nval_fraction = 0.0', ["val_fraction"]),
        ('[objective]\nname = "contrastive"\n[crops]\nwindow_seconds = 0', ["window_seconds"]),
        (
            '[objective]\nname = "contrastive"\n[optimisation]\nclass_weights = "balanced"',
            ["class_weights", "fine-tuning only"],
        ),
        ('[objective]\nname = "contrastive"\n[trainer]\nmax_memory = "4GB"', ["max_memory", "fine-tuning only"]),
        (
            '[objective]\nname = "contrastive"\n[optimisation]\nlabel_smoothing = 0.1',
            ["label_smoothing", "fine-tuning only"],
        ),
        ('[objective]\nname = "contrastive"\n[optimisation]\ndrop_path = 0.1', ["drop_path", "fine-tuning only"]),
        ('[objective]\nname = "data2vec"\nkeep = "teacher"\n[optimisation]\nema = 0.9', ["ema is 0.9", "teacher"]),
        ('objective = "contrastive"', ["[objective]"]),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path, text, parts):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(SettingError) as error:
        load_pretraining_recipe(str(file))
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_differences_are_named():
    one = Pretraining("a")
    other = replace(
        one,
        objective=MaskedTeacherTask(masks=8),
        encoder=EncoderSizes(width=256),
        crops=Crops(noise=0.1),
        optimisation=Optimisation(epochs=3, checkpoint_metric="loss"),
    )
    assert pretraining_differences(one, other) == [
        "objective.masks was 4, now 8",
        "encoder.width was 192, now 256",
        "crops.noise was 0.0, now 0.1",
        "optimisation.epochs was 20, now 3",
        "optimisation.checkpoint_metric was last, now loss",
    ]
    assert pretraining_differences(one, replace(one, objective=ContrastiveTask())) == [
        "objective was data2vec, now contrastive"
    ]
