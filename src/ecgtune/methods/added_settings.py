"""Methods that add small networks: inside the encoder's layers, or beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ecgtune.config.base import check_fields, choose, require
from ecgtune.methods.base import Method, check_least, check_share


@dataclass(frozen=True)
class Adapter(Method):
    """Bottlenecks in frozen layers: y + up(gelu(down(y))), the up-projection zero at the start.

    width: inner width >= 1. placement: "both", after attention and after feed-forward (Houlsby et al. 2019, fig. 2);
    "feed-forward", after feed-forward only (Pfeiffer et al. 2021); "parallel", beside the feed-forward block and
    reading its input (He et al. 2022, table 1).
    """

    name: ClassVar[str] = "adapter"
    learning_rate: ClassVar[float] = 2e-3
    width: int = 32
    placement: Literal["both", "feed-forward", "parallel"] = "both"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self.width, 1, "width of the adapter")
        check_share(self.dropout, "dropout of the adapter")
        choose(self.placement, ("both", "feed-forward", "parallel"), "placement of the adapter:")

    @property
    def takes_members(self) -> bool:
        return True

    @property
    def title(self) -> str:
        where = {"both": "attention and feed-forward", "feed-forward": "feed-forward", "parallel": "parallel"}
        return f"Adapter {self.width}, {where[self.placement]}"


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

    name: ClassVar[str] = "side"
    learning_rate: ClassVar[float] = 2e-3
    width: int = 24
    block: Literal["mlp", "transformer"] = "transformer"
    expansion: int = 2
    heads: int = 2
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        for setting in ("width", "expansion", "heads"):
            check_least(getattr(self, setting), 1, f"{setting} of side tuning")
        check_share(self.dropout, "dropout of side tuning")
        require(
            self.block == "mlp" or self.width % self.heads == 0,
            f"width {self.width} of side tuning is not a multiple of {self.heads} heads; choose heads that divide it",
        )

    @property
    def takes_members(self) -> bool:
        return True

    @property
    def title(self) -> str:
        return f"Side tuning {self.width}, {self.block} blocks"
