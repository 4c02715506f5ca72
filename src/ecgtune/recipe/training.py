"""How a training runs: one frozen dataclass is the Python argument, the flags and the [training] table of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ecgtune.settings import check_fields, require


@dataclass(frozen=True)
class Training:
    """Settings of the one loop. Raises SettingError for a value outside of what is allowed."""

    epochs: int = 20
    """Passes over the training windows; early stopping may end sooner."""
    batch_size: int = 64
    """Windows per optimizer step."""
    learning_rate: float | None = None
    """Peak learning rate; the method's own when not given."""
    head_rate_factor: float = 1.0
    """Learning rate of the head as a multiple of the method's."""
    head_epochs: int = 0
    """Epochs in which only the head trains, as of a probe and at its learning rate, before the method starts."""
    layer_decay: float = 1.0
    """Learning rate of each layer as a share of that of the layer above it, where the encoder's own weights train."""
    drop_path: float = 0.0
    """Probability with which training skips a block of the encoder's last layer; less in those below."""
    optimizer: Literal["adamw", "adam"] = "adamw"
    """AdamW, or Adam (with weight decay as L2 in the gradient)."""
    weight_decay: float = 0.01
    """Weight decay of the optimizer."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Linear warm-up then cosine to zero, or the same rate throughout."""
    warmup: float = 0.05
    """Share of all steps spent on the warm-up of the cosine schedule."""
    clip: float | None = 1.0
    """Largest norm of the gradient; 0 switches clipping off."""
    accumulate: int = 1
    """Pieces that a batch is cut into to save memory; the result is that of the whole batch."""
    checkpointing: bool = False
    """Keep no activations inside a layer and compute them again for the gradient: less memory, more time."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weigh the loss by the inverse frequency of each class in the training windows."""
    label_smoothing: float = 0.0
    """Share of each training label that is spread over all classes; the validation loss stays plain."""
    ema: float | None = None
    """Decay of a moving average of the weights (0.999, say) that is validated and saved in their place; 0 is off."""
    patience: int | None = None
    """Stop after this many epochs without a better validation AUROC; never when not given."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of the forward and backward pass; weights stay float32."""
    prefix_cache: Literal["auto", "on", "off"] = "auto"
    """Compute what training cannot change once and keep it in the cache folder; auto: where that pays and fits."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto takes CUDA, then MPS, then the CPU."""
    threshold: Literal["fixed", "f1", "youden"] = "fixed"
    """Decision threshold: 0.5, or the one with the best F1 or Youden index on validation."""
    save_minutes: float = 5.0
    """Minutes between saves inside a long epoch; the end of an epoch always saves."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name, low in (("epochs", 1), ("head_epochs", 0), ("batch_size", 1), ("accumulate", 1)):
            value = getattr(self, name)
            require(value >= low, f"{name} is {value}; allowed: {low} or more")
        require(
            self.learning_rate is None or 0 < self.learning_rate < 10,
            f"learning_rate is {self.learning_rate}; allowed: above 0 and below 10",
        )
        require(
            self.head_rate_factor > 0, f"head_rate_factor is {self.head_rate_factor}; allowed: above 0; 1 is no change"
        )
        require(0 < self.layer_decay <= 1, f"layer_decay is {self.layer_decay}; allowed: above 0 up to 1 (off)")
        require(0 <= self.drop_path <= 0.5, f"drop_path is {self.drop_path}; allowed: 0 (off) to 0.5")
        require(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}; allowed: 0 or more")
        require(0 <= self.warmup < 1, f"warmup is {self.warmup}; allowed: 0 up to below 1, a share of all steps")
        require(self.clip is None or self.clip >= 0, f"clip is {self.clip}; allowed: 0 (off) or more")
        require(
            0 <= self.label_smoothing < 1,
            f"label_smoothing is {self.label_smoothing}; allowed: 0 (off) up to below 1",
        )
        require(self.ema is None or 0 <= self.ema < 1, f"ema is {self.ema}; allowed: 0 (off) up to below 1, a decay")
        require(self.patience is None or self.patience >= 1, f"patience is {self.patience}; allowed: 1 or more")
        require(
            self.accumulate <= self.batch_size,
            f"accumulate is {self.accumulate}; allowed: at most batch_size ({self.batch_size})",
        )
        require(self.save_minutes > 0, f"save_minutes is {self.save_minutes}; allowed: above 0")
