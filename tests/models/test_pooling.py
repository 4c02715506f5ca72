"""Pooling against numpy, and heads that read what it gives."""

import json

import numpy as np
import pytest
import torch

from ecgtune.errors import SettingError
from ecgtune.models.classifier import Head
from ecgtune.models.description import build_model, describe_model
from ecgtune.models.loading import load_model
from ecgtune.models.pooling import POOLINGS, pool
from helpers.models import tiny_classifier

TOKENS = torch.randn(4, 9, 5, generator=torch.Generator().manual_seed(0))
QUERY = torch.tensor([2.0, -1.0, 0.5, 0.0, 3.0])
LENGTHS = [9, 1, 4, 6]
#: Poolings of several tokens.
SEVERAL = [how for how in POOLINGS if how != "none"]
MASK = torch.arange(9) < torch.tensor(LENGTHS)[:, None]


def by_numpy(tokens: torch.Tensor, lengths: list[int], how: str) -> np.ndarray:
    rows = []
    for row, length in zip(tokens.double().numpy(), lengths, strict=True):
        kept = row[:length]
        score = np.exp(kept @ QUERY.double().numpy() / np.sqrt(5))
        parts = [kept.mean(axis=0), np.sqrt(kept.var(axis=0) + 1e-6), kept.max(axis=0)]
        weighted = (score[:, None] * kept).sum(axis=0) / score.sum()
        found = {"mean": parts[0], "statistics": np.concatenate(parts), "attention": weighted, "class_token": kept[0]}
        rows.append(found[how])
    return np.stack(rows)


@pytest.mark.parametrize("how", SEVERAL)
@pytest.mark.parametrize("masked", [False, True])
def test_pooling_is_numpys(how, masked):
    pooled = pool(TOKENS, MASK if masked else None, how, QUERY)
    assert pooled.shape == (4, POOLINGS[how] * 5)
    expected = by_numpy(TOKENS, LENGTHS if masked else [9] * 4, how)
    np.testing.assert_allclose(pooled.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", SEVERAL)
def test_what_is_masked_does_not_matter(how):
    other = torch.where(MASK[..., None], TOKENS, torch.full_like(TOKENS, 1e6))
    kept = torch.where(MASK[..., None], TOKENS, 0.0)
    assert torch.equal(pool(other, MASK, how, QUERY), pool(kept, MASK, how, QUERY))


@pytest.mark.parametrize("how", SEVERAL)
def test_gradients_are_finite_where_tokens_are_equal(how):
    """The slope of a standard deviation at zero has none of its own."""
    tokens = torch.ones(2, 3, 4, requires_grad=True)
    pool(tokens, None, how, torch.ones(4)).square().sum().backward()
    assert tokens.grad is not None
    assert torch.isfinite(tokens.grad).all()
    assert tokens.grad.any()


def test_statistics_of_few_bits_are_computed_in_many():
    tokens = (100 + TOKENS).bfloat16()
    pooled = pool(tokens, MASK, "statistics")
    assert pooled.dtype == torch.float32
    assert pool(tokens, MASK).dtype == torch.bfloat16
    expected = by_numpy(tokens, LENGTHS, "statistics")
    np.testing.assert_allclose(pooled[:, 10:].numpy(), expected[:, 10:])
    np.testing.assert_allclose(pooled[:, :5].numpy(), expected[:, :5], atol=0.5)  # the mean has eight bits


@pytest.mark.parametrize("hidden", [None, 7])
def test_a_head_on_statistics_reads_three_numbers_a_channel(hidden):
    model = tiny_classifier(head=Head(hidden, pooling="statistics")).eval()
    assert model.head[0].in_features == 3 * model.encoder.head_width
    signal = torch.randn(3, 1, 200)
    with torch.no_grad():
        tokens, mask = model.encode(signal)
        assert torch.equal(model(signal), model.head(pool(tokens, mask, "statistics")))


def test_none_is_the_only_token():
    assert torch.equal(pool(TOKENS[:, :1], None, "none"), TOKENS[:, 0])
    with pytest.raises(SettingError, match="'none' needs one token, but got 9; choose mean or statistics"):
        pool(TOKENS, None, "none")


def test_a_description_keeps_the_pooling_and_one_without_it_has_the_encoders():
    model = load_model("resnet-1d", head=Head(pooling="statistics"))
    description = json.loads(json.dumps(describe_model(model)))
    assert build_model(description).head_spec == Head(pooling="statistics")
    del description["head"]["pooling"]
    assert build_model(description).pooling == "mean"


def test_unknown_pooling_is_one_line():
    with pytest.raises(
        SettingError, match=r"pooling 'median' is not known; allowed: auto, mean, .*statistics, attention"
    ) as caught:
        Head(pooling="median")  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("hidden", [None, 7])
def test_attention_starts_as_the_mean_and_its_query_is_the_heads(hidden):
    attentive, plain = (tiny_classifier(head=Head(hidden, pooling=how)).eval() for how in ("attention", "mean"))
    signal = torch.randn(3, 1, 200, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(attentive(signal), plain(signal), rtol=0, atol=1e-6)
    assert set(attentive.head.state_dict()) - set(plain.head.state_dict()) == {"query"}
    assert attentive.head.query.shape == (32,)
    attentive(signal).square().sum().backward()
    assert attentive.head.query.grad.any()


def test_without_its_query_attention_is_refused():
    with pytest.raises(TypeError, match="query"):
        pool(TOKENS, None, "attention")
