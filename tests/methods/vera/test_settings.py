"""VeRA against its equation."""

import torch

from ecgtune.methods.attach import attach
from ecgtune.methods.vera.settings import VeRA
from helpers.models import tiny_classifier


def test_vera_scales_a_pair_that_all_projections_share():
    model = attach(tiny_classifier(), VeRA(rank=4))
    shared_a, shared_b = model.encoder.base_model.vera_A["default"], model.encoder.base_model.vera_B["default"]
    tokens = torch.randn(2, 5, 32)
    for layer in model.base_encoder.layers:
        fc1 = layer.feed_forward.fc1
        with torch.no_grad():
            outer, inner = fc1.vera_lambda_b["default"].normal_(), fc1.vera_lambda_d["default"].normal_()
            expected = fc1.base_layer(tokens) + outer * ((inner * (tokens @ shared_a[:, :32].T)) @ shared_b[:64].T)
            torch.testing.assert_close(fc1(tokens), expected, rtol=1e-4, atol=1e-5)
    assert not shared_a.requires_grad
