"""States of rare trainings resume; tests/hostile has those that no training writes."""

import shutil
from copy import deepcopy

import numpy as np
import pytest
import torch

from ecgtune.errors import RunError
from ecgtune.methods.adalora.settings import AdaLoRA
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
from helpers.training import SETTINGS, TRAINING, VALIDATION, Interrupted, check_resume, run
from hostile.folders import TrainingParts

ADALORA = AdaLoRA(rank=1, start_rank=3)


@pytest.mark.parametrize(
    ("method", "changed"),
    [
        (LoRA(rank=2), {"optimizer": "adam", "weight_decay": 0, "max_grad_norm": 1e-4}),
        (LoRA(rank=2), {"optimizer": "adam", "weight_decay": 10.0, "max_grad_norm": 1e-4, "head_rate_factor": 9.0}),
        (Full(), {"layer_decay": 0.5, "ema": 0.9, "max_grad_norm": 0.0, "class_weights": "balanced"}),
    ],
    ids=str,
)
def test_each_optimizer_and_groups_of_rates_resume(method, changed, tmp_path):
    check_resume(tmp_path, method, loop(SETTINGS, save_minutes=1e-9, **changed))


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The folder of a training that was stopped in the third step of its second epoch."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.raises(KeyboardInterrupt):
        run(folder, settings=loop(SETTINGS, save_minutes=1e-9), stop_after=9)
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c: c["state"].update(sums={"loss": 1.0, "other": 1.0}),
            "its sums must be of loss, correct, predictions",
        ),
        (lambda c: c["state"].update(weight_sum=23.9), "the weight of its 3 steps is 23.9; 24 is needed"),
        (lambda c: c["weights"].update(other=torch.zeros(3)), "1 tensor unexpected, such as 'other'"),
        (lambda c: c["optimizer"]["param_groups"][0].update(lr=3.1e-3), "learning rate is 0.0031; at most 0.003 is"),
        (
            lambda c: c["optimizer"]["state"][0]["exp_avg_sq"].fill_(1.1),
            r"have 1\.1 in 'exp_avg_sq'; at most 1\.001 is",
        ),
        (
            lambda c: c["state"]["log"][0].update(val_auroc=7.0),
            r"its log: \[0\]\.val_auroc is '7\.0'; 0 to 1 is needed",
        ),
    ],
)
def test_a_state_that_the_training_cannot_have_is_not_resumed(interrupted, change, said, tmp_path):
    folder = shutil.copytree(interrupted, tmp_path / "run")
    content = torch.load(RunFolder(folder).state, weights_only=True)
    change(content)
    torch.save(content, RunFolder(folder).state)
    with pytest.raises(RunError, match=f"{said}.*; remove .*last and resume") as caught:
        run(folder, settings=loop(SETTINGS, save_minutes=1e-9))
    assert len(str(caught.value).splitlines()) == 1


def test_weights_that_a_method_cannot_restore_are_told(interrupted, tmp_path, monkeypatch):
    folder = shutil.copytree(interrupted, tmp_path / "run")
    monkeypatch.setattr(Classification, "restore", lambda self, tensors: tensors["callback.x"])
    with pytest.raises(RunError, match=r"its weights cannot be restored \(KeyError: 'callback.x'\); remove"):
        run(folder, settings=loop(SETTINGS, save_minutes=1e-9))


@pytest.fixture(scope="module")
def adapting(tmp_path_factory):
    """The folders of two trainings with AdaLoRA: stopped while it cuts ranks, and after the last cut."""
    folders = {"cutting": tmp_path_factory.mktemp("run"), "cut": tmp_path_factory.mktemp("run")}
    for folder, stop_after in zip(folders.values(), (9, 16), strict=True):
        with pytest.raises(KeyboardInterrupt):
            run(folder, ADALORA, loop(SETTINGS, save_minutes=1e-9), stop_after=stop_after)
    return folders


@pytest.mark.parametrize(
    "change",
    [
        lambda name, tensor: {},
        lambda name, tensor: {name: tensor, f"{name}.other": tensor},
        lambda name, tensor: {name: tensor[:-1]},
        lambda name, tensor: {name: tensor.to(torch.int64)},
        lambda name, tensor: {name: tensor, name.replace("callback.", "callback.other."): tensor},
    ],
    ids=["missing", "another name", "another shape", "whole numbers", "another kind"],
)
@pytest.mark.parametrize(
    ("when", "which"), [("cutting", "ipt"), ("cutting", "exp_avg_unc"), ("cutting", "kept"), ("cut", "kept")]
)
def test_what_adalora_keeps_fits_its_parameters(adapting, when, which, change, tmp_path):
    folder = shutil.copytree(adapting[when], tmp_path / "run")
    content = torch.load(RunFolder(folder).state, weights_only=True)
    own = next(name for name in content["weights"] if name.startswith(f"callback.{which}."))
    content["weights"].update(change(own, content["weights"].pop(own)))
    torch.save(content, RunFolder(folder).state)
    with pytest.raises(RunError, match=r"weights cannot be restored \((ValueError: the rank allocation|KeyError)"):
        run(folder, ADALORA, loop(SETTINGS, save_minutes=1e-9))


@pytest.mark.parametrize(
    ("which", "said"), [("callback.ipt", "does not match"), ("callback", "lacks the rank allocation of AdaLoRA")]
)
def test_what_adalora_keeps_may_lack_only_after_the_last_cut(adapting, which, said, tmp_path):
    folder = shutil.copytree(adapting["cutting"], tmp_path / "run")
    content = torch.load(RunFolder(folder).state, weights_only=True)
    for name in [name for name in content["weights"] if name.startswith(f"{which}.")]:
        del content["weights"][name]
    torch.save(content, RunFolder(folder).state)
    with pytest.raises(RunError, match=said):
        run(folder, ADALORA, loop(SETTINGS, save_minutes=1e-9))


def test_a_parameter_that_never_had_a_gradient_has_no_moments(tmp_path):
    def trained(folder, stop_after=None):
        model = attach(tiny_classifier(), Full())
        encoder = model.base_encoder
        encoder.unread = torch.nn.Parameter(torch.ones(3))
        encoder.zero_gradient_parameters = (*encoder.zero_gradient_parameters, "unread")
        objective = Classification(model, Full(), TrainingInputs(TRAINING, VALIDATION), *SETTINGS)
        train(objective, *SETTINGS, seed=0, folder=RunFolder(folder), callbacks=[Interrupted(stop_after)])
        return logits_of(model, VALIDATION.inputs)

    logits = trained(tmp_path / "whole")
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        trained(stopped, stop_after=9)
    state = RunFolder(stopped).state
    content = torch.load(state, weights_only=True)
    name = "encoder.unread"
    assert len(content["optimizer"]["state"]) == len(content["optimizer"]["param_groups"][0]["params"]) - 1
    shutil.copytree(stopped, tmp_path / "moved")
    content["weights"][name] += 0.1
    torch.save(content, RunFolder(tmp_path / "moved").state)
    with pytest.raises(RunError, match=f"the moments of '{name}' are missing, but it was trained; remove"):
        trained(tmp_path / "moved")
    assert np.array_equal(trained(stopped), logits)


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
