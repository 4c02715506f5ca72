"""Random draws: the right shares, and functions of their key alone."""

import numpy as np
import pytest
import torch
from scipy import stats

from ecgtune.data.sampling import generator
from ecgtune.pretraining.draws import gumbel_noise, kept_leads, negatives, span_masks, visible_tokens


def test_a_generator_is_a_function_of_its_key():
    draws = [generator(*key).random(4).tolist() for key in [(1, 2), (1, 2), (1, 3), (2, 2), (1, 2, 1)]]
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) == 4


def test_span_masks_hide_half_in_spans_of_ten():
    masked = span_masks(generator(0), 2000, 156, 0.49, 10)
    assert set(masked.sum(axis=1)) == {76}
    edges = np.diff(np.pad(masked, ((0, 0), (1, 1))).astype(int), axis=1)
    runs = np.nonzero(edges == -1)[1] - np.nonzero(edges == 1)[1]
    assert (runs >= 10).mean() > 0.8  # only the last span of a record may be shorter
    assert (edges == -1).sum(axis=1).max() <= 8
    assert masked[:, 12:144].mean(axis=0).std() < 0.03  # anywhere alike


@pytest.mark.parametrize("tokens", [5, 12, 62])
def test_span_masks_of_short_records(tokens):
    masked = span_masks(generator(0), 8, tokens, 0.49, 10)
    assert masked.shape == (8, tokens)
    assert (masked.sum(axis=1) >= 2).all()


@pytest.mark.parametrize(("tokens", "share", "span", "kept"), [(75, 0.3, 5, 22), (75, 0.3, 1, 22), (4, 0.9, 5, 3)])
def test_visible_tokens_are_exactly_so_many_in_spans(tokens, share, span, kept):
    visible = visible_tokens(generator(0), 200, 4, tokens, share, span)
    assert visible.shape == (200, 4, kept)
    assert (np.diff(visible, axis=-1) > 0).all()
    assert visible.min() >= 0
    assert visible.max() < tokens
    seen = np.zeros((800, tokens))
    np.put_along_axis(seen, visible.reshape(800, kept), 1, axis=1)
    assert seen.mean(axis=0).min() > 0.5 * share  # no token is always hidden
    if tokens == 75:
        neighbours = (np.diff(visible, axis=-1) == 1).mean()
        assert neighbours > 0.6 if span == 5 else neighbours < 0.4
    assert len({mask.tobytes() for mask in visible[0]}) > 1 or tokens == 4
    assert len({mask.tobytes() for mask in visible[:, 0]}) > 1


def test_negatives_are_other_masked_tokens_of_the_same_record():
    drawn = negatives(generator(3), 6, 9, 100).reshape(6, 9, 100)
    record, token = np.divmod(drawn, 9)
    assert (record == np.arange(6)[:, None, None]).all()
    assert (token != np.arange(9)[:, None]).all()
    counts = np.array([np.bincount(token[:, k].ravel(), minlength=9) for k in range(9)])
    assert stats.chisquare(counts[0][1:]).pvalue > 1e-3


def test_leads_are_kept_with_a_half_and_one_lead_always():
    kept = kept_leads(generator(0), 2000, 12, 0.5)
    assert kept.mean() == pytest.approx(0.5, abs=0.01)
    assert kept_leads(generator(0), 10, 1, 0.5) is None


def test_gumbel_noise_is_gumbel():
    noise = gumbel_noise(5, (200, 50), torch.device("cpu"))
    assert stats.kstest(noise.numpy().ravel(), "gumbel_r").pvalue > 1e-3
    assert torch.equal(noise, gumbel_noise(5, (200, 50), torch.device("cpu")))
    assert not torch.equal(noise, gumbel_noise(6, (200, 50), torch.device("cpu")))
