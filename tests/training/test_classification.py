"""Parts of a recipe that can be switched on, in real trainings: each against steps written out, stops and processes."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ecgtune.config.augmentation import Augmentation
from ecgtune.data.augmentation import WindowAugmentation
from ecgtune.errors import SettingError
from ecgtune.methods.attach import attach
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.methods.split import reads_features, split_point, trained_part
from ecgtune.models.classifier import Head
from ecgtune.models.loading import load_model
from ecgtune.training.batches import TrainingInputs, Windows
from ecgtune.training.classification import Classification
from ecgtune.training.inference import logits_of, precompute
from ecgtune.training.loop import train
from ecgtune.training.run_folder import RunFolder
from helpers.methods import slow
from helpers.models import TINY, tiny_classifier
from helpers.settings import loop
from helpers.training import SETTINGS, TRAINING, VALIDATION, check_resume, run, whole

AUGMENTATION = Augmentation(shift=0.1, crop=0.9, time_stretch=0.1, polarity_flip=0.3, gain=0.1, wander=0.2, noise=0.1)


def augmentation() -> WindowAugmentation:
    return WindowAugmentation(AUGMENTATION, windows=len(TRAINING), leads=1, sampling_rate=100.0, normalise=True)


def test_label_smoothing_is_torchs_and_only_of_the_training_loss(tmp_path):
    settings = loop(
        epochs=2, batch_size=44, learning_rate=1e-3, optimizer="adam", weight_decay=0.0, schedule="constant",
        max_grad_norm=0, class_weights="balanced", label_smoothing=0.2, device="cpu", precision="fp32",
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


def test_the_training_accuracy_is_of_the_windows_of_an_epoch(tmp_path):
    """Of two copies of the training windows an epoch shows one."""
    frozen = loop(SETTINGS, epochs=2, learning_rate=1e-9, schedule="constant")
    twice = Windows(np.concatenate([TRAINING.inputs] * 2), np.tile(TRAINING.label, 2))
    found = []
    for training, copies in ((TRAINING, 1), (twice, 2)):
        model = attach(tiny_classifier(), LoRA(rank=2))
        objective = Classification(model, LoRA(rank=2), TrainingInputs(training, VALIDATION, copies=copies), *frozen)
        result = train(objective, *frozen, seed=0, folder=RunFolder(tmp_path / str(copies)))
        found.append([row["train_accuracy"] for row in result.log])
    assert found[1] == pytest.approx(found[0], abs=1 / len(TRAINING))


def test_augmentation_acts_on_training_windows_and_not_on_validation(tmp_path):
    frozen = loop(SETTINGS, learning_rate=1e-7, schedule="constant")
    _, _, plain = run(tmp_path / "plain", LoRA(rank=2), frozen)
    _, _, log = run(tmp_path / "augmented", LoRA(rank=2), frozen, augment=augmentation())
    assert abs(log[0]["train_loss"] - plain[0]["train_loss"]) > 1e-4
    assert abs(log[1]["train_loss"] - log[0]["train_loss"]) > 1e-5  # other windows in every epoch
    assert log[0]["val_loss"] == pytest.approx(plain[0]["val_loss"], abs=1e-4)


def test_augmented_training_resumes_on_the_same_bits(tmp_path):
    often = loop(SETTINGS, save_minutes=1e-9, ema=0.9, label_smoothing=0.1)
    whole = run(tmp_path / "whole", settings=often, augment=augmentation())
    check_resume(tmp_path / "stopped", settings=often, expected=whole, augment=augmentation())


def test_pieces_of_a_batch_are_augmented_as_the_whole(tmp_path):
    settings = loop(SETTINGS, optimizer="adam", weight_decay=0.0)
    _, whole, log = run(tmp_path / "whole", Full(), settings, augment=augmentation())
    _, pieces, pieces_log = run(
        tmp_path / "pieces", Full(), loop(settings, gradient_accumulation_steps=3), augment=augmentation()
    )
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-3)
    np.testing.assert_allclose([row["train_loss"] for row in pieces_log], [row["train_loss"] for row in log], rtol=1e-4)


def by_hand(result, method, rate_of) -> None:
    """Hold the log of full-batch Adam with a constant rate to steps written out; `rate_of` a weight's name."""
    model = attach(tiny_classifier(), method).train()
    groups = [{"params": [p], "lr": rate_of(n)} for n, p in model.named_parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(groups)
    for row in result.log:
        logits = model(torch.from_numpy(TRAINING.inputs))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(TRAINING.label))
        assert row["train_loss"] == pytest.approx(loss.item(), abs=1e-5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


WHOLE_BATCHES = loop(
    epochs=4, batch_size=44, learning_rate=1e-3, optimizer="adam", weight_decay=0.0, schedule="constant",
    max_grad_norm=0, device="cpu", precision="fp32",
)  # fmt: skip


def test_the_head_has_its_own_rate(tmp_path):
    method = LoRA(rank=2, lora_plus_ratio=5.0)
    result, _, _ = run(tmp_path, method, loop(WHOLE_BATCHES, head_rate_factor=20.0))
    by_hand(result, method, lambda name: 1e-3 * (20 if name.startswith("head.") else 5 if "lora_B" in name else 1))


def test_a_rate_found_on_a_narrower_encoder_is_scaled(tmp_path):
    scaled = loop(WHOLE_BATCHES, learning_rate=4e-3, rate_width=TINY.width // 4)
    result, _, _ = run(tmp_path, LoRA(rank=2), scaled)
    by_hand(result, LoRA(rank=2), lambda name: 1e-3)


def test_lower_layers_learn_more_slowly(tmp_path):
    result, _, _ = run(tmp_path, Full(), loop(WHOLE_BATCHES, layer_decay=0.3))
    share = {"encoder.layers.1": 1.0, "encoder.layers.0": 0.3, "head": 1.0}
    by_hand(result, Full(), lambda name: 1e-3 * next((s for part, s in share.items() if name.startswith(part)), 0.09))


def test_stochastic_depth_acts_in_training_alone_and_resumes_on_the_same_bits(tmp_path):
    method = LoRA(rank=2)
    often = loop(SETTINGS, save_minutes=1e-9, drop_path=0.4)
    assert whole(method, often)[2][0]["train_loss"] != whole(method)[2][0]["train_loss"]
    check_resume(tmp_path, method, often)


@pytest.mark.parametrize(
    "settings", [loop(SETTINGS, drop_path=0.1), loop(SETTINGS, layer_decay=0.5)], ids=["drop", "decay"]
)
def test_what_cannot_act_is_refused_by_the_objective_too(settings, tmp_path):
    with pytest.raises(SettingError, match="probe"):
        run(tmp_path, LinearProbe(), settings)


@pytest.mark.parametrize(
    "method",
    [LinearProbe(), *slow(LoRA(rank=2, dropout=0.2), SideTuning(width=8))],
    ids=str,
)
def test_a_learned_pooling_trains_with_every_kind_of_method(method, tmp_path):
    head = Head(pooling="attention")
    check_resume(tmp_path, method, head=head)
    assert "moved the output" in whole(method, head=head)[0].audit
    query = load_file(tmp_path / "best" / "head.safetensors")["query"]
    assert query.shape == (32,)
    assert query.abs().max() > 1e-3


def test_a_mix_of_layers_is_learned_on_features_as_on_signals(tmp_path):
    """Where mixing and pooling may change places, what is computed once gives what the whole model does."""
    method = LinearProbe(layers="mix")
    settings = loop(SETTINGS, epochs=2, learning_rate=1e-2)
    model = attach(tiny_classifier(), method)
    assert precompute(model, TRAINING, split=split_point(model, method)).inputs.shape == (44, 3, 32)
    _, logits, _ = run(tmp_path / "once", method, settings)
    mix = load_file(tmp_path / "once" / "best" / "trained.safetensors")["mix"]
    assert mix.shape == (3,)
    assert mix.abs().max() > 1e-3

    model = attach(tiny_classifier(), method)
    objective = Classification(model, method, TrainingInputs(TRAINING, VALIDATION), *settings)
    objective.trained = model  # on signals
    objective._audits._trained = model
    train(objective, *settings, seed=0, folder=RunFolder(tmp_path / "signals"))
    np.testing.assert_allclose(logits_of(model, VALIDATION.inputs), logits, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "pooling", "once"),
    [
        (LinearProbe(), "mean", True),
        (LinearProbe(), "statistics", True),
        (LinearProbe(), "attention", False),
        (LinearProbe(layers="mix"), "mean", True),
        (LinearProbe(layers="mix"), "statistics", False),
        (SideTuning(width=8), "mean", False),
        (LoRA(rank=2), "statistics", False),
    ],
    ids=str,
)
def test_what_is_computed_once_and_what_the_head_answers_then(method, pooling, once):
    model = attach(tiny_classifier(head=Head(pooling=pooling)), method)
    assert reads_features(model, method) == once
    if once:
        features = precompute(model, VALIDATION, split=split_point(model, method))
        answers = logits_of(trained_part(model, features.split), features.inputs)
        np.testing.assert_allclose(answers, logits_of(model, VALIDATION.inputs), atol=1e-6)


def test_an_encoder_that_is_only_read_keeps_its_running_statistics():
    model = attach(load_model("resnet-1d", head=Head(pooling="attention")), LinearProbe())
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad():
        model.train()(torch.randn(4, 1, 200))
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert model.head.training
