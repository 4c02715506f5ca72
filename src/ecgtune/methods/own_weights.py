"""Which of the encoder's own weights a method trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ecgtune.errors import SettingError
from ecgtune.methods.base import Method
from ecgtune.methods.own_weights_settings import Full, NormBias, TopLayers
from ecgtune.models.base import Encoder


def own_weights(encoder: Encoder, method: Method) -> frozenset[str]:
    """Names, as in `encoder.named_parameters()`, of the encoder's own weights that `method` trains.

    Empty for the methods that freeze them all. Raises SettingError when the encoder has no place for the method.
    """
    chosen = _CHOSEN.get(type(method))
    return frozenset() if chosen is None else chosen(encoder, method)


def _all(encoder: Encoder, method: Full) -> frozenset[str]:
    return frozenset(name for name, _ in encoder.named_parameters())


def _top_layers(encoder: Encoder, method: TopLayers) -> frozenset[str]:
    layers = check_layers(encoder, method)
    if method.layers > len(layers):
        raise SettingError(
            f"layers of top-layers tuning is {method.layers}, but the encoder has {len(layers)}; "
            f"allowed: 1 to {len(layers)}"
        )
    chosen = {id(parameter) for layer in layers[-method.layers :] for parameter in layer.parameters()}
    return frozenset(name for name, parameter in encoder.named_parameters() if id(parameter) in chosen)


def _norm_bias(encoder: Encoder, method: NormBias) -> frozenset[str]:
    check_layers(encoder, method)
    norms = {
        f"{path}.{name}"
        for path, module in encoder.named_modules()
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm))
        for name, _ in module.named_parameters()
    }
    useless = encoder.zero_gradient_parameters
    biases = {
        name for name, _ in encoder.named_parameters() if name.endswith(".bias") and not name.endswith(useless)
    } - norms
    return frozenset((norms if method.norms else set()) | (biases if method.biases else set()))


def check_layers(encoder: Encoder, method: Method) -> tuple[nn.Module, ...]:
    """The transformer layers of `encoder`. Raises SettingError where it has none, so `method` has no place."""
    if not encoder.transformer_layers:
        raise SettingError(
            f"{type(encoder).__name__} has no transformer layers for {method.name}; allowed methods: full, probe"
        )
    return encoder.transformer_layers


_CHOSEN: dict[type[Method], Callable[[Encoder, Any], frozenset[str]]] = {
    Full: _all,
    TopLayers: _top_layers,
    NormBias: _norm_bias,
}
