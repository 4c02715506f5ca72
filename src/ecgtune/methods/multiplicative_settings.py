"""Methods that scale or turn what passes through frozen projections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ecgtune.config.base import check_fields
from ecgtune.methods.base import TargetedMethod, check_least, check_share


@dataclass(frozen=True)
class IA3(TargetedMethod):
    """Learned factors on keys, values and the hidden layer of feed-forward blocks, one at the start, through peft.

    Liu et al. 2022 (arXiv:2205.05638, section 3.3). targets as of LoRA: a second feed-forward layer (fc2) has its input
    scaled, every other module its output.
    """

    name: ClassVar[str] = "ia3"
    learning_rate: ClassVar[float] = 1e-2
    targets: str | tuple[str, ...] = ("k_proj", "v_proj", "fc2")

    def __post_init__(self) -> None:
        check_fields(self)
        self._check_targets()

    @property
    def takes_members(self) -> bool:
        return True

    @property
    def title(self) -> str:
        return f"IA3, {self.places}"


@dataclass(frozen=True)
class OFT(TargetedMethod):
    """Inputs of frozen projections turned by learned block-diagonal rotations, through peft.

    W R x with R orthogonal by Cayley's (I + Q)(I - Q)^-1, Q skew-symmetric and zero at the start (Qiu et al. 2023,
    arXiv:2306.07280, section 3; on inputs as in arXiv:2506.19847). block: width of a block, 2 or more, a divisor of
    the input width of every target. dropout: probability of a block to be left unturned in a forward pass of training,
    in [0, 1). targets as of LoRA.
    """

    name: ClassVar[str] = "oft"
    learning_rate: ClassVar[float] = 2e-3
    block: int = 16
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all"

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self.block, 2, "block of OFT")
        check_share(self.dropout, "dropout of OFT")
        self._check_targets()

    @property
    def takes_members(self) -> bool:
        return True

    @property
    def title(self) -> str:
        return f"OFT {self.block}, {self.places}"
