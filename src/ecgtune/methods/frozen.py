"""A model in two: what stays as it is, and is computed only once, and what a training changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ecgtune.methods.attach import base_encoder, encoders_of
from ecgtune.methods.base import Method
from ecgtune.methods.ladder import SideTuned
from ecgtune.methods.layer_mix import LayerMix
from ecgtune.methods.members import EncoderMembers, unwrapped
from ecgtune.methods.own_weights_settings import LinearProbe
from ecgtune.models.classifier import Classifier


@dataclass(frozen=True)
class Cut:
    """Where a model is cut in two, `Below` and `Above`.

    "features": after the pooling, (batch, features), or (batch, layers + 1, features) where layers are mixed. "states":
    after every layer at once, (batch, layers + 1, tokens, width). "tokens": before layer number `layer`, (batch,
    tokens, width); the number of layers stands for after the last.
    """

    kind: Literal["features", "states", "tokens"]
    layer: int = 0

    def __str__(self) -> str:
        if self.kind == "tokens":
            return f"tokens before layer {self.layer + 1}"
        return {"features": "pooled tokens", "states": "tokens of all layers"}[self.kind]

    @property
    def skips_layers(self) -> bool:
        """Whether there is a transformer layer below the cut, which then runs but once."""
        return self.kind != "tokens" or self.layer > 0


def reads_features(model: Classifier, method: Method) -> bool:
    """Whether all that `method` trains comes behind the pooling, so that pooled tokens can be computed once.

    Not with a lead mixer that trains in front of the encoder, not with a learned pooling, and not with mixed layers
    unless mixing and pooling may change places, as for the mean.
    """
    pooling = model.head_spec.pooling
    mixes = isinstance(method, LinearProbe) and method.layers == "mix"
    if model.mixes_leads:
        return False
    return not method.changes_encoder and pooling in (("mean",) if mixes else ("mean", "statistics"))


def deepest_cut(model: Classifier, method: Method, drop_path: float = 0.0) -> Cut | None:
    """The cut with the most below it that no step of `method`, which is attached, can change; None without one, and
    with a lead mixer that trains.

    drop_path: the training's, see `Encoder.set_drop_path`. Weights that train and random draws lie above the cut.
    """
    if model.mixes_leads:
        return None
    if reads_features(model, method):
        return Cut("features")
    if isinstance(encoders_of(model)[0], (LayerMix, SideTuned)):
        return Cut("states")
    encoder = base_encoder(model)
    if not method.changes_encoder:  # it is in evaluation mode, so it draws nothing
        return Cut("tokens", len(encoder.transformer_layers)) if encoder.transformer_layers else None
    settled = encoder.settled_layers
    return None if settled is None else Cut("tokens", 0 if drop_path else settled)


class Below(nn.Module):
    """Signal (batch, leads, samples), without padding, to what stands at the cut."""

    def __init__(self, model: Classifier, cut: Cut) -> None:
        super().__init__()
        self.model = model
        self.cut = cut

    def forward(self, signal: Tensor) -> Tensor:
        encoder = encoders_of(self.model)[0]  # below the cut, members are one
        if self.cut.kind == "tokens":
            return base_encoder(self.model).tokens_before(self.cut.layer, self.model.mixed(signal))
        if isinstance(encoder, (LayerMix, SideTuned)) and self.cut.kind == "states":
            return encoder.states(self.model.mixed(signal))[0]
        if not isinstance(encoder, LayerMix):
            return self.model.pool(*self.model.encode(signal))
        states, mask = encoder.states(self.model.mixed(signal))
        pooled = self.model.pool(states.flatten(0, 1), mask.repeat_interleave(states.shape[1], dim=0))
        return pooled.unflatten(0, states.shape[:2])

    def describe(self) -> str:
        """What is computed, in words that no other computation on the same weights has."""
        layers = " of all layers" if isinstance(self.model.encoder, LayerMix) else ""
        return f"{self.model.head_spec.pooling} features{layers}" if self.cut.kind == "features" else str(self.cut)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers below the cut, of encoder and lead mixer, by name: what the answer hangs on beside the
        signal."""
        mixer = self.model.lead_mixer
        mixed = {} if mixer is None else {f"lead_mixer.{name}": p for name, p in mixer.state_dict().items()}
        return self._encoder_tensors() | mixed

    def _encoder_tensors(self) -> dict[str, Tensor]:
        encoder = encoders_of(self.model)[0]
        if self.cut.kind == "tokens":
            base = base_encoder(self.model)
            above = {
                id(p)
                for layer in base.transformer_layers[self.cut.layer :]
                for p in layer.state_dict(keep_vars=True).values()
            }
            return {name: p.detach() for name, p in base.state_dict(keep_vars=True).items() if id(p) not in above}
        # Below the pooling of a head that trains alone, the ladder of side tuning stands too.
        above = self.cut.kind == "states" or isinstance(encoder, LayerMix)
        return dict((base_encoder(self.model) if above else encoder).state_dict())


class Above(nn.Module):
    """What `Below` gives to logits (batch, classes), through all that trains."""

    def __init__(self, model: Classifier, cut: Cut) -> None:
        super().__init__()
        self.model = model
        self.cut = cut

    def forward(self, inputs: Tensor) -> Tensor:
        if self.cut.kind != "features":
            return self.model.head(self.model.pool(*self.encode(inputs)))
        encoder = self.model.encoder
        return self.model.head(encoder.mixed(inputs) if isinstance(encoder, LayerMix) else inputs)

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The rest of `Classifier.encode`: tokens (batch, tokens, width) and their mask, from tokens or states."""
        encoder = self.model.encoder
        if isinstance(encoder, EncoderMembers):
            parts = zip(encoder.members, encoder.parts(inputs), strict=True)
            tokens = torch.cat([self._rest(member, part) for member, part in parts])
        else:
            tokens = self._rest(encoder, inputs)
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)

    def _rest(self, encoder: nn.Module, inputs: Tensor) -> Tensor:
        """The last tokens of one encoder, as its method left it."""
        if isinstance(encoder, SideTuned):
            return encoder.climbed(inputs.unbind(1), None)
        if isinstance(encoder, LayerMix):
            return encoder.mixed(inputs)
        return unwrapped(encoder).tokens_after(self.cut.layer, inputs)


def trained_part(model: Classifier, cut: Cut | None) -> Classifier | Above:
    """What a step of the training runs: what is above the cut, or the whole model, on signals."""
    return model if cut is None else Above(model, cut)


@contextmanager
def head_alone(model: Classifier) -> Iterator[LinearProbe]:
    """The model as a linear probe, whatever is attached; afterwards that method's weights train again."""
    attached, kept = model.attached, [model.encoder, *([] if model.lead_mixer is None else [model.lead_mixer])]
    weights = [p for module in kept for p in module.parameters() if p.requires_grad]
    model.attached = probe = LinearProbe()
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield probe
    finally:
        model.attached = attached
        for weight in weights:
            weight.requires_grad_(True)
