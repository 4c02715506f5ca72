"""Augmentation of a recipe, from the settings to the windows that a training sees."""

import json
from dataclasses import replace

import numpy as np
import pytest

import ecgtune
from ecgtune.config.augmentation import Augmentation
from ecgtune.config.data import DataSettings
from ecgtune.data.augmentation import WindowAugmentation
from ecgtune.data.splits import draw_split
from ecgtune.errors import SettingError
from ecgtune.methods.side.settings import SideTuning
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.classifier import Classifier, Head, LoadedFrom
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.models.weights import Weights
from ecgtune.recipes.recipe import load_recipes
from ecgtune.training.augmented_copies import augmented_copies
from ecgtune.training.batches import Windows
from ecgtune.training.classification import Classification
from ecgtune.training.predictions import read_predictions
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.ready import RunBuilder
from ecgtune.workflows.run import fit
from helpers.methods import slow
from helpers.models import TINY
from helpers.published import TINY as TINY_ENCODERS
from helpers.settings import loop

SHORT = loop(epochs=1, batch_size=32, device="cpu", ema=0.9, label_smoothing=0.1)
DATA = ecgtune.simulate(120, seed=1, seconds=3)


@pytest.fixture
def fine_tune(encoder):
    def fine_tune(out, augmentation, method=ecgtune.LoRA(rank=2), settings=SHORT):  # noqa: B008
        recipe = ecgtune.Recipe(method=method, augmentation=augmentation, **settings._asdict())
        model = ecgtune.load_model(encoder, classes=DATA.classes)
        return ecgtune.fine_tune(DATA, recipe, model=model, out=out)

    return fine_tune


def test_a_run_sees_augmented_windows_keeps_its_settings_and_predicts_plain_ones(fine_tune, tmp_path, monkeypatch):
    seen = []
    batch = Classification.batch

    def watched(self, rows, moment, device):
        found = batch(self, rows, moment, device)
        seen.append(found[0].shape)
        return found

    monkeypatch.setattr(Classification, "batch", watched)
    run = fine_tune(tmp_path / "run", Augmentation(crop=0.75, polarity_flip=0.5))
    assert {shape[1:] for shape in seen} == {(1, 225)}
    assert load_recipes(str(tmp_path / "run" / "recipe.toml"))[0].augmentation == Augmentation(
        crop=0.75, polarity_flip=0.5
    )
    stored = read_predictions(run.folder / "predictions.csv")
    again = ecgtune.load_run(run.folder).predict(DATA.signal[stored.row])
    assert np.array_equal(again[:, 1], stored.probability)


@pytest.mark.parametrize(
    ("augmentation", "options", "parts"),
    [
        (
            Augmentation(noise=0.1, polarity_flip=0.2),
            {"method": ecgtune.LinearProbe()},
            ["polarity_flip 0.2, noise 0.1", "leave out"],
        ),
        (Augmentation(lead_mask=0.2), {}, ["lead_mask", "only lead"]),
        (Augmentation(crop=0.01), {}, ["crop 0.01", "3 of 300 samples", "0.0267 or more"]),
    ],
)
def test_what_cannot_act_is_refused_and_leaves_nothing(fine_tune, augmentation, options, parts, tmp_path):
    with pytest.raises(SettingError) as error:
        fine_tune(tmp_path / "run", augmentation, **options)
    assert all(part in str(error.value) for part in parts), str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """Make a run of an encoder that takes windows from 0 to 1, with an augmentation."""
    place = tmp_path_factory.mktemp("preset")
    save_encoder(TINY_ENCODERS["merl-resnet18"](), place / "encoder")
    two = replace(DATA, signal=np.concatenate([DATA.signal, DATA.signal[::-1] + 0.3], axis=1), leads=("I", "II"))

    def ready(augmentation):
        recipe = ecgtune.Recipe(method=ecgtune.LoRA(rank=2), augmentation=augmentation, **SHORT._asdict())
        model = ecgtune.load_model(place / "encoder", classes=two.classes, leads=two.leads)
        return RunBuilder(two, draw_split(two, recipe.data)).ready(recipe, seed=0, folder=place / "run", model=model)

    return ready


@pytest.mark.parametrize(
    "augmentation", [Augmentation(noise=1e-6), Augmentation(polarity_flip=1.0), Augmentation(lead_mask=0.6)], ids=str
)
def test_windows_of_a_preset_are_augmented_in_millivolts(ready, augmentation):
    made = ready(augmentation)
    prepared, rows = made.prepared, made.prepared.split.train
    found = made.augmentation(prepared.unscaled(rows).inputs[:8], np.arange(8), 0, 0)
    signal = np.array(prepared.dataset.signal[rows[:8]])
    if augmentation.polarity_flip:
        signal = -signal
        plain = prepared.windows(rows).inputs[:8]
        assert (plain.min(), plain.max()) == pytest.approx((0, 1), abs=1e-6)
        np.testing.assert_allclose(found, 1 - plain, atol=1e-5)
    if augmentation.lead_mask:
        masked = np.ptp(found, axis=-1) == 0
        assert masked.any()
        assert (found[masked] > 0.05).any()  # zero millivolts lie inside of the range
        signal[masked] = 0
    np.testing.assert_allclose(found, prepared.preprocessing(signal, prepared.dataset.sampling_rate), atol=1e-4)


