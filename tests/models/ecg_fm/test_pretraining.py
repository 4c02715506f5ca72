"""Edges of the pretraining objective; its numbers are in test_reference.py."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ecgtune.errors import AuditError, DataError
from ecgtune.models.contrastive import Draws
from ecgtune.models.ecg_fm.pretraining import load_pretraining


def test_only_a_pretrained_file_has_what_pretraining_needs(official_file: Callable[..., Path]) -> None:
    model = load_pretraining(official_file())
    assert (model.quantizer.groups, model.quantizer.codes) == (2, 5)
    with pytest.raises(AuditError, match="not a pretrained file"):
        load_pretraining(official_file("finetuned"))
    with pytest.raises(AuditError, match="does not fit the pretraining model"):
        load_pretraining(official_file(change=lambda content: content["model"].pop("final_proj.bias")))


def test_records_must_have_as_many_masked_tokens(official_file: Callable[..., Path]) -> None:
    model = load_pretraining(official_file())
    masked = torch.arange(8) < torch.tensor([[3], [4]])
    draws = Draws(masked, torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(DataError, match="same number of masked tokens"):
        model(torch.randn(2, 12, 64), draws, torch.tensor([1, 1]), torch.tensor([0, 1]))
