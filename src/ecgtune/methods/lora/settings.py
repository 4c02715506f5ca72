"""LoRA and its variants: settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ecgtune.config.base import check_fields, require
from ecgtune.config.space import Choice, Span
from ecgtune.config.targets import check_targets
from ecgtune.methods.base import TargetedMethod, check_fraction, check_least
from ecgtune.methods.registry import register_method

if TYPE_CHECKING:
    from ecgtune.models.base import Encoder


@register_method("lora")
@dataclass(frozen=True)
class LoRA(TargetedMethod):
    """Low-rank updates beside frozen linear layers or convolutions: W x + (alpha / rank) B A x, through peft.

    Source: Hu et al. 2021, eq. 3. A convolution's A has its kernel, B a kernel of one sample.

    rank: inner width r >= 1. alpha: scale; None means 2 x rank. dropout: on the input of A, in [0, 1).
    targets: "qkv", "attention" (q, k, v, out), "mlp", "conv", "all" (attention and feed-forward; convolutions where
    there are none), a role such as "key", or a tuple of roles and module names.
    rslora: scale alpha / sqrt(rank) (Kalajdzievski 2023). dora: learn magnitude and direction apart (Liu et al. 2024).
    init: "default" (A random, B zero) or "pissa": A and B hold the `rank` largest singular values of W and the frozen
    part is the rest of W (Meng et al. 2024, arXiv:2404.02948, eq. 2-4); without dora. lora_plus_ratio: learning rate
    of B as a multiple of A's, 1 or more (LoRA+, Hayou et al. 2024, arXiv:2402.12354, section 4); 1 is plain LoRA.
    """

    learning_rate: ClassVar[float] = 2e-3
    search_space: ClassVar[Mapping[str, Span]] = {
        "method.rank": Choice((4, 8, 16, 32)),
        "method.dropout": Choice((0.0, 0.1)),
    }
    rank: int = 3
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
        check_fraction(self.dropout, "dropout of LoRA")
        require(self.alpha is None or self.alpha > 0, f"alpha of LoRA is {self.alpha}; allowed: above 0")
        check_targets(self.targets, type(self).__name__)
        both = self.dora and self.init == "pissa"
        require(not both, "dora and init 'pissa' of LoRA exclude each other; leave one of them out")
        require(
            self.lora_plus_ratio >= 1, f"lora_plus_ratio of LoRA is {self.lora_plus_ratio}; allowed: 1 (off) or more"
        )

    def rate_factor(self, parameter: str) -> float:
        return self.lora_plus_ratio if ".lora_B." in parameter else 1.0

    @property
    def title(self) -> str:
        kind = "DoRA" if self.dora else "PiSSA" if self.init == "pissa" else "rsLoRA" if self.rslora else "LoRA"
        return f"{kind}{'+' if self.lora_plus_ratio > 1 else ''} r{self.rank}, {self.target_title}"

    def peft_config(self, encoder: Encoder, seed: int) -> object:
        from peft import LoraConfig
        from torch import nn

        from ecgtune.methods.lora.layers import LowRankLinear, check_convolution
        from ecgtune.methods.peft_encoder import find_targets

        targets = find_targets(encoder, self.targets, "LoRA", (nn.Linear, nn.Conv1d))
        for name in targets:
            layer = encoder.get_submodule(name)
            check_convolution(layer, name, rank=self.rank, dora=self.dora, init=self.init)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha if self.alpha is not None else 2 * self.rank,  # type: ignore[arg-type]
            lora_dropout=self.dropout,
            target_modules=targets,
            use_rslora=self.rslora,
            use_dora=self.dora,
            init_lora_weights=True if self.init == "default" else self.init,
        )
        config._register_custom_module({nn.Linear: LowRankLinear})
        return config
