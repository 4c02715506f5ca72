"""How a training runs: one frozen dataclass is the Python argument, the flags and the [training] table of a recipe."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from ecgtune.config.base import check_fields, require
from ecgtune.errors import SettingError


@dataclass(frozen=True)
class Training:
    """Settings of the one loop. Raises SettingError for a value outside of what is allowed."""

    epochs: int = 20
    """Passes over the training windows; early stopping may end sooner."""
    batch_size: int = 64
    """Windows per optimizer step."""
    learning_rate: float | None = None
    """Peak learning rate; where nothing says one, the method's own."""
    rate_width: int | None = None
    """Width of the encoder that learning_rate was found on: a wider one trains at learning_rate * rate_width / width
    (Yang et al. 2022, arXiv:2203.03466, table 3, Adam). Not given: learning_rate as it is."""
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
    max_memory: str | None = None
    """Memory that a training may take at its fullest (4GB, 800MB): accumulate and checkpointing are chosen so."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weigh the loss by the inverse frequency of each class in the training windows."""
    label_smoothing: float = 0.0
    """Share of each training label that is spread over all classes; the validation loss stays plain."""
    ema: float | None = None
    """Decay of a moving average of the weights (0.999, say) that is validated and saved in their place; 0 is off."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """Cross-entropy (of several labels: per label, missing ones left out), or the focal loss of Lin et al. 2017."""
    focal_gamma: float = 2.0
    """How much the focal loss plays down windows that are right already; 0 is cross-entropy."""
    pos_weight: str | tuple[float, ...] | None = None
    """Several labels: factor of each label's positives in the loss, balanced (negatives / positives) or one number a
    label, 2,0.5,8."""
    best: Literal["auroc", "loss", "last"] = "auroc"
    """The epoch whose weights are kept: highest validation AUROC, lowest validation loss, or the last one, for where a
    few dozen validation windows would choose by chance."""
    patience: int | None = None
    """Stop after this many epochs that were not better, by `best`; never when not given."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the forward and backward pass; weights stay float32. auto: bf16 where the device multiplies it
    faster, else fp32. fp16, with a loss scale, is for GPUs without bf16."""
    prefix_cache: Literal["auto", "on", "off"] = "auto"
    """Compute what training cannot change once and keep it in the cache folder; auto: where that pays and fits."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto takes CUDA, then MPS, then the CPU."""
    threshold: str = "fixed"
    """Decision threshold, one per label: fixed (0.5), or fitted on validation: f1, youden (best F1 or Youden index), or
    the recall to reach, sensitivity:0.95."""
    save_minutes: float = 5.0
    """Minutes between saves inside a long epoch; the end of an epoch always saves."""

    def __post_init__(self) -> None:
        check_fields(self)
        wide = self.rate_width is None or (self.rate_width >= 1 and self.learning_rate is not None)
        require(wide, f"rate_width is {self.rate_width}; allowed: 1 or more, beside a learning_rate")
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
            self.patience is None or self.best != "last",
            f"patience is {self.patience}, but best is 'last', by which every epoch is better; allowed: auroc or loss",
        )
        require(
            self.accumulate <= self.batch_size,
            f"accumulate is {self.accumulate}; allowed: at most batch_size ({self.batch_size})",
        )
        _ = self.max_memory_bytes
        require(self.focal_gamma >= 0, f"focal_gamma is {self.focal_gamma}; allowed: 0 or more")
        fitted = re.fullmatch(r"fixed|f1|youden|sensitivity:(0*\.\d*[1-9]\d*|1(\.0*)?)", self.threshold)
        require(
            fitted is not None,
            f"threshold is {self.threshold!r}; allowed: fixed, f1, youden, or sensitivity:0.95 (above 0 up to 1)",
        )
        asked = self.positive_weights
        require(
            asked is None or asked == "balanced" or all(0 < value < 1e6 for value in asked),
            f"pos_weight is {self.pos_weight}; allowed: balanced, or numbers above 0",
        )
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

    @property
    def inference_batch(self) -> int:
        """Windows that go through the model at once without gradients: 256, or a piece of a batch with max_memory."""
        return 256 if self.max_memory is None else min(256, math.ceil(self.batch_size / self.accumulate))

    @property
    def positive_weights(self) -> Literal["balanced"] | tuple[float, ...] | None:
        """`pos_weight` as numbers, also where it is text (`2,0.5`). Raises SettingError for other text."""
        asked = self.pos_weight
        if not isinstance(asked, str):
            return asked
        if asked == "balanced":
            return "balanced"
        try:
            return tuple(float(part) for part in asked.split(","))
        except ValueError:
            raise SettingError(
                f"pos_weight is {asked!r}; allowed: balanced, or one number a label, such as 2,0.5"
            ) from None
