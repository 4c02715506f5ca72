"""What of a model needs to be computed only once, where the encoder stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ecgtune.methods.layer_mix import LayerMix
from ecgtune.models import Classifier
from ecgtune.recipe import LinearProbe, Method


def reads_features(model: Classifier, method: Method) -> bool:
    """Whether all that `method` trains comes behind the pooling, so that pooled tokens can be computed once.

    Not with a learned pooling, and not with mixed layers unless mixing and pooling may change places, as for the mean.
    """
    pooling = model.head_spec.pooling
    mixes = isinstance(method, LinearProbe) and method.layers == "mix"
    return not method.changes_encoder and pooling in (("mean",) if mixes else ("mean", "statistics"))


class Features(nn.Module):
    """Signal to what is computed once: (batch, features), or (batch, layers + 1, features) where layers are mixed."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, signal: Tensor) -> Tensor:
        encoder = self.model.encoder
        if not isinstance(encoder, LayerMix):
            return self.model.pool(*self.model.encode(signal))
        states, mask = encoder.states(signal)
        pooled = self.model.pool(states.flatten(0, 1), mask.repeat_interleave(states.shape[1], dim=0))
        return pooled.unflatten(0, states.shape[:2])


class OnFeatures(nn.Module):
    """What `Features` gives to logits (batch, classes), through all that trains."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        encoder = self.model.encoder
        return self.model.head(encoder.mixed(features) if isinstance(encoder, LayerMix) else features)


def trained_part(model: Classifier, method: Method) -> nn.Module:
    """What a step of `method` runs: on features where they are computed once, else the whole model, on signals."""
    return OnFeatures(model) if reads_features(model, method) else model


@contextmanager
def head_alone(model: Classifier) -> Iterator[LinearProbe]:
    """The model as a linear probe, whatever is attached; afterwards that method's weights train again."""
    attached, weights = model.attached, [p for p in model.encoder.parameters() if p.requires_grad]
    model.attached = probe = LinearProbe()
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield probe
    finally:
        model.attached = attached
        for weight in weights:
            weight.requires_grad_(True)
