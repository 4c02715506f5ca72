"""Each audit catches what it is for."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear

from ecgtune.errors import AuditError
from ecgtune.methods.attach import attach
from ecgtune.methods.audits import LATEST, TrainingAudit, count_parameters
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.methods.split import FrozenPrefix, SplitPoint, reads_features, split_point, trained_part
from ecgtune.models.layers import Attention
from helpers.methods import METHODS
from helpers.models import tiny_classifier


def audited_steps(model, method, *, steps: int = 2, learning_rate: float = 1e-2, optimized=None) -> TrainingAudit:
    """The loop's calls in the loop's order, on a method that is attached already."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, 1, 200, generator=generator)
    label = torch.tensor([0, 1, 0, 1, 1, 0])
    split = split_point(model, method) if reads_features(model, method) else None
    if split is not None:
        with torch.no_grad():
            inputs = FrozenPrefix(model, split)(inputs)
    forward = trained_part(model, split)
    audit = TrainingAudit(model, method, split)
    chosen = optimized if optimized is not None else [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(chosen, lr=learning_rate)
    for _ in range(steps):
        audit.before_step(inputs)
        cross_entropy(forward(inputs), label).backward()
        audit.after_backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        audit.after_step()
    return audit


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_an_honest_training_passes(method):
    model = attach(tiny_classifier(), method)
    count_parameters(model, method)
    audit = audited_steps(model, method)
    assert audit.finished
    assert "moved the output" in audit.sentence()


class UncalledProjections(Attention):
    """Reads the projections' weights instead of calling the modules, as the original ECG-FM does."""

    def forward(self, tokens, mask):
        def project(module, x):
            base = getattr(module, "base_layer", module)
            return linear(x, base.weight, base.bias)

        query, key, value = (self._split(project(m, tokens)) for m in (self.q_proj, self.k_proj, self.v_proj))
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        return project(self.out_proj, attended.transpose(1, 2).flatten(2))


@pytest.mark.parametrize(
    ("targets", "message"),
    [("attention", "gradient audit.*left the tokens"), ("all", "gradient audit.*got no gradient")],
)
def test_an_attention_that_never_calls_its_projections(targets, message):
    model = tiny_classifier()
    for layer in model.encoder.layers:
        layer.attention.__class__ = UncalledProjections
    method = LoRA(rank=2, targets=targets)
    attach(model, method)
    with pytest.raises(AuditError, match=message):
        audited_steps(model, method)


def test_a_frozen_head():
    model = attach(tiny_classifier(), LoRA(rank=2))
    model.head.requires_grad_(False)
    with pytest.raises(AuditError, match="count audit: the head is frozen"):
        count_parameters(model, LoRA(rank=2))


def test_full_fine_tuning_with_a_frozen_layer():
    model = attach(tiny_classifier(), Full())
    model.encoder.projection.requires_grad_(False)
    with pytest.raises(AuditError, match=r"projection\.weight"):
        count_parameters(model, Full())


@pytest.mark.parametrize("method", [method for method in METHODS if not isinstance(method, Full)], ids=str)
def test_an_encoder_that_trains_unasked(method):
    model = attach(tiny_classifier(), method)
    next(p for n, p in model.encoder.named_parameters() if "projection" in n).requires_grad_(True)
    with pytest.raises(AuditError, match=r"must leave (the rest of )?the encoder frozen, but .*projection"):
        count_parameters(model, method)


@dataclass(frozen=True)
class Thief(LoRA):
    """Trains a layer of the encoder, under names that it calls its own."""

    added_parameters = (".",)

    def attach(self, encoder, seed):
        encoder.projection.requires_grad_(True)
        return super().attach(encoder, seed)


def test_a_method_cannot_say_that_weights_of_the_encoder_are_its_own():
    model = attach(tiny_classifier(), Thief(rank=2))
    model.encoder.get_base_model().projection.requires_grad_(True)
    assert all("lora_" in name for name in model.added_parameters)
    with pytest.raises(AuditError, match=r"must leave the encoder frozen, but .*projection"):
        count_parameters(model, Thief(rank=2))


@pytest.mark.parametrize("method", [m for m in METHODS if not isinstance(m, LinearProbe)], ids=str)
def test_a_method_that_was_never_attached(method):
    model = attach(tiny_classifier(), LinearProbe())
    with pytest.raises(AuditError, match=r"added no trainable weight|trains weights of the encoder, but .* frozen"):
        count_parameters(model, method)


def test_a_frozen_tensor_with_a_gradient():
    model = attach(tiny_classifier(), LinearProbe())
    audit = TrainingAudit(model, LinearProbe(), SplitPoint("features"))
    frozen = next(model.encoder.parameters())
    frozen.grad = torch.ones_like(frozen)
    with pytest.raises(AuditError, match="is frozen but has a gradient"):
        audit.after_backward()


def test_an_optimizer_that_does_not_hold_the_method():
    method = LoRA(rank=2)
    model = attach(tiny_classifier(), method)
    with pytest.raises(AuditError, match="left the tokens as they were"):
        audited_steps(model, method, optimized=list(model.head.parameters()))


def test_a_block_that_the_forward_pass_skips():
    model = attach(tiny_classifier(), Full())
    skipped = model.encoder.layers[1]
    skipped.forward = lambda tokens, mask: tokens
    with pytest.raises(AuditError, match=r"layers\.1.* got no gradient"):
        audited_steps(model, Full())


def test_a_rung_that_the_ladder_skips():
    method = SideTuning(width=4)
    model = attach(tiny_classifier(), method)
    model.encoder.ladder.blocks[1].forward = lambda tokens, mask: tokens
    with pytest.raises(AuditError, match=r"ladder\.blocks\.1.* got no gradient"):
        audited_steps(model, method)


@pytest.mark.parametrize(("zeros", "passes"), [(3, True), (LATEST + 5, False)])
def test_parts_of_a_batch_may_cancel_now_and_then_but_not_for_ever(zeros, passes):
    """As they do in bf16 where a balanced batch meets few weights; more than a few times is no chance."""
    method, left = SideTuning(width=4), [zeros]
    model = attach(tiny_classifier(), method)

    def cancelled(gradient):
        left[0] -= 1
        return torch.zeros_like(gradient) if left[0] >= 0 else gradient

    model.encoder.ladder.norm.bias.register_hook(cancelled)
    if passes:
        audit = audited_steps(model, method, steps=zeros + 1)
        assert audit.finished
        assert f"within {zeros + 1} steps" in audit.sentence()
    else:
        with pytest.raises(AuditError, match=rf"ladder\.norm\.bias is .* only zero gradients in {LATEST} backward"):
            audited_steps(model, method, steps=LATEST + 5)


def test_the_last_step_ends_the_wait_for_a_gradient():
    method = SideTuning(width=4)
    model = attach(tiny_classifier(), method)
    model.encoder.ladder.norm.bias.register_hook(torch.zeros_like)
    audit = audited_steps(model, method, steps=2)
    assert not audit.finished
    with pytest.raises(AuditError, match="only zero gradients in 3 backward"):
        audit.after_step(last=True)


def test_the_key_bias_may_have_a_zero_gradient():
    model = attach(tiny_classifier(), Full())
    for layer in model.encoder.layers:
        layer.attention.k_proj.bias.register_hook(torch.zeros_like)
    assert audited_steps(model, Full()).finished
