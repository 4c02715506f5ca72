"""The [trainer] table of a recipe: device, number format, memory and saving."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from ecgtune.config.base import check_fields, require


@dataclass(frozen=True)
class TrainerSettings:
    """How a training is executed. Raises SettingError for a value outside its range."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to compute on; auto selects CUDA, then MPS, then the CPU."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the forward and backward pass; weights stay float32. auto: bf16 if the device has instructions
    for it, else fp32. fp16, with loss scaling, is for GPUs without bf16."""
    gradient_accumulation_steps: int = 1
    """Number of pieces into which a batch is split to save memory; the gradient is that of the whole batch."""
    gradient_checkpointing: bool = False
    """Recompute activations inside a layer in the backward pass: less memory, more time."""
    max_memory: str | None = None
    """Peak memory of the training (4GB, 800MB); selects gradient_accumulation_steps and gradient_checkpointing."""
    prefix_cache: Literal["auto", "on", "off"] = "auto"
    """Compute the output of the frozen layers before the first trainable one only once and cache it; auto: if that is
    faster and fits into memory."""
    save_minutes: float = 5.0
    """Minutes between saves of the training state within an epoch; it is also saved after every epoch."""

    def __post_init__(self) -> None:
        check_fields(self)
        steps = self.gradient_accumulation_steps
        require(steps >= 1, f"gradient_accumulation_steps is {steps}; allowed: 1 or more")
        _ = self.max_memory_bytes
        require(self.save_minutes > 0, f"save_minutes is {self.save_minutes}; allowed: above 0")

    @property
    def max_memory_bytes(self) -> int | None:
        """`max_memory` in bytes, with powers of 1000. Raises SettingError for other text."""
        if self.max_memory is None:
            return None
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(GB|MB)", self.max_memory)
        amount = int(float(found[1]) * {"GB": 1e9, "MB": 1e6}[found[2]]) if found else 0
        require(amount > 0, f"max_memory is {self.max_memory!r}; allowed: an amount such as 4GB or 800MB")
        return amount

    def check_batch(self, batch_size: int) -> None:
        """Raise SettingError if a batch has fewer windows than pieces."""
        steps = self.gradient_accumulation_steps
        require(
            steps <= batch_size,
            f"gradient_accumulation_steps is {steps}; allowed: at most batch_size ({batch_size})",
        )

    def inference_batch(self, batch_size: int) -> int:
        """Return windows per forward pass without gradients: 256, or with max_memory a piece of a training batch."""
        return 256 if self.max_memory is None else min(256, math.ceil(batch_size / self.gradient_accumulation_steps))
