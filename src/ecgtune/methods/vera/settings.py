"""VeRA: settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ecgtune.config.base import check_fields, require
from ecgtune.config.space import Choice, Span
from ecgtune.config.targets import check_targets
from ecgtune.methods.base import TargetedMethod, check_fraction, check_least
from ecgtune.methods.registry import register_method

if TYPE_CHECKING:
    from ecgtune.models.base import Encoder


@register_method("vera")
@dataclass(frozen=True)
class VeRA(TargetedMethod):
    """Scales of one random low-rank pair that all projections share: W x + b * B (d * A x), through peft.

    Kopiczko et al. 2024 (arXiv:2310.11454, eq. 2): A and B are random and frozen, the vectors d and b train, b zero at
    the start. rank: rows of A, 1 or more; cheap in weights, not in time. start: first value of d, above 0 (the paper's
    table 6). dropout: on the input of A, in [0, 1). targets as of LoRA.
    """

    learning_rate: ClassVar[float] = 1e-2
    search_space: ClassVar[Mapping[str, Span]] = {"method.rank": Choice((64, 128, 256))}
    rank: int = 64
    dropout: float = 0.0
    start: float = 0.1
    targets: str | tuple[str, ...] = "all"

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self.rank, 1, "rank of VeRA")
        check_fraction(self.dropout, "dropout of VeRA")
        require(self.start > 0, f"start of VeRA is {self.start}; allowed: above 0")
        check_targets(self.targets, type(self).__name__)

    @property
    def title(self) -> str:
        return f"VeRA r{self.rank}, {self.target_title}"

    def peft_config(self, encoder: Encoder, seed: int) -> object:
        from peft import VeraConfig

        from ecgtune.methods.peft_encoder import find_targets

        return VeraConfig(
            r=self.rank,
            target_modules=find_targets(encoder, self.targets, "VeRA"),
            projection_prng_key=seed,
            save_projection=True,  # or a reload would need the version of torch that drew the numbers
            vera_dropout=self.dropout,
            d_initial=self.start,
        )
