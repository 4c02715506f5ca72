"""Former names and synonyms: each leads to a name that exists."""

import dataclasses

import pytest

from ecgtune.config.augmentation import Augmentation
from ecgtune.config.data import DataSettings
from ecgtune.config.evaluation import Evaluation
from ecgtune.config.model import ModelSettings
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.renamed import RENAMED, new_name
from ecgtune.config.trainer import TrainerSettings
from ecgtune.errors import SettingError
from ecgtune.methods.adalora.settings import AdaLoRA
from ecgtune.recipes.recipe import load_recipes

SETTINGS = (DataSettings, ModelSettings, Optimisation, TrainerSettings, Augmentation, Evaluation, AdaLoRA)
NAMES = {field.name for cls in SETTINGS for field in dataclasses.fields(cls)}
FLAGS = {"baselines", "no_baselines"}


def test_every_new_name_exists_and_no_old_one_does():
    assert set(RENAMED.values()) <= NAMES | FLAGS
    assert not set(RENAMED) & (NAMES | FLAGS)


def test_a_new_name_is_told_only_where_it_is_allowed():
    assert new_name("clip", {"max_grad_norm"}) == new_name("grad-clip", {"max_grad_norm"}) == "max_grad_norm"
    assert new_name("clip", {"shift"}) is None
    assert new_name("max_grad_norm", {"max_grad_norm"}) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[optimisation]\nclip = 1.0", "[optimisation] of old.toml has no setting 'clip'; use 'max_grad_norm'"),
        ("[augmentation]\nsign = 0.5", "use 'polarity_flip'"),
        ("[data]\nlabel_share = 0.5", "use 'label_fraction'"),
        ("[input]\nlabel_share = 0.5", "[input] of old.toml: use [data] for label_fraction"),
        (
            '[training]\nepochs = 2\nclip = 0\ndevice = "cpu"\nthreshold = "f1"',
            "[training] of old.toml: use [optimisation] for epochs, max_grad_norm and [trainer] for device and "
            "[evaluation] for threshold",
        ),
        ("[training]", "[training] of old.toml: use [optimisation]"),
        ('[optimisation]\ndevice = "cpu"', "[optimisation] of old.toml: use [trainer] for device"),
        ("[model]\nmembers = 3", "'members'; removed; average finished runs"),
        ("[[arm]]\nname = 'a'", "[[arm]]; write [[variant]]"),
    ],
)
def test_an_old_recipe_is_told_what_to_write(text, told, tmp_path):
    (tmp_path / "old.toml").write_text(f'{text}\n[method]\nname = "probe"\n')
    with pytest.raises(SettingError) as error:
        load_recipes(str(tmp_path / "old.toml"))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_an_old_setting_of_a_method_is_told_its_name(tmp_path):
    (tmp_path / "old.toml").write_text('[method]\nname = "adalora"\nsettle = 0.2\n')
    with pytest.raises(SettingError, match="use 'final_fraction'"):
        load_recipes(str(tmp_path / "old.toml"))
