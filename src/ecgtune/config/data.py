"""The [data] table of a recipe: normalisation and split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ecgtune.config.base import check_fields, check_seed, require


@dataclass(frozen=True)
class DataSettings:
    """Normalisation of the windows, and how they are split."""

    normalisation: Literal["zscore", "global", "none"] = "zscore"
    """z-score with the statistics of each window (zscore) or of the training windows (global), or none (millivolts)."""
    preset: str = "auto"
    """Preparation of windows as by the authors of the encoder, in place of --normalisation: the first preset of an
    encoder that has any (auto), one by its name, or none."""
    fit: Literal["refuse", "encoder"] = "refuse"
    """Refuse windows that the encoder does not take, or give it the leads that it has and the middle of windows that
    are a little too long (encoder); the setting of comparisons of several encoders."""
    split_seed: int = 0
    """Seed of a random split; the same for every run of a comparison."""
    train_fraction: float = 0.70
    """Fraction of training windows, for files without a split."""
    val_fraction: float = 0.15
    """Fraction of validation windows, which select epoch and threshold; the rest is the test split."""
    label_fraction: float = 1.0
    """Fraction of the training and validation labels to use, by patient or recording, for learning curves."""
    allow_duplicates: bool = False
    """Accept recordings with the same signal in different splits with a warning instead of an error."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_seed(self.split_seed, "split_seed")
        train, val = self.train_fraction, self.val_fraction
        require(train > 0 and val > 0, f"train_fraction {train} and val_fraction {val}; both must be above 0")
        require(
            train + val < 1,
            f"train_fraction {train} + val_fraction {val} leave no test windows; keep the sum below 1",
        )
        require(
            0 < self.label_fraction <= 1,
            f"label_fraction is {self.label_fraction}; allowed: above 0 up to 1 (all labels)",
        )

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Fractions of training, validation and test windows."""
        return (self.train_fraction, self.val_fraction, 1.0 - self.train_fraction - self.val_fraction)
