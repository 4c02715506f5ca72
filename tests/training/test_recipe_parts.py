"""Parts of a recipe that can be switched on, in real trainings: each against steps written out, stops and processes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ecgtune.data import WindowAugmentation
from ecgtune.methods import attach
from ecgtune.recipe import Augmentation, Full, LoRA, Training
from models_for_tests import tiny_classifier
from training_for_tests import SETTINGS, TRAINING, VALIDATION, run

AUGMENTATION = Augmentation(shift=0.1, crop=0.9, stretch=0.1, sign=0.3, gain=0.1, wander=0.2, noise=0.1)


def augmentation() -> WindowAugmentation:
    return WindowAugmentation(AUGMENTATION, windows=len(TRAINING), leads=1, sampling_rate=100.0, normalise=True)


def test_label_smoothing_is_torchs_and_only_of_the_training_loss(tmp_path):
    settings = Training(
        epochs=2, batch_size=44, learning_rate=1e-3, optimizer="adam", weight_decay=0.0, schedule="constant", clip=0,
        class_weights="balanced", label_smoothing=0.2, device="cpu",
    )  # fmt: skip
    result, _, _ = run(tmp_path, Full(), settings)

    model = attach(tiny_classifier(), Full()).train()
    weight = torch.tensor(44 / (2 * np.bincount(TRAINING.label)), dtype=torch.float32)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for row in result.log:
        smoothed = torch.nn.CrossEntropyLoss(weight, label_smoothing=0.2)
        loss = smoothed(model(torch.from_numpy(TRAINING.inputs)), torch.from_numpy(TRAINING.label))
        assert row["train_loss"] == pytest.approx(loss.item(), abs=2e-5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            logits = model.eval()(torch.from_numpy(VALIDATION.inputs))
        model.train()
        plain = torch.nn.functional.cross_entropy(logits, torch.from_numpy(VALIDATION.label)).item()
        assert row["val_loss"] == pytest.approx(plain, abs=2e-5)


def test_augmentation_acts_on_training_windows_and_not_on_validation(tmp_path):
    frozen = replace(SETTINGS, learning_rate=1e-7, schedule="constant")
    _, _, plain = run(tmp_path / "plain", LoRA(rank=2), frozen)
    _, _, log = run(tmp_path / "augmented", LoRA(rank=2), frozen, augment=augmentation())
    assert abs(log[0]["train_loss"] - plain[0]["train_loss"]) > 1e-4
    assert abs(log[1]["train_loss"] - log[0]["train_loss"]) > 1e-5  # other windows in every epoch
    assert log[0]["val_loss"] == pytest.approx(plain[0]["val_loss"], abs=1e-4)


@pytest.mark.parametrize("stop_after", [1, 9])
def test_augmented_training_resumes_on_the_same_bits(stop_after, tmp_path):
    often = replace(SETTINGS, save_minutes=1e-9, ema=0.9, label_smoothing=0.1)
    _, logits, log = run(tmp_path / "whole", settings=often, augment=augmentation())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", settings=often, stop_after=stop_after, augment=augmentation())
    _, resumed, resumed_log = run(tmp_path / "stopped", settings=often, augment=augmentation())
    assert np.array_equal(resumed, logits)
    assert resumed_log == log


def test_pieces_of_a_batch_are_augmented_as_the_whole(tmp_path):
    settings = replace(SETTINGS, optimizer="adam", weight_decay=0.0)
    _, whole, log = run(tmp_path / "whole", Full(), settings, augment=augmentation())
    _, pieces, pieces_log = run(tmp_path / "pieces", Full(), replace(settings, accumulate=3), augment=augmentation())
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-3)
    np.testing.assert_allclose([row["train_loss"] for row in pieces_log], [row["train_loss"] for row in log], rtol=1e-4)
