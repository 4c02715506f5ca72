"""The [input] table of a recipe: normalisation and split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ecgtune.config.base import check_fields, require


@dataclass(frozen=True)
class Input:
    """What is done to the windows before the model sees them, and how they are split."""

    normalisation: Literal["zscore", "global", "none"] = "zscore"
    """z-score per window, with the statistics of the training windows (global), or none (millivolts)."""
    split_seed: int = 0
    """Seed of a drawn split; the same for every run of a comparison."""
    train_share: float = 0.70
    """Share of windows to train on, where the file has no split."""
    val_share: float = 0.15
    """Share that chooses epoch and threshold; the rest is the test split."""
    label_share: float = 1.0
    """Share of the training and validation labels that is used, by patient or recording; 0.1 shows what few can do."""
    allow_duplicates: bool = False
    """Let recordings with the same signal stand in different splits, with a warning; refused otherwise."""

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.split_seed >= 0, f"split_seed is {self.split_seed}; allowed: 0 or more")
        require(
            self.train_share > 0 and self.val_share > 0,
            f"shares train {self.train_share} and val {self.val_share}; both must be above 0",
        )
        require(
            self.train_share + self.val_share < 1,
            f"shares train {self.train_share} + val {self.val_share} leave no test windows; keep the sum below 1",
        )
        require(0 < self.label_share <= 1, f"label_share is {self.label_share}; allowed: above 0 up to 1 (all labels)")

    @property
    def fractions(self) -> tuple[float, float, float]:
        return (self.train_share, self.val_share, 1.0 - self.train_share - self.val_share)
