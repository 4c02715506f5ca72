"""The moving average of weights: its numbers, and that nothing but validation and what is saved sees it."""

from itertools import product

import numpy as np
import pytest
import torch

from ecgtune.methods.adalora.settings import AdaLoRA
from ecgtune.methods.attach import attach
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.models.loading import load_model
from ecgtune.training.averaging import WeightAverage
from ecgtune.training.batches import TrainingInputs
from ecgtune.training.classification import Classification
from ecgtune.training.loop import train
from ecgtune.training.run_folder import RunFolder
from helpers.methods import slow
from helpers.models import tiny_classifier
from helpers.settings import loop
from helpers.training import SETTINGS, TRAINING, VALIDATION, check_resume, run, whole

AVERAGED = loop(SETTINGS, ema=0.9)


def nothing() -> None:
    pass


def test_it_is_the_formula():
    model = torch.nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    average = WeightAverage(model, 0.6, nothing)
    expected = model.weight.detach().clone()
    for step in range(20):
        with torch.no_grad():
            model.weight += torch.randn(1, 2, generator=torch.Generator().manual_seed(step))
        average.update(step)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    assert set(average.tensors()) == {"weight"}  # what is frozen has no average
    torch.testing.assert_close(average.tensors()["weight"], expected)
    own = model.weight.detach().clone()
    with average.in_place():
        assert torch.equal(model.weight, average.tensors()["weight"])
    assert torch.equal(model.weight, own)


def test_whatever_fails_while_the_average_is_in_place_leaves_the_model_its_own_weights():
    def stop() -> None:
        raise KeyboardInterrupt

    model = torch.nn.Linear(2, 1)
    average = WeightAverage(model, 0.6, stop)
    with torch.no_grad():
        model.weight += 1
    own = model.weight.detach().clone()
    with pytest.raises(KeyboardInterrupt), average.in_place():
        pass
    assert torch.equal(model.weight, own)


def test_off_it_costs_nothing():
    average = WeightAverage(torch.nn.Linear(2, 1), None, nothing)
    average.update(0)
    with average.in_place():
        assert average.tensors() == {}


def test_running_statistics_of_norms_are_averaged_with_the_weights():
    model = load_model("resnet-1d")
    average = WeightAverage(model, 0.9, nothing)
    assert {"encoder.stem.1.running_mean", "encoder.stem.1.running_var"} <= set(average.tensors())
    assert "encoder.stem.1.num_batches_tracked" not in average.tensors()


@pytest.mark.parametrize(
    "method", [AdaLoRA(rank=1, start_rank=3), *slow(Full(), LinearProbe(), SideTuning(width=8))], ids=str
)
def test_stopped_and_resumed_ends_on_the_same_bits(method, tmp_path):
    check_resume(tmp_path, method, AVERAGED)


@pytest.mark.parametrize("stop_after", [14, *slow(1, 3)])
def test_saves_inside_an_epoch_keep_the_average(stop_after, tmp_path):
    often = loop(AVERAGED, save_minutes=1e-9)
    check_resume(tmp_path, settings=often, stop_after=stop_after, expected=whole(settings=AVERAGED))


def test_training_does_not_see_the_average_and_validation_does():
    _, plain, plain_log = whole()
    _, averaged, log = whole(settings=AVERAGED)
    for key, (ours, theirs) in product(("train_loss", "train_accuracy"), zip(log, plain_log, strict=True)):
        assert ours[key] == theirs[key]
    assert all(ours["val_loss"] != theirs["val_loss"] for ours, theirs in zip(log, plain_log, strict=True))
    assert not np.array_equal(averaged, plain)


class Watched(Classification):
    """Follows the weights by itself."""

    def after_step(self, context):
        super().after_step(context)
        own = [p.detach().double() for p in self.model.parameters() if p.requires_grad]
        decay = min(0.9, (1 + context.step) / (10 + context.step))
        before = getattr(self, "followed", self.start)
        self.followed = [decay * a + (1 - decay) * w for a, w in zip(before, own, strict=True)]


def test_the_best_epoch_is_the_averages(tmp_path, monkeypatch):
    rising = iter([0.5, 0.6, 0.7])
    monkeypatch.setattr("ecgtune.training.classification.auroc", lambda label, probability: next(rising))
    model = attach(tiny_classifier(), Full())
    objective = Watched(model, Full(), TrainingInputs(TRAINING, VALIDATION), *AVERAGED)
    objective.start = [p.detach().double().clone() for p in model.parameters()]
    train(objective, *AVERAGED, seed=0, folder=RunFolder(tmp_path))
    for weight, followed in zip(model.parameters(), objective.followed, strict=True):
        torch.testing.assert_close(weight.detach().double(), followed, rtol=1e-5, atol=1e-6)


def test_averaged_adalora_has_the_ranks_that_were_asked_for(tmp_path, monkeypatch):
    rising = iter([0.5, 0.6, 0.7])
    monkeypatch.setattr("ecgtune.training.classification.auroc", lambda label, probability: next(rising))
    method = AdaLoRA(rank=1, start_rank=3)
    model = attach(tiny_classifier(), method)
    objective = Classification(model, method, TrainingInputs(TRAINING, VALIDATION), *AVERAGED)
    train(objective, *AVERAGED, seed=0, folder=RunFolder(tmp_path))
    assert sum(int((p != 0).sum()) for name, p in model.named_parameters() if "lora_E" in name) == 12


def test_a_decay_of_zero_is_off(tmp_path):
    _, plain, log = whole()
    _, off, off_log = run(tmp_path / "off", LoRA(rank=2), loop(SETTINGS, ema=0.0))
    assert np.array_equal(plain, off)
    assert log == off_log
