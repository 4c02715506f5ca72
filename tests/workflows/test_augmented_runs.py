"""Augmentation of a recipe, from the settings to the windows that a training sees."""

from dataclasses import replace

import numpy as np
import pytest

import ecgtune
from ecgtune.errors import SettingError
from ecgtune.models import Classifier, EcgFM, Head, Weights
from ecgtune.recipe import Augmentation, Input, load_recipes
from ecgtune.training import Classification, read_predictions
from models_for_tests import TINY

SHORT = ecgtune.Training(epochs=1, batch_size=32, device="cpu", ema=0.9, label_smoothing=0.1)
DATA = ecgtune.simulate(120, seed=1)


def fine_tune(out, augmentation, method=None, data=DATA, **settings):
    model = ecgtune.load_model("ecg-fm-tiny", leads=data.leads)
    options = {"method": method or ecgtune.LoRA(rank=2), "training": SHORT, "out": out, "quiet": True}
    return ecgtune.fine_tune(model, data, augmentation=augmentation, **options, **settings)


def test_a_run_sees_augmented_windows_keeps_its_settings_and_predicts_plain_ones(tmp_path, monkeypatch):
    seen = []
    batch = Classification.batch

    def watched(self, rows, moment, device):
        found = batch(self, rows, moment, device)
        seen.append(found[0].shape)
        return found

    monkeypatch.setattr(Classification, "batch", watched)
    run = fine_tune(tmp_path / "run", Augmentation(crop=0.75, sign=0.5))
    assert {shape[1:] for shape in seen} == {(1, 450)}
    assert load_recipes(str(tmp_path / "run" / "recipe.toml"))[0].augmentation == Augmentation(crop=0.75, sign=0.5)
    stored = read_predictions(run.folder / "predictions.csv")
    again = ecgtune.load_run(run.folder).predict(DATA.signal[stored.row])
    assert np.array_equal(again[:, 1], stored.probability)


@pytest.mark.parametrize(
    ("augmentation", "options", "parts"),
    [
        (Augmentation(noise=0.1, sign=0.2), {"method": ecgtune.LinearProbe()}, ["sign 0.2, noise 0.1", "leave out"]),
        (Augmentation(lead_mask=0.2), {}, ["lead_mask", "only lead"]),
        (Augmentation(crop=0.01), {}, ["crop 0.01", "6 of 600 samples", "0.0133 or more"]),
    ],
)
def test_what_cannot_act_is_refused_and_leaves_nothing(augmentation, options, parts, tmp_path):
    with pytest.raises(SettingError) as error:
        fine_tune(tmp_path / "run", augmentation, **options)
    assert all(part in str(error.value) for part in parts), str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_comparison_with_an_arm_that_it_cannot_reach_trains_none(tmp_path):
    arms = [
        replace(recipe, augmentation=Augmentation(noise=0.1))
        for name in ("lora", "probe")
        for recipe in load_recipes(name)
    ]
    with pytest.raises(SettingError, match="probe trains on features that are computed once"):
        ecgtune.compare(DATA, arms, out=tmp_path / "all", seeds=1, quiet=True)
    assert not (tmp_path / "all").exists()


def test_several_leads_in_millivolts(tmp_path):
    two = replace(DATA, signal=np.repeat(DATA.signal, 2, axis=1), leads=("I", "II"), unit="mV")
    augmentation = Augmentation(lead_mask=0.4, shift=0.1, wander=0.1)
    encoder = EcgFM(replace(TINY, leads=two.leads))
    model = Classifier(encoder, Head(), DATA.classes, Weights("random", "tiny", seed=0), name="ecg-fm-tiny")
    run = ecgtune.fine_tune(
        model, two, method=ecgtune.Full(), training=SHORT, augmentation=augmentation,
        input=Input(normalisation="none"), out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    assert np.isfinite(run.metrics["window"]["metrics"]["auroc"]["value"])
