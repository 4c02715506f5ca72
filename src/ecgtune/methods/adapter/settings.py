"""Bottleneck adapters: settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ecgtune.config.base import check_fields, choose
from ecgtune.config.space import Choice, Span
from ecgtune.methods.base import PeftMethod, check_fraction, check_least
from ecgtune.methods.registry import register_method

if TYPE_CHECKING:
    from ecgtune.models.base import Encoder


@register_method("adapter")
@dataclass(frozen=True)
class Adapter(PeftMethod):
    """Bottlenecks in frozen layers: y + up(gelu(down(y))), the up-projection zero at the start.

    width: inner width >= 1. placement: "both", after attention and after feed-forward (Houlsby et al. 2019, fig. 2);
    "feed-forward", after feed-forward only (Pfeiffer et al. 2021); "parallel", beside the feed-forward block and
    reading its input (He et al. 2022, table 1). In an encoder of convolutions the bottleneck has kernels of one sample
    and is placed after the last convolution of each block, or parallel to it (Rebuffi et al. 2018, arXiv:1803.10082).
    """

    learning_rate: ClassVar[float] = 2e-3
    search_space: ClassVar[Mapping[str, Span]] = {
        "method.width": Choice((8, 16, 32, 64)),
        "method.placement": Choice(("both", "feed-forward", "parallel")),
    }
    width: int = 20
    placement: Literal["both", "feed-forward", "parallel"] = "both"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self.width, 1, "width of the adapter")
        check_fraction(self.dropout, "dropout of the adapter")
        choose(self.placement, ("both", "feed-forward", "parallel"), "placement of the adapter:")

    @property
    def title(self) -> str:
        where = {"both": "attention and feed-forward", "feed-forward": "feed-forward", "parallel": "parallel"}
        return f"Adapter {self.width}, {where[self.placement]}"

    def peft_config(self, encoder: Encoder, seed: int) -> object:
        from ecgtune.methods.adapter.bottleneck import BottleneckConfig, find_branches

        return BottleneckConfig(
            target_modules=list(find_branches(encoder, self.placement)),
            features=encoder.head_width,
            width=self.width,
            parallel=self.placement == "parallel",
            dropout=self.dropout,
        )
