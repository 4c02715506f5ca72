"""An encoder with a head on its pooled tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ecgtune.config.model import LeadMode
from ecgtune.errors import SettingError
from ecgtune.models.base import Encoder
from ecgtune.models.leads import LeadMixer
from ecgtune.models.pooling import POOLINGS, Pooling, pool
from ecgtune.models.weights import Weights
from ecgtune.utils.formatting import counted

MOST_HIDDEN = 65_536  # units of a head


@dataclass(frozen=True)
class Head:
    """The classification head: linear, or one hidden layer of `hidden` units between; `dropout` before each linear.

    pooling: what it reads of the tokens, see `models.pooling`; "auto" is what the encoder's weights expect.
    """

    hidden: int | None = None
    dropout: float = 0.0
    activation: Literal["gelu", "relu"] = "gelu"
    pooling: Pooling | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.hidden is not None and self.hidden < 1:
            raise SettingError(
                f"a head with {counted(self.hidden, 'hidden unit')} has none; give 1 or more, or leave it out"
            )
        if self.hidden is not None and self.hidden > MOST_HIDDEN:
            raise SettingError(f"a head of {self.hidden} hidden units; allowed: at most {MOST_HIDDEN}")
        if not 0 <= self.dropout < 1:
            raise SettingError(f"the head's dropout must be at least 0 and below 1, but got {self.dropout}")
        if self.activation not in ("gelu", "relu"):
            raise SettingError(f"the head's activation {self.activation!r} is not known; allowed: gelu, relu")
        if self.pooling not in ("auto", *POOLINGS):
            raise SettingError(
                f"the head's pooling {self.pooling!r} is not known; allowed: auto, {', '.join(POOLINGS)}"
            )

    def build(self, width: int, classes: int) -> nn.Sequential:
        """The module: pooled features (batch, POOLINGS[pooling] * width) -> logits (batch, classes)."""
        head = self._layers(POOLINGS.get(self.pooling, 1) * width, classes)
        # Beside the layers, which alone are called: saved, counted and trained with the head, but read by the pooling.
        head.register_parameter("query", nn.Parameter(torch.zeros(width)) if self.pooling == "attention" else None)
        return head

    def _layers(self, width: int, classes: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        if self.dropout:
            layers.append(nn.Dropout(self.dropout))
        if self.hidden is None:
            return nn.Sequential(*layers, nn.Linear(width, classes))
        layers += [nn.Linear(width, self.hidden), nn.GELU() if self.activation == "gelu" else nn.ReLU()]
        if self.dropout:
            layers.append(nn.Dropout(self.dropout))
        return nn.Sequential(*layers, nn.Linear(self.hidden, classes))


@dataclass(frozen=True)
class LoadedFrom:
    """Arguments of `load_model`, by which a saved run loads its encoder again."""

    name: str
    checkpoint: str | None = None
    lead_mode: LeadMode = "place"


class Classifier(nn.Module):
    """A lead mixer if one was asked for, encoder, pooling over valid tokens, head.

    `loaded` says how the encoder is loaded again, `weights` where its weights come from. A method may wrap `encoder`
    afterwards; `base_encoder` stays the encoder itself.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: Head,
        classes: tuple[str, ...],
        weights: Weights,
        loaded: LoadedFrom,
        *,
        lead_mixer: LeadMixer | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.base_encoder: Encoder
        self.lead_mixer = lead_mixer  # in front of all else, so that methods may wrap the encoder
        self.encoder: nn.Module = encoder
        self.__dict__["base_encoder"] = encoder  # not a second submodule: its weights have their names once
        self.attached: Any = None  # the method that trains; set once, by `methods.attach`
        self.added_parameters: frozenset[str] = frozenset()  # of it, those that train; names of `encoder`
        self.head_spec = head
        self.classes = classes
        self.weights = weights
        self.loaded = loaded
        with torch.random.fork_rng(devices=[]):  # the head depends on the seed alone, and no one else's draws on it
            torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which also seeds the GPU
            self.head: nn.Module = head.build(encoder.head_width, len(classes))

    @property
    def is_as_published(self) -> bool:
        """Whether the encoder computes as its authors' code does, where that has a mistake that changes results."""
        encoder = self.base_encoder
        return bool(encoder.as_published) and getattr(encoder.config, encoder.as_published)

    def like_published(self) -> Classifier:
        """Let the encoder compute as its authors' code does, mistakes included; docs/encoders.md states them.

        Returns the classifier. Raises SettingError for an encoder of which none is known.
        """
        encoder = self.base_encoder
        if not encoder.as_published:
            raise SettingError(
                f"{encoder.architecture} computes as its authors' code does, so as_published (--as-published) cannot "
                "act; leave it out"
            )
        config = replace(encoder.config, **{encoder.as_published: True})  # pyright: ignore[reportArgumentType]
        self.encoder = self.__dict__["base_encoder"] = encoder.from_weights(config, encoder.state_dict())
        return self

    def train(self, mode: bool = True) -> Classifier:
        """As in torch, but what is frozen does not change.

        Batch norms with frozen weights stay in evaluation mode, and so does an encoder that the method only reads. A
        batch norm without weights stays where nothing in its block, or in `embed`, trains.
        """
        super().train(mode)
        if self.attached is None:
            return self
        if not self.attached.changes_encoder:
            self.encoder.eval()
        norms = [module for module in self.encoder.modules() if isinstance(module, _BatchNorm)]
        without_weights = self.base_encoder.trains_around([norm for norm in norms if not norm.affine])
        for norm in norms:
            if not without_weights.get(norm, any(p.requires_grad for p in norm.parameters())):
                norm.eval()
        return self

    @property
    def name(self) -> str:
        """Name or path of the encoder."""
        return self.loaded.name

    @property
    def leads(self) -> tuple[str, ...]:
        """The leads of the signals that the model takes, in the order of their channels."""
        return self.base_encoder.input_spec.leads if self.lead_mixer is None else self.lead_mixer.leads

    @property
    def pooling(self) -> Pooling:
        """Pooling of the tokens that the head reads."""
        return self.base_encoder.pooling if self.head_spec.pooling == "auto" else self.head_spec.pooling

    @property
    def mixes_leads(self) -> bool:
        """Whether there is a lead mixer that trains, so that gradients go through the whole encoder to it."""
        return self.lead_mixer is not None and self.lead_mixer.weight.requires_grad

    def mixed(self, signal: Tensor) -> Tensor:
        """The signal (batch, leads, samples) as the encoder takes it: (batch, channels, samples)."""
        return signal if self.lead_mixer is None else self.lead_mixer(signal)

    def encode(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """signal (batch, leads, samples), normalised, at the encoder's rate -> tokens (batch, tokens, width), mask."""
        return self.encoder(self.mixed(signal), padding_mask)

    def pool(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(batch, tokens, width), (batch, tokens) -> (batch, features), which `finish_pooled` takes."""
        return pool(tokens, mask, self.pooling, cast(Tensor | None, self.head.query))

    def finish_pooled(self, pooled: Tensor) -> Tensor:
        """What the head reads of the output of `pool`: (batch, features), each vector finished by the encoder."""
        width = self.base_encoder.head_width
        return self.base_encoder.finish_pooled(pooled.unflatten(-1, (-1, width))).flatten(-2)

    def classify(self, pooled: Tensor) -> Tensor:
        """Output of `pool` (batch, features) -> logits (batch, classes)."""
        return self.head(self.finish_pooled(pooled))

    def forward(self, signal: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Logits (batch, classes); the arguments are those of `encode`, padding_mask True where a sample is padding."""
        return self.classify(self.pool(*self.encode(signal, padding_mask)))
