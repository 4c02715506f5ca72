"""Edges of the pretraining objective; its numbers are in test_reference.py."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ecgtune.errors import DataError
from ecgtune.models.contrastive import Draws
from helpers.ecg_fm import load_pretraining


def test_records_must_have_as_many_masked_tokens(official_file: Callable[..., Path]) -> None:
    model = load_pretraining(official_file())
    masked = torch.arange(8) < torch.tensor([[3], [4]])
    draws = Draws(masked, torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(DataError, match="same number of masked tokens"):
        model(torch.randn(2, 12, 64), draws, torch.tensor([1, 1]), torch.tensor([0, 1]))
