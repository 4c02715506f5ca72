"""IA3: settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ecgtune.config.base import check_fields
from ecgtune.config.targets import check_targets
from ecgtune.methods.base import TargetedMethod
from ecgtune.methods.registry import register_method

if TYPE_CHECKING:
    from ecgtune.models.base import Encoder


@register_method("ia3")
@dataclass(frozen=True)
class IA3(TargetedMethod):
    """Learned factors on keys, values and the hidden layer of feed-forward blocks, one at the start, through peft.

    Liu et al. 2022 (arXiv:2205.05638, section 3.3). targets as of LoRA: the output layer of a feed-forward block has
    its input scaled, every other module its output. A joint projection stands for "key" and "value": its queries are
    scaled too.
    """

    learning_rate: ClassVar[float] = 1e-2
    targets: str | tuple[str, ...] = ("key", "value", "mlp_output")

    def __post_init__(self) -> None:
        check_fields(self)
        check_targets(self.targets, type(self).__name__)

    @property
    def title(self) -> str:
        return f"IA3, {self.target_title}"

    def peft_config(self, encoder: Encoder, seed: int) -> object:
        from peft import IA3Config

        from ecgtune.methods.peft_encoder import find_targets

        targets = self.targets
        if encoder.modules_of("qkv") and not encoder.modules_of("key", "value"):
            names = (targets,) if isinstance(targets, str) else targets
            targets = tuple("qkv" if name in ("key", "value") else name for name in names)
        targets = find_targets(encoder, targets, "IA3")
        outputs = encoder.modules_of("mlp_output")
        return IA3Config(target_modules=targets, feedforward_modules=[name for name in targets if name in outputs])
