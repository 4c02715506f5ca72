"""Places of IA3: outputs of keys and values, the input of the last feed-forward layer."""

import torch

from ecgtune.methods.attach import attach
from ecgtune.methods.ia3.settings import IA3
from ecgtune.models.openecg.network import OpenECG, OpenECGConfig
from helpers.encoders import classifier
from helpers.models import tiny_classifier


def test_ia3_scales_outputs_of_attention_and_the_input_of_fc2():
    model = attach(tiny_classifier(), IA3())
    layer = model.base_encoder.layers[0]
    tokens, hidden = torch.randn(2, 5, 32), torch.randn(2, 5, 64)
    with torch.no_grad():
        for module in (layer.attention.v_proj, layer.feed_forward.fc2):
            module.ia3_l["default"].uniform_(0.5, 2)
        value, factor = layer.attention.v_proj, layer.attention.v_proj.ia3_l["default"].flatten()
        torch.testing.assert_close(value(tokens), value.base_layer(tokens) * factor)
        fc2, factor = layer.feed_forward.fc2, layer.feed_forward.fc2.ia3_l["default"].flatten()
        torch.testing.assert_close(fc2(hidden), fc2.base_layer(hidden * factor))


def test_ia3_scales_a_joint_projection_where_keys_and_values_have_none_of_their_own():
    model = attach(classifier(OpenECG, OpenECGConfig(width=16, heads=2, positions=64)), IA3())
    layer = model.base_encoder.layers[-1]
    assert layer.attention.qkv.ia3_l["default"].shape == (48, 1)
    assert layer.feed_forward.fc2.ia3_l["default"].shape == (1, 256)
    assert not hasattr(layer.attention.out_proj, "ia3_l")
