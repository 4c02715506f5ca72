"""The losses against torch's own and against their formulas written out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ecgtune.config.optimisation import Optimisation
from ecgtune.errors import SettingError
from ecgtune.training.losses import check_loss, criterion, focal_cross_entropy, label_cross_entropy

NAMES = ("MI", "CD", "HYP")
PLAIN, FOCAL = Optimisation(), Optimisation(loss="focal")
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn((12, 3), generator=GENERATOR)
CLASS = np.array([0, 1, 2, 0, 0, 0, 1, 0, 0, 2, 0, 1])
FLAG = np.array([[1, 0, -1], [0, 0, 1], [-1, -1, -1], [1, 1, 0]] * 3, dtype=np.int8)
ONES = torch.ones(3)


def mean_loss(label, settings, logits=LOGITS) -> torch.Tensor:
    loss = criterion(label, NAMES, settings)
    return loss(logits, torch.from_numpy(label)) / loss.total(label)


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_classes_are_torch_cross_entropy(weights):
    balanced = torch.tensor([12 / (3 * count) for count in np.bincount(CLASS)], dtype=torch.float32)
    weight = balanced if weights == "balanced" else ONES
    expected = cross_entropy(LOGITS, torch.from_numpy(CLASS), weight=weight)
    torch.testing.assert_close(mean_loss(CLASS, replace(PLAIN, class_weights=weights)), expected)


def test_labels_are_the_mean_over_what_is_known():
    known = FLAG >= 0
    expected = binary_cross_entropy_with_logits(LOGITS[known], torch.from_numpy(FLAG[known]).float())
    torch.testing.assert_close(mean_loss(FLAG, PLAIN), expected)


@pytest.mark.parametrize("asked", ["balanced", (2.0, 0.5, 8.0), "2,0.5,8"])
def test_pos_weight_is_torch_pos_weight(asked):
    positives, negatives = (FLAG == 1).sum(axis=0), (FLAG == 0).sum(axis=0)
    weight = torch.tensor(negatives / positives if asked == "balanced" else [2.0, 0.5, 8.0], dtype=torch.float32)
    known = torch.from_numpy(FLAG >= 0)
    terms = binary_cross_entropy_with_logits(
        LOGITS, torch.from_numpy(FLAG).clamp_min(0).float(), pos_weight=weight, reduction="none"
    )
    torch.testing.assert_close(mean_loss(FLAG, replace(PLAIN, pos_weight=asked)), terms[known].mean())


def test_balanced_labels_weigh_both_answers_alike():
    loss = criterion(FLAG, NAMES, replace(PLAIN, class_weights="balanced"))
    for place in range(3):
        counts = np.array([(FLAG[:, place] == value).sum() for value in (0, 1)])
        np.testing.assert_allclose(loss.weight[:, place] * counts, counts.sum() / 2, rtol=1e-6)


def test_what_is_missing_has_no_gradient_and_no_weight():
    logits = LOGITS.clone().requires_grad_()
    mean_loss(FLAG, FOCAL, logits).backward()
    assert logits.grad is not None
    assert np.array_equal(logits.grad.numpy() == 0, FLAG == -1)
    nothing = np.full((2, 3), -1, dtype=np.int8)
    loss = criterion(FLAG, NAMES, PLAIN)
    assert loss(LOGITS[:2], torch.from_numpy(nothing)) == 0
    assert loss.weight_sum(torch.from_numpy(nothing)) == 0
    assert loss.total(np.concatenate([FLAG, nothing])) == loss.total(FLAG) == (FLAG >= 0).sum()
    assert loss.total(nothing) == 1  # 0 / 1, where 0 / 0 would end the training


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_is_its_formula(gamma):
    p = torch.softmax(LOGITS.double(), 1)[torch.arange(12), torch.from_numpy(CLASS)]
    weight = torch.tensor([1.0, 2.0, 3.0])
    expected = (-weight[torch.from_numpy(CLASS)] * (1 - p) ** gamma * p.log()).sum()
    found = focal_cross_entropy(LOGITS, torch.from_numpy(CLASS), weight, gamma)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    p = torch.sigmoid(LOGITS.double())
    flags = torch.from_numpy(FLAG)
    truth = torch.where(flags == 1, p, 1 - p)
    expected = (-((1 - truth) ** gamma) * truth.log())[flags >= 0].sum()
    found = label_cross_entropy(LOGITS, flags, torch.ones(2, 3), ONES, gamma)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("label", [CLASS, FLAG])
def test_focal_of_gamma_0_is_cross_entropy_and_certain_answers_have_a_gradient_that_is_a_number(label):
    zero, half = replace(FOCAL, focal_gamma=0.0), replace(FOCAL, focal_gamma=0.5)
    torch.testing.assert_close(mean_loss(label, zero), mean_loss(label, PLAIN))
    certain = (200 * LOGITS.sign()).requires_grad_()
    mean_loss(label, half, certain).backward()
    assert certain.grad is not None
    assert bool(torch.isfinite(certain.grad).all())


@pytest.mark.parametrize("label", [CLASS, FLAG])
@pytest.mark.parametrize("settings", [PLAIN, FOCAL, replace(FOCAL, class_weights="balanced")])
def test_pieces_of_a_batch_add_up(label, settings):
    loss = criterion(label, NAMES, settings)
    flags = torch.from_numpy(label)
    pieces = sum(loss(LOGITS[rows], flags[rows]) for rows in (slice(0, 5), slice(5, 12)))
    torch.testing.assert_close(pieces, loss(LOGITS, flags))
    assert float(loss.weight_sum(flags)) == pytest.approx(loss.total(label))


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        ("binary", Optimisation(pos_weight="balanced"), "use class_weights for classes"),
        ("multilabel", Optimisation(pos_weight=(1.0, 2.0)), "has 2 numbers for 3 labels"),
        ("multilabel", Optimisation(pos_weight="balanced", class_weights="balanced"), "use one of them"),
    ],
)
def test_settings_that_a_task_cannot_use(task, settings, message):
    with pytest.raises(SettingError, match=message):
        check_loss(task, NAMES, settings)


@pytest.mark.parametrize(
    "values",
    [{"loss": "hinge"}, {"focal_gamma": -1.0}, {"pos_weight": "many"}, {"pos_weight": "1,0"}, {"pos_weight": (-1.0,)}],
)  # fmt: skip
def test_settings_that_cannot_be(values):
    with pytest.raises(SettingError):
        Optimisation(**values)
