"""A model in two: a frozen prefix that is computed once, and the suffix that a training changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ecgtune.methods.base import Method, SplitKind
from ecgtune.methods.intermediates import IntermediateReader
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.models.classifier import Classifier


@dataclass(frozen=True)
class SplitPoint:
    """Place where a model is split into `FrozenPrefix` and `TrainableSuffix`.

    "features": what the head reads, (batch, features). "pooled intermediates": behind the pooling of several depths,
    (batch, depths, features). "intermediates": tokens of several depths, (batch, depths, tokens, width). "block":
    features that enter block number `depth`; the number of blocks stands for behind the last one.
    """

    kind: SplitKind
    depth: int = 0

    def __str__(self) -> str:
        names = {"features": "pooled tokens", "pooled intermediates": "pooled tokens of several depths"}
        names["intermediates"] = "tokens of several depths"
        return names.get(self.kind) or f"features before block {self.depth + 1}"

    @property
    def pooled(self) -> bool:
        """Whether the prefix gives features of the head's width."""
        return self.kind in ("features", "pooled intermediates")

    @property
    def skips_blocks(self) -> bool:
        """Whether the prefix holds a block, which then runs once."""
        return self.kind != "block" or self.depth > 0


def reads_features(model: Classifier, method: Method) -> bool:
    """Whether all that `method` trains comes behind the pooling, so that pooled tokens can be computed once."""
    return not model.mixes_leads and method.split_kind(model.pooling) in ("features", "pooled intermediates")


def split_point(model: Classifier, method: Method, skips: bool = False) -> SplitPoint | None:
    """The longest prefix of the model that no step of `method`, which is attached, can change; None without one.

    skips: whether the training skips blocks or branches. Weights that train and random draws are in the suffix.
    """
    if model.mixes_leads:
        return None
    kind = method.split_kind(model.pooling)
    if kind != "block":
        reader = cast(IntermediateReader, model.encoder)
        return SplitPoint(kind) if kind == "features" or reader.stackable else None
    encoder = model.base_encoder
    if not method.changes_encoder:  # it is in evaluation mode, so it draws nothing
        return SplitPoint("block", len(encoder.blocks)) if encoder.blocks else None
    depth = encoder.frozen_depth()
    return None if depth is None else SplitPoint("block", 0 if skips else depth)


class FrozenPrefix(nn.Module):
    """Signal (batch, leads, samples), without padding, to the values at the split point."""

    def __init__(self, model: Classifier, split: SplitPoint) -> None:
        super().__init__()
        self.model = model
        self.split = split

    def forward(self, signal: Tensor) -> Tensor:
        mixed = self.model.mixed(signal)
        if self.split.kind == "block":
            return self.model.base_encoder.features_before(self.split.depth, mixed)
        if self.split.kind == "features":
            return self.model.finish_pooled(self.model.pool(*self.model.encoder(mixed)))
        states, mask = cast(IntermediateReader, self.model.encoder).read(mixed)
        if self.split.kind == "intermediates":
            return torch.stack(states, dim=1)
        return torch.stack([self.model.pool(state, mask) for state in states], dim=1)

    def describe(self) -> str:
        """Words for the computation that no other computation on the same weights has."""
        return f"{self.model.pooling}, {self.split}" if self.split.pooled else str(self.split)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers of the prefix, of encoder and lead mixer, by name."""
        mixer = self.model.lead_mixer
        mixed = {} if mixer is None else {f"lead_mixer.{name}": p for name, p in mixer.state_dict().items()}
        return self._encoder_tensors() | mixed

    def _encoder_tensors(self) -> dict[str, Tensor]:
        if self.split.kind == "features":
            return dict(self.model.encoder.state_dict())  # with the weights of a method below a head that trains alone
        base = self.model.base_encoder
        if self.split.kind != "block":
            return dict(base.state_dict())
        above = {
            id(tensor)
            for block in list(base.blocks.values())[self.split.depth :]
            for tensor in block.state_dict(keep_vars=True).values()
        }
        return {name: t.detach() for name, t in base.state_dict(keep_vars=True).items() if id(t) not in above}


class WithFeatures(nn.Module):
    """Signal (batch, leads, samples) to logits and the features that the head reads: (batch, classes + features)."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, signal: Tensor) -> Tensor:
        features = self.model.finish_pooled(self.model.pool(*self.model.encode(signal)))
        logits = self.model.head(features)
        return torch.cat([logits.float(), features.float()], dim=1)


class TrainableSuffix(nn.Module):
    """Values of `FrozenPrefix` to logits (batch, classes), through all that trains."""

    def __init__(self, model: Classifier, split: SplitPoint) -> None:
        super().__init__()
        self.model = model
        self.split = split

    def forward(self, inputs: Tensor) -> Tensor:
        if self.split.kind == "features":
            return self.model.head(inputs)
        if self.split.kind == "pooled intermediates":
            return self.model.classify(cast(IntermediateReader, self.model.encoder).combine(inputs.unbind(1)))
        return self.model.classify(self.model.pool(*self.encode(inputs)))

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The rest of `Classifier.encode`: tokens (batch, tokens, width) and their mask, of an unpooled split."""
        if self.split.kind == "block":
            tokens = self.model.base_encoder.forward_from(self.split.depth, inputs)
        else:
            tokens = cast(IntermediateReader, self.model.encoder).combine(inputs.unbind(1))
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)


def trained_part(model: Classifier, split: SplitPoint | None) -> Classifier | TrainableSuffix:
    """The module that a step of the training runs: the suffix, or the whole model on signals."""
    return model if split is None else TrainableSuffix(model, split)


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
