"""Side tuning: what the ladder reads, what it answers, and what it costs."""

import pytest
import torch
from torch import nn

from ecgtune.methods.attach import attach
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.side.settings import SideTuning
from helpers.models import bytes_kept, tiny_classifier


def signal(windows: int = 4) -> torch.Tensor:
    return torch.randn(windows, 1, 200, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("block", ["mlp", "transformer"])
def test_activations_of_the_encoder_are_not_kept(block):
    side, lora = (
        bytes_kept(attach(tiny_classifier(), method).train(), signal())
        for method in (SideTuning(width=4, block=block), LoRA(rank=2))
    )
    assert side < lora / 2


def test_no_gradient_enters_the_encoder():
    model = attach(tiny_classifier(), SideTuning(width=4)).train()
    model.encoder.encoder.requires_grad_(True)  # even if it were asked to
    model(signal()).sum().backward()
    assert all(parameter.grad is None for parameter in model.encoder.encoder.parameters())
    assert model.encoder.ladder.up.weight.grad is not None


def test_the_ladder_is_the_papers_equation():
    model = attach(tiny_classifier(), SideTuning(width=4, block="mlp")).eval()
    ladder = model.encoder.ladder
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in ladder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        states, _ = model.encoder.encoder.forward_intermediates(signal())
        found, _ = model.encoder(signal())

        def lateral(level: int) -> torch.Tensor:
            return states[level] @ ladder.lateral[level].weight.T + ladder.lateral[level].bias

        hidden = lateral(0)
        for level in (1, 2):
            gate = 1 / (1 + torch.exp(-ladder.gates[level - 1] / 0.1))
            mixed = gate * lateral(level) + (1 - gate) * hidden
            block = ladder.blocks[level - 1]
            inner = nn.functional.layer_norm(mixed, (4,), block.feed_forward_norm.weight, block.feed_forward_norm.bias)
            inner = nn.functional.gelu(block.feed_forward.fc1(inner))
            hidden = mixed + block.feed_forward.fc2(inner)
        expected = states[-1] + ladder.up(ladder.norm(hidden))
    torch.testing.assert_close(found, expected)


def test_padding_does_not_reach_the_other_tokens():
    model = attach(tiny_classifier(), SideTuning(width=4)).eval()
    with torch.no_grad():
        model.encoder.ladder.up.weight.normal_()
        states, _ = model.encoder.encoder.forward_intermediates(signal())
        mask = torch.ones(states[0].shape[:2], dtype=torch.bool)
        mask[:, -5:] = False
        other = tuple(state.clone() for state in states)
        for state in other:
            state[:, -5:] = 7.0
        first, second = model.encoder.ladder(states, mask), model.encoder.ladder(other, mask)
    torch.testing.assert_close(first[:, :-5], second[:, :-5])
    assert not torch.allclose(first[:, -5:], second[:, -5:])


def test_the_encoder_stays_in_evaluation_mode():
    model = attach(tiny_classifier(), SideTuning(width=4)).train()
    assert model.encoder.ladder.training
    assert not any(module.training for module in model.encoder.encoder.modules())


def test_intermediates_are_the_tokens_of_the_forward_pass():
    encoder = tiny_classifier().encoder.eval()
    padding = torch.zeros(4, 200, dtype=torch.bool)
    padding[1, 120:] = True
    with torch.no_grad():
        states, mask = encoder.forward_intermediates(signal(), padding_mask=padding)
        tokens, same = encoder(signal(), padding)
        assert len(states) == len(encoder.layers) + 1
        for layer, before, after in zip(encoder.layers, states[:-1], states[1:], strict=True):
            assert torch.equal(layer(before, mask), after)
    assert torch.equal(states[-1], tokens)
    assert torch.equal(mask, same)
