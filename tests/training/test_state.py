"""States of rare trainings resume; tests/hostile has those that no training writes."""

import shutil
from copy import deepcopy

import numpy as np
import pytest
import torch

from ecgtune.errors import RunError
from ecgtune.methods.attach import attach
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full
from ecgtune.training.batches import TrainingInputs
from ecgtune.training.classification import Classification
from ecgtune.training.inference import logits_of
from ecgtune.training.loop import train
from ecgtune.training.precision import LossScale
from ecgtune.training.run_folder import RunFolder
from ecgtune.training.state import read_state
from helpers.models import tiny_classifier
from helpers.settings import loop
from helpers.training import SETTINGS, TRAINING, VALIDATION, Interrupted, check_resume
from hostile.folders import TrainingParts


@pytest.mark.parametrize(
    ("method", "changed"),
    [(LoRA(rank=2), {"optimizer": "adam", "weight_decay": 0}), (Full(), {"layer_decay": 0.5, "ema": 0.9})],
    ids=str,
)
def test_each_optimizer_and_groups_of_rates_resume(method, changed, tmp_path):
    check_resume(tmp_path, method, loop(SETTINGS, save_minutes=1e-9, **changed))


def test_a_parameter_that_never_had_a_gradient_has_no_moments(tmp_path):
    def run(folder, stop_after=None):
        model = attach(tiny_classifier(), Full())
        encoder = model.base_encoder
        encoder.unread = torch.nn.Parameter(torch.ones(3))
        encoder.zero_gradient_parameters = (*encoder.zero_gradient_parameters, "unread")
        objective = Classification(model, Full(), TrainingInputs(TRAINING, VALIDATION), *SETTINGS)
        train(objective, *SETTINGS, seed=0, folder=RunFolder(folder), callbacks=[Interrupted(stop_after)])
        return logits_of(model, VALIDATION.inputs)

    logits = run(tmp_path / "whole")
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        run(stopped, stop_after=9)
    state = RunFolder(stopped).state
    content = torch.load(state, weights_only=True)
    name = "encoder.unread"
    assert len(content["optimizer"]["state"]) == len(content["optimizer"]["param_groups"][0]["params"]) - 1
    shutil.copytree(stopped, tmp_path / "moved")
    content["weights"][name] += 0.1
    torch.save(content, RunFolder(tmp_path / "moved").state)
    with pytest.raises(RunError, match=f"the moments of '{name}' are missing, but it was trained; remove"):
        run(tmp_path / "moved")
    assert np.array_equal(run(stopped), logits)


@pytest.fixture
def stored(tmp_path):
    """A function that reads a changed state, for a training with other expectations."""
    parts, made = TrainingParts.make(), TrainingParts.make().content()

    def read(change, **expected):
        content = deepcopy(made)
        change(content)
        torch.save(content, tmp_path / "state.pt")
        return read_state(tmp_path / "state.pt", **parts.expected() | expected)

    return read


def test_an_epoch_without_auroc_is_read_where_the_loss_chooses(stored, monkeypatch):
    row = {"epoch": 1, "val_auroc": float("nan"), "val_loss": 0.25, "seconds": 0.1}
    monkeypatch.setattr(TrainingParts, "score", lambda self, row: -row["val_loss"])
    content = stored(lambda content: content["state"].update(log=[row], best_score=-0.25))
    assert content["state"]["best_epoch"] == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"scale": 2.0**20, "_growth_tracker": 7}, ""),
        ({"scale": 0}, "another precision"),
        ({"growth_factor": 1e9}, "loss scale has 1000000000.0 as growth_factor"),
        ({"_growth_tracker": 0.5}, "another precision"),
    ],
)
def test_a_loss_scale_has_the_settings_of_this_version(changed, said, stored):
    scale = LossScale(torch.device("cpu"), "fp16").state()
    found = scale | changed
    if said:
        with pytest.raises(RunError, match=said):
            stored(lambda content: content.update(scale=found), scale=scale)
    else:
        assert stored(lambda content: content.update(scale=found), scale=scale)["scale"] == found