def test_a_run_of_a_preset_sees_windows_augmented_in_millivolts(ready, monkeypatch):
    seen = []
    batch = Classification.batch

    def watched(self, rows, moment, device):
        found = batch(self, rows, moment, device)
        seen.append((rows, found[0].numpy()))
        return found

    monkeypatch.setattr(Classification, "batch", watched)
    made = ready(Augmentation(polarity_flip=1.0))
    fit(made, ProgressBar())
    plain = made.prepared.windows(made.prepared.split.train).inputs
    assert seen
    for rows, inputs in seen:
        np.testing.assert_allclose(inputs, 1 - plain[rows], atol=1e-5)


def test_a_comparison_with_a_variant_that_it_cannot_reach_trains_none(tmp_path):
    variants = [
        replace(recipe, augmentation=Augmentation(noise=0.1))
        for name in ("lora", "probe")
        for recipe in load_recipes(name)
    ]
    with pytest.raises(SettingError, match="probe trains on cached features"):
        ecgtune.compare(DATA, variants, ecgtune.CompareSettings(seeds=1), out=tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize("method", [ecgtune.LoRA(rank=2), *slow(ecgtune.LinearProbe(), SideTuning(width=8))], ids=str)
def test_copies_made_beforehand_train_as_if_each_epoch_made_its_own(fine_tune, method, tmp_path, monkeypatch):
    """Copies that an encoder was run on once, against copies that are made anew and run through it at every step."""
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    augmentation = Augmentation(polarity_flip=0.5, noise=0.1, augmented_copies=2)
    logs = {}
    for cache in ("auto", "off"):
        settings = loop(SHORT, epochs=3, precision="fp32", prefix_cache=cache)
        run = fine_tune(tmp_path / cache, augmentation, method, settings)
        lines = (run.folder / "log.jsonl").read_text().splitlines()
        logs[cache] = [[json.loads(line)[name] for name in ("train_loss", "val_loss")] for line in lines]
        assert load_recipes(str(run.folder / "recipe.toml"))[0].augmentation == augmentation
    assert any((tmp_path / "cache").glob("prefix-*.npy"))
    np.testing.assert_allclose(logs["auto"], logs["off"], rtol=0, atol=2e-5)


def test_copies_are_what_as_many_epochs_show(tmp_path):
    windows = Windows(DATA.signal[:7], DATA.label[:7])
    settings = Augmentation(shift=0.1, crop=0.9, polarity_flip=0.5)
    augment = WindowAugmentation(settings, windows=7, leads=1, sampling_rate=100.0, normalise=True)
    copies = augmented_copies(windows, augment, seed=3, copies=2)
    rows = np.arange(7)
    shown = np.concatenate([augment(windows.inputs, rows, 3, epoch) for epoch in (0, 1)])
    assert copies.inputs.shape == shown.shape == (14, 1, 270)
    assert np.array_equal(copies.inputs[:], shown)
    mixed = np.array([13, 0, 7, 6, 8])
    assert np.array_equal(copies.inputs[mixed], shown[mixed])
    assert np.array_equal(copies.label, np.tile(windows.label, 2))


def test_as_many_copies_as_epochs_are_not_computed_beforehand(fine_tune, tmp_path, caplog):
    caplog.set_level("INFO", "ecgtune")
    fine_tune(
        tmp_path / "run",
        Augmentation(polarity_flip=0.5, augmented_copies=5),
        SideTuning(width=8),
        loop(SHORT, epochs=2),
    )
    assert "no augmented copy is used twice" in caplog.text


def test_several_leads_in_millivolts(tmp_path):
    two = replace(DATA, signal=np.repeat(DATA.signal, 2, axis=1), leads=("I", "II"), unit="mV")
    augmentation = Augmentation(lead_mask=0.4, shift=0.1, wander=0.1)
    encoder = EcgFM(replace(TINY, leads=two.leads))
    model = Classifier(encoder, Head(), DATA.classes, Weights("random", "tiny", seed=0), LoadedFrom("ecg-fm-tiny"))
    unscaled = DataSettings(normalisation="none")
    recipe = ecgtune.Recipe(method=ecgtune.Full(), augmentation=augmentation, data=unscaled, **SHORT._asdict())
    run = ecgtune.fine_tune(two, recipe, model=model, out=tmp_path / "run")
    assert np.isfinite(run.metrics["window"]["metrics"]["auroc"]["value"])
