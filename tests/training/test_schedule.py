"""Learning rates against torch's own schedules, and the pure functions that replace saved state."""

import numpy as np
import pytest
import torch

from ecgtune.config.optimisation import Optimisation
from ecgtune.training.batches import class_weight, epoch_order
from ecgtune.training.schedule import learning_rate_factor, peak_rate


def test_cosine_without_warmup_is_torchs():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    settings = Optimisation(warmup=0.0)
    for step in range(50):
        assert learning_rate_factor(step, 50, settings) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("total", [2, 3, 10, 1000])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_every_step_has_a_rate(total, warmup, schedule):
    settings = Optimisation(warmup=warmup, schedule=schedule)
    factors = [learning_rate_factor(step, total, settings) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    peak = int(np.argmax(factors))
    assert all(np.diff(factors[: peak + 1]) >= 0)
    assert all(np.diff(factors[peak:]) <= 0)


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        (Optimisation(), None),
        (Optimisation(learning_rate=4e-3), 4e-3),
        (Optimisation(learning_rate=4e-3, rate_width=768), 4e-3),
        (Optimisation(learning_rate=4e-3, rate_width=192), 1e-3),
        (Optimisation(learning_rate=4e-3, rate_width=1024), 4e-3),  # a narrower encoder is not driven harder
    ],
)
def test_a_rate_goes_down_with_the_width_of_a_wider_encoder(settings, rate):
    assert peak_rate(settings, 768) == (rate if rate is None else pytest.approx(rate))


def test_order_is_a_permutation_that_depends_on_seed_and_epoch_alone():
    order = epoch_order(3, 1, 100)
    assert sorted(order) == list(range(100))
    assert np.array_equal(order, epoch_order(3, 1, 100))
    assert not np.array_equal(order, epoch_order(3, 2, 100))
    assert not np.array_equal(order, epoch_order(4, 1, 100))


def test_balanced_weights_are_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    label = np.array([0] * 30 + [1] * 10)
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=label)
    np.testing.assert_allclose(class_weight(label, 2, "balanced"), expected)
    assert class_weight(label, 2, "none").tolist() == [1, 1]
