"""Maths of the contrastive objective; its numbers on an encoder are in ecg_fm/test_reference.py."""

import pytest
import torch
from torch.nn import functional as F

from ecgtune.errors import DataError
from ecgtune.models.contrastive import contrastive_logits, gumbel_temperature, segment_loss


@pytest.mark.parametrize(("step", "temperature"), [(0, 2.0), (100_000, 2 * 0.999995**100_000), (10**6, 0.5)])
def test_temperature(step: int, temperature: float) -> None:
    assert gumbel_temperature(step) == pytest.approx(temperature)


def test_a_distractor_that_is_the_target_is_no_distractor() -> None:
    target = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    negatives = torch.tensor([[1, 2, 0, 2, 0, 1]])  # two for each of three tokens
    logits = contrastive_logits(target * 3, target, negatives)
    assert logits[:, 0, 0].tolist() == [10.0, 0.0, float("-inf")]
    assert logits[:, 0, 1].tolist() == [10.0, 0.0, 0.0]


def test_segments_of_one_patient_are_to_be_alike() -> None:
    pooled = torch.randn(4, 6)
    patient, segment = torch.tensor([5, 3, 3, 5]), torch.tensor([0, 0, 1, 1])
    scores = F.cosine_similarity(pooled[[0, 1]][:, None], pooled[[3, 2]][None], dim=-1) / 0.1
    expected = (F.cross_entropy(scores, torch.arange(2)) + F.cross_entropy(scores.T, torch.arange(2))) / 2
    torch.testing.assert_close(segment_loss(pooled, patient, segment), expected)
    with pytest.raises(DataError, match="no patient has both segments"):
        segment_loss(pooled, torch.arange(4), segment)
