"""Settings of a training that go by the depth of an encoder's layers."""

from __future__ import annotations

from ecgtune.config.training import Training
from ecgtune.errors import SettingError
from ecgtune.methods.added_settings import SideTuning
from ecgtune.methods.attach import base_encoder
from ecgtune.methods.base import Method
from ecgtune.methods.own_weights import own_weights
from ecgtune.methods.own_weights_settings import LinearProbe
from ecgtune.models.classifier import Classifier


def check_depth(model: Classifier, method: Method, settings: Training) -> None:
    """Raise SettingError where `layer_decay`, `drop_path` or `checkpointing` is set but could not act on `method`."""
    encoder = base_encoder(model)
    for name, off in (("layer_decay", 1.0), ("drop_path", 0.0), ("checkpointing", False)):
        value = getattr(settings, name)
        if value != off and not encoder.transformer_layers:
            raise SettingError(
                f"{name} is {value}, but {type(encoder).__name__} has no transformer layers; leave it out"
            )
    if settings.layer_decay != 1 and not own_weights(encoder, method):
        raise SettingError(
            f"layer_decay is {settings.layer_decay}, but {method.name} leaves the encoder's own weights as they are; "
            "leave it out, or use full, top-layers or norm-bias"
        )
    if settings.checkpointing and isinstance(method, (LinearProbe, SideTuning)):
        raise SettingError(
            f"checkpointing is on, but {method.name} keeps no activations of the encoder's layers; leave it out"
        )
    if settings.drop_path > 0 and isinstance(method, (LinearProbe, SideTuning)):
        raise SettingError(
            f"drop_path is {settings.drop_path}, but {method.name} only reads the encoder, which skips nothing; "
            "leave it out"
        )


def layer_rates(model: Classifier, method: Method, decay: float) -> dict[str, float]:
    """Factors on the learning rates of the encoder's own weights that `method` trains, by their names in `model`.

    decay ** d with d = 0 in the last layer, 1 in the one below, and as many as there are layers for what lies before
    the first (layer-wise decay: Clark et al. 2020, arXiv:2003.10555; Bao et al. 2021, arXiv:2106.08254).
    """
    encoder = base_encoder(model)
    layers = encoder.transformer_layers
    depth = {id(p): len(layers) - 1 - n for n, layer in enumerate(layers) for p in layer.parameters()}
    own = own_weights(encoder, method)
    return {
        f"encoder.{name}": decay ** depth.get(id(parameter), len(layers))
        for name, parameter in encoder.named_parameters()
        if name in own
    }
