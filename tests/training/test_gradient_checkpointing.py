"""Layers computed again for the gradient: the same training, with fewer activations kept."""

import numpy as np
import pytest
import torch

from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.attach import attach
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full, TopLayers
from helpers.methods import slow
from helpers.models import bytes_kept, tiny_classifier
from helpers.settings import loop
from helpers.training import SETTINGS, run

AGAIN = loop(SETTINGS, gradient_checkpointing=True)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (Full(), {}),
        (LoRA(rank=2, dropout=0.2), {"drop_path": 0.3}),
        *slow(
            (LoRA(rank=2, dropout=0.2), {}),
            (Full(), {"drop_path": 0.3}),
            *((m, s) for m in (Adapter(width=2), TopLayers(layers=1)) for s in ({}, {"drop_path": 0.3})),
        ),
    ],
    ids=str,
)
def test_the_same_bits_as_without(method, settings, tmp_path):
    ours, theirs = (
        run(tmp_path / str(s.trainer.gradient_checkpointing), method, loop(s, **settings)) for s in (AGAIN, SETTINGS)
    )
    assert np.array_equal(ours[1], theirs[1])
    assert ours[2] == theirs[2]
    assert ours[0].audit == theirs[0].audit


def test_less_is_kept():
    sizes = []
    for on in (True, False):
        model = attach(tiny_classifier(), LoRA(rank=2)).train()
        model.base_encoder.set_gradient_checkpointing(on)
        sizes.append(bytes_kept(model, torch.randn(4, 1, 800)))
    assert sizes[0] < 0.3 * sizes[1]
