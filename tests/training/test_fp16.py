"""Training in half precision: gradients that overflow are no divergence, and lose no window."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ecgtune.errors import DivergedError, RunError, SettingError
from ecgtune.methods.adalora.settings import AdaLoRA
from ecgtune.methods.attach import attach
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full
from ecgtune.training.batches import TrainingInputs, Windows
from ecgtune.training.callbacks import Callback
from ecgtune.training.classification import Classification
from ecgtune.training.loop import train
from ecgtune.training.precision import LossScale, check_precision
from ecgtune.training.run_folder import RunFolder
from helpers.methods import slow
from helpers.models import tiny_classifier
from helpers.settings import loop
from helpers.training import SETTINGS, TRAINING, VALIDATION, run, whole

HALF = loop(SETTINGS, precision="fp16")
STEPS = 6  # of an epoch


class Overflowing(Classification):
    """Gradients overflow in the first tries of some steps, as too large a loss scale would make them."""

    def __init__(self, *arguments, tries: dict[int, int]):
        super().__init__(*arguments)
        self.left, self.moved = dict(tries), []

    def batch(self, rows, context, device):
        self.now = context.step
        return super().batch(rows, context, device)

    def loss(self, trained, batch):
        terms = super().loss(trained, batch)
        if self.left.get(self.now, 0) > 0:
            self.left[self.now] -= 1
            terms["loss"] = terms["loss"] * math.inf
        return terms

    def after_step(self, context):
        super().after_step(context)
        self.moved.append(context.step)


def overflowing(folder, tries, method=None, settings=HALF, stop=None):
    method = method or LoRA(rank=2)
    inputs = TrainingInputs(TRAINING, VALIDATION)
    objective = Overflowing(attach(tiny_classifier(), method), method, inputs, *settings, tries=tries)

    class Stop(Callback):
        def on_step_end(self, step):
            if stop is not None and len(objective.moved) > stop:
                raise KeyboardInterrupt

    result = train(objective, *settings, seed=0, folder=RunFolder(folder), callbacks=[Stop()])
    return result, objective


@pytest.mark.parametrize("method", [LoRA(rank=2), *slow(Full(), AdaLoRA(rank=1, start_rank=2))], ids=str)
def test_it_trains_as_float32_does(method, tmp_path):
    half, logits, log = run(tmp_path / "half", method, HALF)
    full, expected, _ = whole(method)
    assert not np.array_equal(logits, expected)
    np.testing.assert_allclose([row["train_loss"] for row in log], [row["train_loss"] for row in full.log], rtol=0.05)
    assert sum(row["skipped"] for row in log) <= 2  # the first scale is often too large
    assert half.audit == full.audit


def test_steps_that_overflow_are_taken_again_and_counted(tmp_path):
    plain, smooth = overflowing(tmp_path / "plain", {})
    result, objective = overflowing(tmp_path / "again", {0: 2, 1: 1, 8: 1})
    assert objective.moved == smooth.moved == list(range(3 * STEPS))  # each step has moved once, the first too
    assert [row["skipped"] for row in result.log] == [3, 1, 0]
    state = torch.load(RunFolder(tmp_path / "again").state, weights_only=True)
    assert state["scale"]["scale"] == 65536.0 / 2**4
    # A scale is a power of two: but for what it saves from vanishing, it changes nothing.
    for ours, theirs in zip(result.log, plain.log, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)


def test_an_epoch_of_overflows_is_no_divergence(tmp_path):
    result, _ = overflowing(tmp_path, dict.fromkeys(range(STEPS), 1))
    assert result.log[0]["skipped"] == STEPS
    assert math.isfinite(result.log[0]["train_loss"])


def test_a_resume_goes_on_with_the_scale(tmp_path):
    tries = {2: 1, STEPS: 3}
    often = loop(HALF, save_minutes=1e-9)
    whole, _ = overflowing(tmp_path / "whole", tries, settings=often)
    with pytest.raises(KeyboardInterrupt):
        overflowing(tmp_path / "stopped", tries, settings=often, stop=STEPS + 2)
    state = torch.load(RunFolder(tmp_path / "stopped").state, weights_only=True)
    assert state["scale"]["scale"] == 65536.0 / 2**4
    assert state["state"]["skipped"] == 3
    resumed, _ = overflowing(tmp_path / "stopped", {}, settings=often)
    for ours, theirs in zip(resumed.log, whole.log, strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


def test_what_overflows_at_every_scale_has_diverged(tmp_path):
    with pytest.raises(DivergedError, match="at every loss scale in epoch 1"):
        overflowing(tmp_path, {3: 1000})
    broken = Windows(TRAINING.inputs * np.float32(np.nan), TRAINING.label)
    with pytest.raises(RunError):
        run(tmp_path / "broken", Full(), HALF, training=broken)


@pytest.mark.parametrize("clip", [0, 0.5])
def test_gradients_are_clipped_at_their_own_size(clip, tmp_path):
    """A step of Adam does not see the gradient's size, one of plain weight decay in it does; so look at the norm."""
    seen = []

    class Watched(Classification):
        def after_step(self, context):
            super().after_step(context)
            gradients = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
            seen.append(torch.cat(gradients).norm().item())

    settings = loop(HALF, max_grad_norm=clip, epochs=1)
    objective = Watched(attach(tiny_classifier(), Full()), Full(), TrainingInputs(TRAINING, VALIDATION), *settings)
    train(objective, *settings, seed=0, folder=RunFolder(tmp_path))
    assert (max(seen) <= 0.5 + 1e-4) == bool(clip)
    assert max(seen) < 1000  # and not 65,536 times as large


def test_other_formats_know_no_scale():
    scale, layer = LossScale(torch.device("cpu"), "bf16"), nn.Linear(2, 2)
    loss = layer(torch.ones(1, 2)).sum()
    assert scale.scaled(loss) is loss
    assert scale.unscale(None, layer.parameters())
    assert scale.state() == {}
    assert not scale.exhausted


def test_a_device_that_cannot_is_refused(monkeypatch):
    check_precision(torch.device("cpu"), "fp16")
    check_precision(torch.device("meta"), "bf16")
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *_: (_ for _ in ()).throw(RuntimeError("no such kernel")))
    with pytest.raises(SettingError, match="cannot train in fp16 here; use bf16 or fp32"):
        check_precision(torch.device("cpu"), "fp16")
