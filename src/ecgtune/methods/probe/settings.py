"""Linear probe: settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ecgtune.config.base import check_fields
from ecgtune.errors import NoPlaceError
from ecgtune.methods.base import Method, SplitKind
from ecgtune.methods.registry import register_method

if TYPE_CHECKING:
    from torch import nn

    from ecgtune.models.base import Encoder


@register_method("probe")
@dataclass(frozen=True)
class LinearProbe(Method):
    """The encoder is frozen; only the head trains, on tokens that are computed once.

    layers: "last", the encoder's tokens, or "mix": a weighted mean of the tokens before the first and after every block
    (of the depths at the end of the encoder that have the width of the last), its weights the softmax of one learned
    number per depth, all equal at the start (Peters et al. 2018, arXiv:1802.05365, eq. 1, without the common scale,
    which the head has).
    """

    learning_rate: ClassVar[float] = 3e-3
    changes_encoder: ClassVar[bool] = False
    gradient_in_encoder: ClassVar[bool] = False
    layers: Literal["last", "mix"] = "last"

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def title(self) -> str:
        return "Linear probe" if self.layers == "last" else "Linear probe, layers mixed"

    @property
    def adds_parameters(self) -> bool:
        return self.layers == "mix"

    @property
    def identity_at_start(self) -> bool:
        return self.layers == "last"

    def check_place(self, encoder: Encoder) -> None:
        if self.layers == "mix" and not encoder.blocks:
            raise NoPlaceError(f"{encoder.architecture} has no blocks to mix; use layers = 'last'")

    def attach(self, encoder: Encoder, seed: int) -> nn.Module:
        if self.layers == "last":
            return encoder
        from ecgtune.methods.probe.layer_mix import LayerMix

        self.check_place(encoder)
        return LayerMix(encoder)

    def split_kind(self, pooling: str) -> SplitKind:
        if self.layers == "last":
            return "block" if pooling == "attention" else "features"
        # Mixing and pooling may change places where the pooling is linear.
        return "intermediates" if pooling in ("attention", "statistics") else "pooled intermediates"
