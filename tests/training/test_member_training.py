"""Several members in real trainings: each as if it trained by itself, stopped anywhere, on what is computed once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import ecgtune
from ecgtune.config.augmentation import Augmentation
from ecgtune.data.augmentation import WindowAugmentation
from ecgtune.methods.added_settings import SideTuning
from ecgtune.methods.attach import attach, encoders_of
from ecgtune.methods.low_rank_settings import LoRA
from ecgtune.methods.members import member_seed
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.training.batches import Windows
from ecgtune.training.classification import Classification
from ecgtune.training.inference import logits_of
from ecgtune.training.loop import train
from ecgtune.training.objective import StepContext
from ecgtune.training.predictions import read_predictions
from ecgtune.training.prefix import compute_once
from ecgtune.training.run_folder import RunFolder
from ecgtune.training.views import views_of
from helpers.methods import SEVERAL
from helpers.models import tiny_classifier
from helpers.training import SETTINGS, TRAINING, VALIDATION, Interrupted, numbers, run

#: A weight of LoRA that is random at the start.
A = "base_model.model.layers.0.attention.q_proj.lora_A.default.weight"
AUGMENTATION = Augmentation(shift=0.1, gain=0.2, noise=0.1)
#: A training in which the size of the gradient does not matter, so that a mean over members is no other for each.
FREE = replace(SETTINGS, optimizer="adam", weight_decay=0.0, clip=0, best="last")
#: And in which the order does not matter either.
WHOLE = replace(FREE, batch_size=len(TRAINING), epochs=6)


def augmentation() -> WindowAugmentation:
    return WindowAugmentation(AUGMENTATION, windows=len(TRAINING), leads=1, sampling_rate=100.0, normalise=True)


@pytest.mark.parametrize("method", [LoRA(rank=2), SideTuning(width=8)], ids=str)
@pytest.mark.parametrize("augment", [None, augmentation()], ids=["plain", "augmented"])
def test_each_member_learns_what_it_would_by_itself(method, augment, tmp_path):
    model = attach(tiny_classifier(), method, members=2)
    objective = Classification(model, method, TRAINING, VALIDATION, WHOLE, augment)
    train(objective, WHOLE, seed=0, folder=RunFolder(tmp_path / "both"), progress=Interrupted())
    logits = []
    for member in range(2):
        seed = member_seed(0, member)
        alone = attach(tiny_classifier(), method, seed=seed)
        objective = Classification(alone, method, TRAINING, VALIDATION, WHOLE, augment)
        train(objective, WHOLE, seed=seed, folder=RunFolder(tmp_path / f"{member}"), progress=Interrupted())
        logits.append(logits_of(alone, VALIDATION.inputs))
    assert np.abs(logits[0] - logits[1]).max() > 5e-3
    np.testing.assert_allclose(logits_of(model, VALIDATION.inputs), np.mean(logits, axis=0), rtol=0, atol=5e-4)


@pytest.mark.parametrize("method", SEVERAL, ids=str)
def test_stopped_and_resumed_ends_on_the_same_bits(method, tmp_path):
    often = replace(SETTINGS, save_minutes=1e-9, ema=0.9)
    whole, logits, log = run(tmp_path / "whole", method, often, augment=augmentation(), members=2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", method, often, augment=augmentation(), members=2, stop_after=9)
    resumed, again, resumed_log = run(tmp_path / "stopped", method, often, augment=augmentation(), members=2)
    assert np.array_equal(again, logits)
    assert resumed_log == log
    assert "moved the output" in whole.audit
    assert resumed.audit == whole.audit
    assert all(0 < row["train_accuracy"] <= 1 for row in log)


def test_pieces_of_a_batch_give_the_gradient_of_the_whole(tmp_path):
    settings = replace(FREE, class_weights="balanced")
    _, whole, log = run(tmp_path / "whole", settings=settings, members=3)
    _, pieces, pieces_log = run(tmp_path / "pieces", settings=replace(settings, accumulate=3), members=3)
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-3)
    np.testing.assert_allclose([row["train_loss"] for row in pieces_log], [row["train_loss"] for row in log], rtol=1e-4)


@pytest.mark.parametrize("method", [LoRA(rank=2), SideTuning(width=8)], ids=str)
def test_the_same_training_on_what_is_computed_once(method, tmp_path, monkeypatch):
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    found = {}
    for setting in ("on", "off"):
        settings = replace(SETTINGS, prefix_cache=setting)
        model = attach(tiny_classifier(), method, members=2)
        once = compute_once(model, method, TRAINING, VALIDATION, settings, augmented=False)
        objective = Classification(model, method, once.training, once.validation, settings)
        train(objective, settings, seed=0, folder=RunFolder(tmp_path / setting), progress=Interrupted())
        found[setting] = logits_of(model, VALIDATION.inputs), numbers(RunFolder(tmp_path / setting))
    np.testing.assert_allclose(found["on"][0], found["off"][0], rtol=0, atol=1e-5)
    assert [row["train_loss"] for row in found["on"][1]] == pytest.approx(
        [row["train_loss"] for row in found["off"][1]], abs=1e-5
    )


def test_every_member_sees_every_window_once_in_an_epoch_in_an_order_and_a_copy_of_its_own():
    method = SideTuning(width=8)
    model = attach(tiny_classifier(), method, members=3)
    copies = views_of(TRAINING, augmentation(), seed=0, copies=2)
    objective = Classification(model, method, copies, VALIDATION, SETTINGS, copies=2)
    context = StepContext(seed=0, epoch=1, step=6, total_steps=18)
    rows = np.arange(len(TRAINING))
    inputs, label = objective.batch(rows, context, torch.device("cpu"))
    assert objective.weight(rows, context) == 3 * len(TRAINING)
    parts = [part.numpy() for part in inputs.chunk(3)]
    seen = []
    for number, part in enumerate(parts):
        shown = copies.inputs[rows + (1 + number) % 2 * len(TRAINING)]
        order = [int(np.flatnonzero((shown == window).all(axis=(1, 2)))[0]) for window in part]
        assert sorted(order) == list(rows)
        assert np.array_equal(label.chunk(3)[number].numpy(), TRAINING.label[order])
        seen.append(order)
    assert seen[0] == list(rows)
    assert seen[1] != seen[2]


def test_depth_and_checkpoints_are_set_for_every_member(tmp_path):
    settings = replace(SETTINGS, drop_path=0.4, checkpointing=True)
    model = attach(tiny_classifier(), LoRA(rank=2), members=2)
    Classification(model, LoRA(rank=2), TRAINING, VALIDATION, settings)
    for encoder in encoders_of(model):
        base = encoder.get_base_model()
        assert isinstance(base, EcgFM)
        assert base._checkpointing
        assert base.layers[-1].drop_path == 0.4


def test_missing_labels_of_one_member_do_not_dilute_the_others():
    label = np.full((6, 2), -1, np.int8)
    label[0] = 1, 0
    training = Windows(TRAINING.inputs[:6], label)
    model = attach(tiny_classifier(), LoRA(rank=2), members=3)
    objective = Classification(model, LoRA(rank=2), training, training, SETTINGS)
    context = StepContext(seed=0, epoch=0, step=0, total_steps=9)
    for rows in (*np.arange(6)[:, None], np.arange(6)):
        _, labels = objective.batch(rows, context, torch.device("cpu"))
        assert objective.weight(rows, context) == max(1, int((labels >= 0).sum()))


def test_a_loaded_run_answers_as_it_was_measured(tmp_path):
    dataset = ecgtune.simulate(windows=90, seed=0, seconds=3)
    run = ecgtune.fine_tune(
        ecgtune.load_model("ecg-fm-tiny"),
        dataset,
        method=LoRA(rank=1),
        members=2,
        training=replace(SETTINGS, epochs=2, batch_size=16),
        out=tmp_path / "run",
        quiet=True,
    )
    kept = read_predictions(run.folder / "predictions.csv").of("test")
    again = ecgtune.load_run(tmp_path / "run").predict(dataset.signal[kept.row])[:, 1]
    np.testing.assert_allclose(again, kept.probability, rtol=0, atol=1e-5)
    assert run.metrics["method"].endswith(", 2 members")
    assert "2 members" in (run.folder / "README.md").read_text("utf-8")
    assert not np.allclose(encoders_of(run.model)[0].state_dict()[A], encoders_of(run.model)[1].state_dict()[A])
