"""A lead mixer in front of every method: where it starts, what trains, the audits, saving, resuming."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from ecgtune.errors import AuditError, SettingError
from ecgtune.methods.attach import attach
from ecgtune.methods.audits import TrainingAudit, count_parameters
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.methods.split import reads_features, split_point
from ecgtune.methods.storage import load_weights, save_weights
from ecgtune.models.classifier import Head
from ecgtune.training.batches import TrainingInputs, Windows
from ecgtune.training.classification import Classification
from ecgtune.training.head_first import train_head
from ecgtune.training.inference import logits_of
from ecgtune.training.loop import train
from ecgtune.training.prefix import precompute_inputs
from ecgtune.training.run_folder import RunFolder
from helpers.methods import FAMILIES, METHODS, MIXED, ROUNDED, slow
from helpers.models import twelve_lead_classifier
from helpers.settings import loop
from helpers.training import SETTINGS, TRAINING, VALIDATION, Interrupted, numbers

LEADS = ("V1", "II")
SETTINGS = loop(SETTINGS, epochs=2)


def two_leads(windows: Windows) -> Windows:
    """The lead that tells the classes apart, and another one that is only noise."""
    noise = np.random.default_rng(5).standard_normal(windows.inputs.shape).astype(np.float32)
    return Windows(np.concatenate([windows.inputs, noise], axis=1), windows.label)


TRAIN, VAL = two_leads(TRAINING), two_leads(VALIDATION)


def fresh(method=None, seed: int = 0):
    model = twelve_lead_classifier(LEADS)
    return model if method is None else attach(model, method, seed=seed)


def fit(folder, method, settings=SETTINGS, *, stop_after=None):
    model = fresh(method)
    inputs = precompute_inputs(model, method, TrainingInputs(TRAIN, VAL), *settings)
    objective = Classification(model, method, inputs, *settings)
    place = RunFolder(folder)
    trained = train(objective, *settings, seed=0, folder=place, callbacks=[Interrupted(stop_after)])
    return model, trained, numbers(place), inputs.sentence


@pytest.mark.parametrize("method", FAMILIES, ids=str)
def test_attaching_leaves_the_answer_as_it_was(method):
    if not method.identity_at_start:
        return
    before, after = (logits_of(model, VAL.inputs) for model in (fresh(), fresh(method)))
    np.testing.assert_allclose(after, before, rtol=0, atol=2e-6 if method in ROUNDED else 0)


@pytest.mark.parametrize("method", [*FAMILIES[:3], *slow(*(m for m in METHODS if m not in FAMILIES[:3]))], ids=str)
def test_a_training_moves_the_mixer_the_method_and_the_head_and_nothing_else(method, tmp_path):
    start = fresh(method).state_dict()
    model, trained, _, sentence = fit(tmp_path, method)
    assert sentence == "nothing is precomputed: the lead adapter in front of the encoder is trainable"
    assert "moved the output" in trained.audit
    own = {*method.trained_parameters(model.base_encoder), *model.added_parameters}
    own = {f"encoder.{name}" for name in own}
    for name, tensor in model.named_parameters():
        trains = name.startswith(("head.", "lead_mixer.")) or name in own or name in own
        assert tensor.requires_grad == trains, name
        # The gradient of a key's bias is zero by algebra; AdaLoRA's singular values are zero again where they are cut.
        if not name.endswith("k_proj.bias") and ".lora_E." not in name:
            assert torch.equal(tensor, start[name]) != trains, name
    assert (model.lead_mixer.weight != fresh().lead_mixer.weight).all()  # also where it started at zero
    count = count_parameters(model, method)
    assert count.leads == 24
    assert count.trainable == count_parameters(attach(twelve_lead_classifier(None), method), method).trainable + 24


@pytest.mark.parametrize("method", FAMILIES, ids=str)
def test_save_and_reload_is_exact(method, tmp_path):
    model = fresh(method, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01)
    save_weights(model, tmp_path)
    again = fresh(method, seed=4)
    load_weights(again, tmp_path)
    assert np.array_equal(logits_of(again, VAL.inputs), logits_of(model, VAL.inputs))
    assert (tmp_path / "leads.safetensors").is_file()


@pytest.mark.parametrize("method", [LinearProbe(), LoRA(rank=2, dropout=0.2)], ids=str)
def test_stopped_and_resumed_ends_on_the_same_bits(method, tmp_path):
    settings = loop(SETTINGS, save_minutes=1e-9, ema=0.9)
    whole = fit(tmp_path / "whole", method, settings)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "stopped", method, settings, stop_after=8)
    resumed = fit(tmp_path / "stopped", method, settings)
    assert resumed[2] == whole[2]
    for ours, theirs in zip(resumed[0].parameters(), whole[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("method", FAMILIES, ids=str)
def test_nothing_is_computed_once(method):
    model = fresh(method)
    assert split_point(model, method) is None
    assert not reads_features(model, method)
    with pytest.raises(SettingError, match="prefix_cache is 'on', but the lead adapter in front"):
        precompute_inputs(model, method, TrainingInputs(TRAIN, VAL), *loop(SETTINGS, prefix_cache="on"))


@pytest.mark.parametrize("method", [LinearProbe(), MIXED, SideTuning(width=8)], ids=str)
def test_the_gradient_comes_through_an_encoder_that_is_only_read(method):
    """Against a difference quotient of the loss."""
    model = fresh(method).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05)
    signal, label = torch.from_numpy(VAL.inputs[:6]).double(), torch.from_numpy(VAL.label[:6])
    cross_entropy(model(signal), label).backward()
    weight, step = model.lead_mixer.weight, 1e-6
    for row, column in ((0, 0), (1, 1), (6, 0), (11, 1)):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[row, column] += sign * step
                ends.append(cross_entropy(model(signal), label).item())
                weight[row, column] -= sign * step
        assert weight.grad[row, column].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-9)


def test_without_a_mixer_nothing_is_kept_for_a_gradient():
    model = attach(twelve_lead_classifier(None), SideTuning(width=8))
    states, _ = model.encoder.read(torch.randn(2, 12, 160))
    assert not any(state.requires_grad for state in states)


def test_in_the_epochs_of_the_head_alone_the_mixer_stands_still(tmp_path):
    settings = loop(SETTINGS, head_epochs=2)
    model = fresh(LoRA(rank=2))
    train_head(model, TrainingInputs(TRAIN, VAL), *settings, seed=0, folder=RunFolder(tmp_path))
    assert torch.equal(model.lead_mixer.weight, fresh().lead_mixer.weight)
    assert model.mixes_leads


def test_folded_after_full_fine_tuning_it_is_a_plain_encoder(tmp_path):
    model, _, _, _ = fit(tmp_path, Full())
    expected = logits_of(model, VAL.inputs)
    plain = twelve_lead_classifier(None)
    plain.encoder, plain.head = (
        model.base_encoder.fold_leads(model.lead_mixer.weight, model.lead_mixer.leads),
        model.head,
    )
    np.testing.assert_allclose(logits_of(plain, VAL.inputs), expected, rtol=1e-4, atol=1e-5)


def test_it_learns_which_lead_to_listen_to(tmp_path):
    """Only V1 tells the classes apart; an encoder of lead II alone would hear the noise."""
    settings = loop(SETTINGS, epochs=8, learning_rate=3e-2)
    _, trained, log, _ = fit(tmp_path, LinearProbe(), settings)
    assert max(row["val_auroc"] for row in log) > 0.7
    assert trained.epochs == 8


def step(model, audit: TrainingAudit, *, freeze: str) -> None:
    """One step as the loop makes it, in which the weights whose names begin with `freeze` stay as they are."""
    optimizer = torch.optim.Adam([p for n, p in model.named_parameters() if not n.startswith(freeze)], lr=1e-2)
    signal = torch.from_numpy(TRAIN.inputs[:8])
    audit.before_step(signal)
    cross_entropy(model(signal), torch.from_numpy(TRAIN.label[:8])).backward()
    audit.after_backward()
    optimizer.step()
    audit.after_step()


@pytest.mark.parametrize(("freeze", "said"), [("lead_mixer.", "the mixed leads as they were"), ("encoder.", "tokens")])
def test_the_audit_tells_a_mixer_from_a_method_that_does_nothing(freeze, said):
    model = fresh(Full())
    with pytest.raises(AuditError, match=said):
        step(model, TrainingAudit(model, Full()), freeze=freeze)


def test_a_mixer_that_cannot_learn_is_refused():
    model = fresh(LoRA(rank=2))
    model.lead_mixer.requires_grad_(False)
    with pytest.raises(AuditError, match="the lead mixer is frozen"):
        count_parameters(model, LoRA(rank=2))


@pytest.mark.parametrize("pooling", ["statistics", "attention"])
def test_any_pooling(pooling, tmp_path):
    model = twelve_lead_classifier(LEADS)
    head = Head(pooling=pooling)
    model = type(model)(model.encoder, head, model.classes, model.weights, model.loaded, lead_mixer=model.lead_mixer)
    attach(model, LinearProbe())
    objective = Classification(model, LinearProbe(), TrainingInputs(TRAIN, VAL), *SETTINGS)
    trained = train(objective, *SETTINGS, seed=0, folder=RunFolder(tmp_path))
    assert "no frozen one did" in trained.audit
