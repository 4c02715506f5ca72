"""Methods that add a low-rank update to frozen projections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ecgtune.config.base import check_fields, require
from ecgtune.methods.base import TargetedMethod, check_least, check_share


@dataclass(frozen=True)
class LoRA(TargetedMethod):
    """Low-rank updates beside frozen projections: W x + (alpha / rank) B A x (Hu et al. 2021, eq. 3), through peft.

    rank: inner width r >= 1. alpha: scale; None means 2 x rank. dropout: on the input of A, in [0, 1).
    targets: "qkv", "attention" (q, k, v, out), "all" (attention and feed-forward) or a tuple of module names.
    rslora: scale alpha / sqrt(rank) (Kalajdzievski 2023). dora: learn magnitude and direction apart (Liu et al. 2024).
    init: "default" (A random, B zero) or "pissa": A and B hold the `rank` largest singular values of W and the frozen
    part is the rest of W (Meng et al. 2024, arXiv:2404.02948, eq. 2-4); without dora. lora_plus_ratio: learning rate
    of B as a multiple of A's, 1 or more (LoRA+, Hayou et al. 2024, arXiv:2402.12354, section 4); 1 is plain LoRA.
    """

    name: ClassVar[str] = "lora"
    learning_rate: ClassVar[float] = 2e-3
    rank: int = 16
    alpha: float | None = None
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all"
    rslora: bool = False
    dora: bool = False
    init: Literal["default", "pissa"] = "default"
    lora_plus_ratio: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self.rank, 1, "rank of LoRA")
        check_share(self.dropout, "dropout of LoRA")
        require(self.alpha is None or self.alpha > 0, f"alpha of LoRA is {self.alpha}; allowed: above 0")
        self._check_targets()
        both = self.dora and self.init == "pissa"
        require(not both, "dora and init 'pissa' of LoRA exclude each other; leave one of them out")
        require(
            self.lora_plus_ratio >= 1, f"lora_plus_ratio of LoRA is {self.lora_plus_ratio}; allowed: 1 (off) or more"
        )

    def rate_factor(self, parameter: str) -> float:
        return self.lora_plus_ratio if ".lora_B." in parameter else 1.0

    @property
    def takes_members(self) -> bool:
        return self.init != "pissa"  # which takes its part out of the frozen weights

    @property
    def title(self) -> str:
        kind = "DoRA" if self.dora else "PiSSA" if self.init == "pissa" else "rsLoRA" if self.rslora else "LoRA"
        return f"{kind}{'+' if self.lora_plus_ratio > 1 else ''} r{self.rank}, {self.places}"


@dataclass(frozen=True)
class AdaLoRA(TargetedMethod):
    """Low-rank updates whose ranks move to where they matter (Zhang et al. 2023, arXiv:2303.10512), through peft.

    W x + (alpha / start_rank) P E Q x (eq. 3), E diagonal. All start at start_rank; between the shares `warmup` and
    1 - `settle` of all steps the least important values of E are set to zero, until they are `rank` per projection on
    average (eq. 10 and 12). orthogonality: weight of the penalty that keeps P and Q orthogonal (eq. 4), averaged over
    projections; it is part of the training loss. start_rank > rank >= 1; alpha: None means 2 x start_rank; dropout,
    warmup, settle in [0, 1), warmup + settle below 1. targets as of LoRA. Steps beside the gradient: `methods.upkeep`.
    """

    name: ClassVar[str] = "adalora"
    learning_rate: ClassVar[float] = 5e-3
    rank: int = 2
    start_rank: int = 4
    alpha: float | None = None
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all"
    warmup: float = 0.1
    settle: float = 0.3
    orthogonality: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self.rank, 1, "rank of AdaLoRA")
        require(
            self.start_rank > self.rank,
            f"start_rank of AdaLoRA is {self.start_rank}; allowed: above rank ({self.rank}), or there is no choice",
        )
        for share in ("dropout", "warmup", "settle"):
            check_share(getattr(self, share), f"{share} of AdaLoRA")
        require(
            self.warmup + self.settle < 1,
            f"warmup {self.warmup} + settle {self.settle} of AdaLoRA leave no steps to choose ranks; keep below 1",
        )
        require(self.alpha is None or self.alpha > 0, f"alpha of AdaLoRA is {self.alpha}; allowed: above 0")
        require(self.orthogonality >= 0, f"orthogonality of AdaLoRA is {self.orthogonality}; allowed: 0 or more")
        self._check_targets()

    @property
    def title(self) -> str:
        return f"AdaLoRA r{self.start_rank} to {self.rank}, {self.places}"


@dataclass(frozen=True)
class VeRA(TargetedMethod):
    """Scales of one random low-rank pair that all projections share: W x + b * B (d * A x), through peft.

    Kopiczko et al. 2024 (arXiv:2310.11454, eq. 2): A and B are random and frozen, the vectors d and b train, b zero at
    the start. rank: rows of A, 1 or more; cheap in weights, not in time. start: first value of d, above 0 (the paper's
    table 6). dropout: on the input of A, in [0, 1). targets as of LoRA.
    """

    name: ClassVar[str] = "vera"
    learning_rate: ClassVar[float] = 1e-2
    rank: int = 128
    dropout: float = 0.0
    start: float = 0.1
    targets: str | tuple[str, ...] = "all"

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self.rank, 1, "rank of VeRA")
        check_share(self.dropout, "dropout of VeRA")
        require(self.start > 0, f"start of VeRA is {self.start}; allowed: above 0")
        self._check_targets()

    @property
    def takes_members(self) -> bool:
        return True

    @property
    def title(self) -> str:
        return f"VeRA r{self.rank}, {self.places}"
