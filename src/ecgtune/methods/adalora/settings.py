"""AdaLoRA: settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ecgtune.config.base import check_fields, require
from ecgtune.config.space import Choice, Span
from ecgtune.config.targets import check_targets
from ecgtune.methods.base import MethodCallback, TargetedMethod, check_fraction, check_least
from ecgtune.methods.registry import register_method

if TYPE_CHECKING:
    from ecgtune.models.base import Encoder
    from ecgtune.models.classifier import Classifier


@register_method("adalora")
@dataclass(frozen=True)
class AdaLoRA(TargetedMethod):
    """Low-rank updates whose ranks move to where they matter (Zhang et al. 2023, arXiv:2303.10512), through peft.

    W x + (alpha / start_rank) P E Q x (eq. 3), E diagonal. All start at start_rank. After the fraction `warmup` of all
    steps and before the last `final_fraction` of them, the least important values of E are set to zero, until they are
    `rank` per projection on average (eq. 10 and 12). orthogonality: weight of the penalty that keeps P and Q orthogonal
    (eq. 4), averaged over projections; it is part of the training loss. start_rank > rank >= 1; alpha: None means
    2 x start_rank; dropout, warmup, final_fraction in [0, 1), warmup + final_fraction below 1. targets as of LoRA.
    """

    learning_rate: ClassVar[float] = 5e-3
    search_space: ClassVar[Mapping[str, Span]] = {"method.rank": Choice((1, 2, 3))}
    rank: int = 1
    start_rank: int = 4
    alpha: float | None = None
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all"
    warmup: float = 0.1
    final_fraction: float = 0.3
    orthogonality: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self.rank, 1, "rank of AdaLoRA")
        require(
            self.start_rank > self.rank,
            f"start_rank of AdaLoRA is {self.start_rank}; allowed: above rank ({self.rank}), or there is no choice",
        )
        for name in ("dropout", "warmup", "final_fraction"):
            check_fraction(getattr(self, name), f"{name} of AdaLoRA")
        require(
            self.warmup + self.final_fraction < 1,
            f"warmup {self.warmup} + final_fraction {self.final_fraction} of AdaLoRA leave no steps to choose ranks;"
            " keep the sum below 1",
        )
        require(self.alpha is None or self.alpha > 0, f"alpha of AdaLoRA is {self.alpha}; allowed: above 0")
        require(self.orthogonality >= 0, f"orthogonality of AdaLoRA is {self.orthogonality}; allowed: 0 or more")
        check_targets(self.targets, type(self).__name__)

    @property
    def title(self) -> str:
        return f"AdaLoRA r{self.start_rank} to {self.rank}, {self.target_title}"

    def peft_config(self, encoder: Encoder, seed: int) -> object:
        from peft import AdaLoraConfig

        from ecgtune.methods.peft_encoder import find_targets

        return AdaLoraConfig(
            init_r=self.start_rank,
            target_r=self.rank,
            lora_alpha=self.alpha if self.alpha is not None else 2 * self.start_rank,  # type: ignore[arg-type]
            lora_dropout=self.dropout,
            target_modules=find_targets(encoder, self.targets, "AdaLoRA"),
            orth_reg_weight=self.orthogonality,
            total_step=1,  # known when the training begins; the callback sets it
        )

    def callback(self, model: Classifier) -> MethodCallback:
        from ecgtune.methods.adalora.rank_allocation import RankAllocation

        return RankAllocation(
            model, warmup=self.warmup, final_fraction=self.final_fraction, orthogonality=self.orthogonality
        )
