"""Side tuning: settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ecgtune.config.base import check_fields, require, to_table
from ecgtune.config.space import Choice, Span
from ecgtune.errors import NoPlaceError
from ecgtune.methods.base import Method, SplitKind, check_fraction, check_least
from ecgtune.methods.registry import register_method

if TYPE_CHECKING:
    from torch import nn

    from ecgtune.models.base import Encoder


@register_method("side")
@dataclass(frozen=True)
class SideTuning(Method):
    """A narrow ladder of small blocks beside a frozen encoder that no gradient enters.

    Ladder side-tuning (Sung et al. 2022, arXiv:2206.06522, section 3): the ladder reads the tokens before the first
    and after every layer of the encoder, mixes each with what comes from below by a learned gate, and its end is
    added to the encoder's tokens, through an up-projection that is zero at the start. The encoder runs without a
    graph and keeps no activations, so a step costs little more than a forward pass.

    width: of the ladder, 1 or more. block: "mlp" (two layers per token) or "transformer" (attention before them).
    expansion: hidden units of a block as a multiple of width, 1 or more. heads: of the attention, a divisor of width.
    dropout: in each block, in [0, 1).
    """

    learning_rate: ClassVar[float] = 2e-3
    gradient_in_encoder: ClassVar[bool] = False
    search_space: ClassVar[Mapping[str, Span]] = {
        "method.width": Choice((16, 24, 32, 48)),
        "method.block": Choice(("mlp", "transformer")),
    }
    width: int = 24
    block: Literal["mlp", "transformer"] = "mlp"
    expansion: int = 2
    heads: int = 2
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check_fields(self)
        for setting in ("width", "expansion", "heads"):
            check_least(getattr(self, setting), 1, f"{setting} of side tuning", 4096 if setting == "width" else 64)
        check_fraction(self.dropout, "dropout of side tuning")
        require(
            self.block == "mlp" or self.width % self.heads == 0,
            f"width {self.width} of side tuning is not a multiple of {self.heads} heads; choose heads that divide it",
        )

    @property
    def title(self) -> str:
        return f"Side tuning {self.width}, {self.block} blocks"

    def check_place(self, encoder: Encoder) -> None:
        if not encoder.blocks:
            raise NoPlaceError(f"{encoder.architecture} has no blocks for {self.name}")

    def attach(self, encoder: Encoder, seed: int) -> nn.Module:
        from ecgtune.methods.side.ladder import SideTuned

        self.check_place(encoder)
        return SideTuned(encoder, **to_table(self))

    def split_kind(self, pooling: str) -> SplitKind:
        return "intermediates"
