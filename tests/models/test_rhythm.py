"""The rhythm head: a loss over what is known, each group as heavy as any other."""

import numpy as np
import pytest
import torch

from ecgtune.models.pooling import pool
from ecgtune.models.rhythm import RhythmHead

GROUPS = (2, 5, 1)
TOKENS = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0))
CROP = 2 * torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
TOKEN = 2 * torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(2))
NAN = float("nan")


@pytest.fixture
def head() -> RhythmHead:
    torch.manual_seed(0)
    return RhythmHead(8, GROUPS, 3)


def smooth(read: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    away = np.abs((read - target).detach().double().numpy())
    return np.where(away < 1, 0.5 * away**2, away - 0.5)


def test_losses_are_those_of_a_loop_over_what_is_known(head):
    generator = torch.Generator().manual_seed(3)
    crop = torch.where(torch.rand(4, 8, generator=generator) < 0.3, NAN, CROP)
    token = torch.where(torch.rand(4, 6, 3, generator=generator) < 0.3, NAN, TOKEN)
    of_crop, of_token = head(TOKENS, crop, token)
    weights = [1 / 2] * 2 + [1 / 5] * 5 + [1]
    errors = smooth(head.crop(pool(TOKENS, None, "statistics")), crop)
    token_errors = smooth(head.token(TOKENS), token)
    for row in range(4):
        known = [index for index in range(8) if not crop[row, index].isnan()]
        total = sum(weights[index] * errors[row, index] for index in known)
        assert of_crop[row].item() == pytest.approx(total / sum(weights[index] for index in known), rel=1e-5)
        assert of_token[row].item() == pytest.approx(np.nanmean(token_errors[row]), rel=1e-5)


def test_groups_weigh_the_same(head):
    errors = torch.tensor(smooth(head.crop(pool(TOKENS, None, "statistics")), CROP))
    expected = torch.stack([part.mean(dim=1) for part in errors.split(GROUPS, dim=1)]).mean(dim=0)
    torch.testing.assert_close(head(TOKENS, CROP, TOKEN)[0].double(), expected, rtol=1e-5, atol=1e-6)


def test_where_nothing_is_known_nothing_is_lost_and_gradients_are_zero(head):
    losses = head(TOKENS, torch.full((4, 8), NAN), torch.full((4, 6, 3), NAN))
    assert not torch.stack(losses).any()
    torch.stack(losses).sum().backward()
    gradients = [parameter.grad for parameter in head.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_an_unknown_value_trains_no_weight_of_its_own(head):
    crop = CROP.clone()
    crop[:, 3] = NAN
    head(TOKENS, crop, TOKEN)[0].sum().backward()
    silent = [index for index in range(8) if not head.crop.weight.grad[index].any()]
    assert silent == [3]


def test_a_linear_reading_is_found(head):
    """What is linear in the statistics can be read off to the end."""
    tokens = torch.randn(64, 6, 8, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        other = RhythmHead(8, GROUPS, 3)
        crop, token = other.crop(pool(tokens, None, "statistics")), other.token(tokens)
    optimizer = torch.optim.Adam(head.parameters(), 0.03)
    for _ in range(300):
        optimizer.zero_grad()
        loss = torch.stack(head(tokens, crop, token)).mean(dim=1).sum()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3


def test_the_weights_of_groups_are_not_stored(head):
    assert set(head.state_dict()) == {"crop.weight", "crop.bias", "token.weight", "token.bias"}
