


def test_ia3_scales_a_joint_projection_where_keys_and_values_have_none_of_their_own():
    model = attach(classifier(OpenECG, OpenECGConfig(width=16, heads=2, positions=64)), IA3())
    layer = model.base_encoder.layers[-1]
    assert layer.attention.qkv.ia3_l["default"].shape == (48, 1)
    assert layer.feed_forward.fc2.ia3_l["default"].shape == (1, 256)
    assert not hasattr(layer.attention.out_proj, "ia3_l")
