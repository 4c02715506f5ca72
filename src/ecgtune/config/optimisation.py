"""The [optimisation] table of a recipe: loss, optimizer, learning rate, epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ecgtune.config.base import check_fields, require
from ecgtune.errors import SettingError

MOST = 1_000_000  # epochs, or windows of a batch


@dataclass(frozen=True)
class Optimisation:
    """Hyperparameters of the training loop. Raises SettingError for a value outside its range."""

    epochs: int = 20
    """Passes over the training windows; early stopping may end sooner."""
    batch_size: int = 64
    """Windows per optimizer step."""
    learning_rate: float | None = None
    """Peak learning rate; the default of the method when not given."""
    rate_width: int | None = None
    """Encoder width at which learning_rate was tuned: a wider encoder trains at learning_rate * rate_width / width
    (Yang et al. 2022, arXiv:2203.03466, table 3, Adam). When not given, learning_rate is not scaled."""
    head_rate_factor: float = 1.0
    """Learning rate of the head as a multiple of the method's."""
    head_epochs: int = 0
    """Epochs that train only the head, with the learning rate of a probe, before the method starts."""
    layer_decay: float = 1.0
    """Learning rate of each layer as a fraction of that of the layer above it, for methods that train encoder
    weights."""
    drop_path: float = 0.0
    """Stochastic depth: probability of skipping a block of the encoder's last layer in training; less in lower
    layers."""
    layer_drop: float = 0.0
    """LayerDrop: probability of skipping a whole transformer layer in training, the same for all layers."""
    optimizer: Literal["adamw", "adam"] = "adamw"
    """AdamW, or Adam (with weight decay as L2 in the gradient)."""
    weight_decay: float = 0.01
    """Weight decay of the optimizer."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Linear warm-up, then cosine decay to zero; or a constant rate."""
    warmup: float = 0.05
    """Fraction of all steps for the warm-up of the cosine schedule."""
    max_grad_norm: float | None = 1.0
    """Largest norm of the gradient; 0 switches clipping off."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weigh the loss by the inverse frequency of each class in the training windows."""
    label_smoothing: float = 0.0
    """Fraction of each training label that is spread over all classes; the validation loss is not smoothed."""
    ema: float | None = None
    """Decay of an exponential moving average of the weights, such as 0.999, which is validated and saved instead of
    them; 0 is off."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """Cross-entropy (for multi-label data per known label), or the focal loss of Lin et al. 2017."""
    focal_gamma: float = 2.0
    """Exponent of the focal loss, which reduces the weight of well-classified windows; 0 is cross-entropy."""
    pos_weight: str | tuple[float, ...] | None = None
    """Multi-label data: factor of the positives of each label in the loss, balanced (negatives / positives) or one
    number per label, such as 2,0.5,8."""
    checkpoint_metric: Literal["auroc", "loss", "last"] = "auroc"
    """Epoch whose weights are kept: highest validation AUROC, lowest validation loss, or the last epoch (for small
    validation splits, whose best epoch is random)."""
    patience: int | None = None
    """Stop after this many epochs without a better checkpoint_metric; never when not given."""

    def __post_init__(self) -> None:
        check_fields(self)
        wide = self.rate_width is None or (self.rate_width >= 1 and self.learning_rate is not None)
        require(wide, f"rate_width is {self.rate_width}; allowed: 1 or more, beside a learning_rate")
        for name, low in (("epochs", 1), ("head_epochs", 0), ("batch_size", 1)):
            value = getattr(self, name)
            require(value >= low, f"{name} is {value}; allowed: {low} or more")
            require(value <= MOST, f"{name} is {value}; allowed: at most {MOST}")
        require(
            self.learning_rate is None or 0 < self.learning_rate < 10,
            f"learning_rate is {self.learning_rate}; allowed: above 0 and below 10",
        )
        require(
            self.head_rate_factor > 0, f"head_rate_factor is {self.head_rate_factor}; allowed: above 0; 1 is no change"
        )
        require(0 < self.layer_decay <= 1, f"layer_decay is {self.layer_decay}; allowed: above 0 up to 1 (off)")
        for name in ("drop_path", "layer_drop"):
            value = getattr(self, name)
            require(0 <= value <= 0.5, f"{name} is {value}; allowed: 0 (off) to 0.5")
        require(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}; allowed: 0 or more")
        require(0 <= self.warmup < 1, f"warmup is {self.warmup}; allowed: 0 up to below 1, a fraction of all steps")
        norm = self.max_grad_norm
        require(norm is None or norm >= 0, f"max_grad_norm is {norm}; allowed: 0 (off) or more")
        require(
            0 <= self.label_smoothing < 1,
            f"label_smoothing is {self.label_smoothing}; allowed: 0 (off) up to below 1",
        )
        require(self.ema is None or 0 <= self.ema < 1, f"ema is {self.ema}; allowed: 0 (off) up to below 1, a decay")
        require(self.patience is None or self.patience >= 1, f"patience is {self.patience}; allowed: 1 or more")
        require(
            self.patience is None or self.checkpoint_metric != "last",
            f"patience is {self.patience}, but checkpoint_metric is 'last', so training never stops early; use "
            "auroc or loss",
        )
        require(self.focal_gamma >= 0, f"focal_gamma is {self.focal_gamma}; allowed: 0 or more")
        weights = self.positive_weights
        require(
            weights is None or weights == "balanced" or all(0 < value < 1e6 for value in weights),
            f"pos_weight is {self.pos_weight}; allowed: balanced, or numbers above 0",
        )

    @property
    def positive_weights(self) -> Literal["balanced"] | tuple[float, ...] | None:
        """`pos_weight` with text such as `2,0.5` as numbers. Raises SettingError for other text."""
        weights = self.pos_weight
        if not isinstance(weights, str):
            return weights
        if weights == "balanced":
            return "balanced"
        try:
            return tuple(float(part) for part in weights.split(","))
        except ValueError:
            raise SettingError(
                f"pos_weight is {weights!r}; allowed: balanced, or one number per label, such as 2,0.5"
            ) from None
