"""OFT: settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ecgtune.config.base import check_fields
from ecgtune.config.space import Choice, Span
from ecgtune.config.targets import check_targets
from ecgtune.methods.base import TargetedMethod, check_fraction, check_least
from ecgtune.methods.registry import register_method

if TYPE_CHECKING:
    from torch import nn

    from ecgtune.models.base import Encoder


@register_method("oft")
@dataclass(frozen=True)
class OFT(TargetedMethod):
    """Inputs of frozen linear layers or convolutions turned by learned block-diagonal rotations, through peft.

    W R x with R orthogonal by Cayley's (I + Q)(I - Q)^-1, Q skew-symmetric and zero at the start (Qiu et al. 2023,
    arXiv:2306.07280, section 3; on inputs as in arXiv:2506.19847). block: width of a block, 2 or more, a divisor of
    the input width of every target, or of the channels of a group of a convolution. dropout: probability of a block to
    be left unturned in a forward pass of training, in [0, 1). targets as of LoRA.
    """

    learning_rate: ClassVar[float] = 2e-3
    search_space: ClassVar[Mapping[str, Span]] = {"method.block": Choice((8, 16, 32))}
    block: int = 16
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all"

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self.block, 2, "block of OFT")
        check_fraction(self.dropout, "dropout of OFT")
        check_targets(self.targets, type(self).__name__)

    @property
    def title(self) -> str:
        return f"OFT {self.block}, {self.target_title}"

    def peft_config(self, encoder: Encoder, seed: int) -> object:
        from peft import OFTConfig
        from torch import nn

        from ecgtune.methods.oft.rotated_weights import check_block
        from ecgtune.methods.peft_encoder import find_targets

        targets = find_targets(encoder, self.targets, "OFT", (nn.Linear, nn.Conv1d))
        for name in targets:
            check_block(encoder.get_submodule(name), name, self.block)
        return OFTConfig(
            oft_block_size=self.block,
            target_modules=targets,
            module_dropout=self.dropout,
            use_cayley_neumann=False,  # a truncated series would only be nearly a rotation; the blocks are small
        )

    def attach(self, encoder: Encoder, seed: int) -> nn.Module:
        from ecgtune.methods.oft.rotated_weights import use_rotated_weights

        model = super().attach(encoder, seed)
        use_rotated_weights(model)
        return model
