"""Heads, and the pooling that they read."""

import pytest
import torch
from torch import nn

from ecgtune.errors import SettingError
from ecgtune.methods.attach import attach
from ecgtune.methods.own_weights.settings import Full, NormBias, TopLayers
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.models.classifier import Head
from ecgtune.models.loading import load_model
from ecgtune.models.pooling import POOLINGS
from ecgtune.testing.methods import check_method
from helpers.encoders import ConvConfig, ConvNet, PatchConfig, PatchNet, classifier, registered


@pytest.mark.parametrize(
    ("head", "layers", "count"),
    [
        (None, ["Linear"], 192 * 2 + 2),
        (Head(hidden=8), ["Linear", "GELU", "Linear"], 192 * 8 + 8 + 8 * 2 + 2),
        (Head(hidden=8, activation="relu"), ["Linear", "ReLU", "Linear"], 192 * 8 + 8 + 8 * 2 + 2),
        (Head(hidden=8, dropout=0.1), ["Dropout", "Linear", "GELU", "Dropout", "Linear"], 192 * 8 + 8 + 8 * 2 + 2),
    ],
)
def test_heads(head: Head | None, layers: list[str], count: int) -> None:
    model = load_model("ecg-fm-tiny", head=head)
    assert [type(layer).__name__ for layer in model.head] == layers
    assert sum(parameter.numel() for parameter in model.head.parameters()) == count


@pytest.mark.parametrize("values", [{"hidden": 0}, {"dropout": 1.0}, {"activation": "tanh"}])
def test_wrong_heads(values: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        Head(**values)  # type: ignore[arg-type]


class WithoutScales(ConvNet):
    """Batch norms without weights, also before the blocks."""

    def __init__(self, config: ConvConfig) -> None:
        super().__init__(config)
        self.stem_norm = nn.BatchNorm1d(config.width, affine=False)
        for block in self.blocks_:
            block.norm = nn.BatchNorm1d(config.width, affine=False)


@pytest.mark.parametrize(
    ("method", "training"),
    [
        (Full(), [True] * 5),
        (TopLayers(layers=1), [False, False, False, False, True]),
        (TopLayers(layers=2), [False, False, False, True, True]),
        (NormBias(), [True, False, False, False, False]),
        (LinearProbe(), [False] * 5),
    ],
    ids=str,
)
def test_batch_norms_without_weights_train_where_something_of_their_block_does(method, training) -> None:
    model = attach(classifier(WithoutScales, ConvConfig()), method).train()
    encoder = model.base_encoder
    norms = [encoder.stem_norm, *(block.norm for block in encoder.blocks.values())]
    assert [norm.training for norm in norms] == training
    assert not any(module.training for module in model.eval().modules())


class NormBehindPooling(PatchNet):
    """Norm of the pooled vector in place of the tokens."""

    pooling = "mean"

    def finish(self, features, mask):
        return features

    def finish_pooled(self, pooled):
        return self.norm(pooled)


@pytest.mark.parametrize("pooling", [pooling for pooling in POOLINGS if pooling != "none"])
def test_the_encoder_finishes_each_pooled_vector(pooling) -> None:
    model = classifier(NormBehindPooling, PatchConfig(), head=Head(pooling=pooling)).eval()
    signal = torch.randn(2, 3, 160)
    pooled = model.pool(*model.encode(signal))
    normed = torch.cat([model.base_encoder.norm(part) for part in pooled.chunk(POOLINGS[pooling], dim=-1)], dim=-1)
    torch.testing.assert_close(model(signal), model.head(normed))
    torch.testing.assert_close(model.finish_pooled(pooled), normed)


@pytest.mark.parametrize("method", [LinearProbe(), LinearProbe(layers="mix"), TopLayers(layers=1), NormBias()], ids=str)
def test_methods_on_an_encoder_that_finishes_pooled_vectors(method) -> None:
    with registered(("norm-behind-pooling", NormBehindPooling)):
        check_method(method, NormBehindPooling)
