"""What is done to training windows so that no epoch sees the same ones: the [augmentation] table of a recipe."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ecgtune.config.base import check_fields, require


@dataclass(frozen=True)
class Augmentation:
    """Settings of `data.WindowAugmentation`; all are off at first. Raises SettingError for what is not allowed."""

    shift: float = 0.0
    """Move a training window by up to this share of its length, either way; what becomes free holds its mean."""
    crop: float = 1.0
    """Share of a training window that is kept, from a random place; 1 is all of it."""
    stretch: float = 0.0
    """Play a training window faster or slower by up to this share; 0.1 is 90 to 110 %."""
    sign: float = 0.0
    """Probability that a training window is turned upside down, as by swapped electrodes of a one-lead device."""
    gain: float = 0.0
    """Let the amplitude breathe by up to this share; a constant gain would not outlive a z-score."""
    wander: float = 0.0
    """Largest amplitude of a slow baseline wander, in standard deviations of the window."""
    noise: float = 0.0
    """Largest standard deviation of white noise, in standard deviations of the window."""
    lead_mask: float = 0.0
    """Probability that a lead of a training window is set to zero; one lead at least stays."""

    views: int | None = None
    """Copies of the training windows that are augmented beforehand and shown in turn, so that a frozen encoder runs
    once for each; without it, or with 0, every epoch shows fresh ones."""

    def __post_init__(self) -> None:
        check_fields(self)
        require(
            self.views is None or self.views >= 0,
            f"views is {self.views}; allowed: 0 (fresh ones) or a number of copies",
        )
        acting = not self.views or bool(self.acting)
        require(acting, f"views is {self.views}, but nothing is augmented; leave it out")
        require(0 < self.crop <= 1, f"crop is {self.crop}; allowed: above 0 up to 1 (the whole window)")
        require(0 <= self.sign <= 1, f"sign is {self.sign}; allowed: 0 (off) to 1, a probability")
        for name in ("shift", "stretch", "gain", "lead_mask"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{name} is {value}; allowed: 0 (off) up to below 1")
        for name in ("wander", "noise"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; allowed: 0 (off) or more")

    @property
    def acting(self) -> tuple[str, ...]:
        """Names of the settings that do something to a window."""
        settings = (item for item in dataclasses.fields(self) if item.name != "views")
        return tuple(item.name for item in settings if getattr(self, item.name) != item.default)
