"""Head first, then the method: against the two trainings done by hand, and stopped anywhere."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ecgtune.config.optimisation import Optimisation
from ecgtune.errors import SettingError
from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.attach import attach
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.models.classifier import Head
from ecgtune.training.batches import TrainingInputs
from ecgtune.training.classification import Classification
from ecgtune.training.head_first import check_head_epochs, count_head_steps, train_head
from ecgtune.training.inference import logits_of
from ecgtune.training.loop import train
from ecgtune.training.run_folder import RunFolder
from helpers.methods import METHODS, slow
from helpers.models import tiny_classifier
from helpers.settings import loop
from helpers.training import SETTINGS, TRAINING, VALIDATION, Interrupted, numbers, run

SETTINGS = loop(SETTINGS, head_epochs=2, epochs=2, layer_decay=1.0, head_rate_factor=0.5)
OFTEN = loop(SETTINGS, save_minutes=1e-9, ema=0.9)


def head_first(folder, method, *, stop_after=None, head=None, settings=SETTINGS):
    """Both trainings of a fresh model; logits on validation and the log of each."""
    model = attach(tiny_classifier(head=head), method)
    place, stop = RunFolder(folder), Interrupted(stop_after)
    train_head(model, TrainingInputs(TRAINING, VALIDATION), *settings, seed=0, folder=place, callbacks=[stop])
    first = logits_of(model, VALIDATION.inputs)
    objective = Classification(model, method, TrainingInputs(TRAINING, VALIDATION), *settings)
    train(objective, *settings, seed=0, folder=place, callbacks=[stop])
    return first, logits_of(model, VALIDATION.inputs), numbers(RunFolder(place.head)), numbers(place)


@pytest.mark.parametrize("method", [LoRA(rank=2, dropout=0.2), *slow(Full(), SideTuning(width=8))], ids=str)
def test_it_is_a_probe_and_then_the_method_on_its_head(method, tmp_path):
    first, both, head_log, log = head_first(tmp_path / "both", method)

    alone = loop(SETTINGS, epochs=2, learning_rate=None, head_rate_factor=1.0)
    _, probe, probe_log = run(tmp_path / "probe", LinearProbe(), alone)
    assert head_log == probe_log
    np.testing.assert_array_equal(first, probe)
    model = tiny_classifier()
    model.head.load_state_dict(load_file(tmp_path / "probe" / "best" / "head.safetensors"))
    attach(model, method)
    objective = Classification(model, method, TrainingInputs(TRAINING, VALIDATION), *SETTINGS)
    train(objective, *SETTINGS, seed=0, folder=RunFolder(tmp_path / "then"))
    np.testing.assert_array_equal(logits_of(model, VALIDATION.inputs), both)
    assert numbers(RunFolder(tmp_path / "then")) == log


@pytest.mark.parametrize(
    "method",
    [Adapter(width=2), *slow(*(m for m in METHODS if m.changes_encoder and not isinstance(m, Adapter)))],
    ids=str,
)
def test_the_heads_epochs_leave_the_method_as_it_was_and_trainable(method, tmp_path):
    model, fresh = attach(tiny_classifier(), method), attach(tiny_classifier(), method)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    train_head(model, TrainingInputs(TRAINING, VALIDATION), *SETTINGS, seed=0, folder=RunFolder(tmp_path))
    assert model.attached == method
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == trainable
    for (name, tensor), start in zip(model.state_dict().items(), fresh.state_dict().values(), strict=True):
        assert torch.equal(tensor, start) != name.startswith("head."), name
    assert {file.name for file in (tmp_path / "head" / "best").iterdir()} == {"head.safetensors"}


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    return head_first(tmp_path_factory.mktemp("whole"), LoRA(rank=2), settings=OFTEN)


@pytest.mark.parametrize("stop_after", [4, 15, *slow(0, 11, 12, 20)])
def test_stopped_anywhere_and_resumed_ends_on_the_same_bits(stop_after, never_stopped, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        head_first(tmp_path, LoRA(rank=2), settings=OFTEN, stop_after=stop_after)
    resumed = head_first(tmp_path, LoRA(rank=2), settings=OFTEN)
    np.testing.assert_array_equal(resumed[1], never_stopped[1])
    assert resumed[2:] == never_stopped[2:]


def test_a_learned_pooling_is_trained_with_the_head(tmp_path):
    head_first(tmp_path, LoRA(rank=2), head=Head(pooling="attention"))
    assert load_file(tmp_path / "head" / "best" / "head.safetensors")["query"].any()


def test_no_state_is_left_of_either(tmp_path):
    head_first(tmp_path, LoRA(rank=2))
    RunFolder(tmp_path).discard_state()
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        "log.jsonl", "head.safetensors", "adapter_model.safetensors", "adapter_config.json",
    }  # fmt: skip


def test_a_probe_has_no_method_to_wait_for_and_the_head_needs_two_steps():
    with pytest.raises(SettingError, match="head_epochs is 2, but probe already trains only the head"):
        check_head_epochs(LinearProbe(), 44, SETTINGS.optimisation)
    with pytest.raises(SettingError, match="make 1 step, but the audits compare 2"):
        check_head_epochs(LoRA(), 44, loop(SETTINGS, head_epochs=1, batch_size=64).optimisation)
    assert count_head_steps(44, SETTINGS.optimisation) == 12
    assert count_head_steps(44, Optimisation()) == 0
