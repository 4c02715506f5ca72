"""The [augmentation] table of a recipe: random changes of the training windows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ecgtune.config.base import check_fields, require


@dataclass(frozen=True)
class Augmentation:
    """Settings of `data.WindowAugmentation`; all are off by default. Raises SettingError for an invalid value."""

    shift: float = 0.0
    """Shift a training window by up to this fraction of its length, either way; the gap is filled with its mean."""
    crop: float = 1.0
    """Fraction of a training window to keep, at a random position; 1 is the whole window."""
    time_stretch: float = 0.0
    """Speed a training window up or down by up to this fraction; 0.1 is 90 to 110 %."""
    polarity_flip: float = 0.0
    """Probability of inverting a training window, the effect of swapped electrodes of a one-lead device."""
    gain: float = 0.0
    """Vary the amplitude within a window by up to this fraction (a z-score would remove a constant gain)."""
    wander: float = 0.0
    """Maximum amplitude of a slow baseline wander, in standard deviations of the window."""
    noise: float = 0.0
    """Maximum standard deviation of white noise, in standard deviations of the window."""
    lead_mask: float = 0.0
    """Probability that a lead of a training window is set to zero millivolts; at least one lead is kept."""

    augmented_copies: int | None = None
    """Number of augmented copies of the training windows, used in turn, so that a frozen encoder runs once per copy;
    when not given, or with 0, every epoch augments anew."""

    def __post_init__(self) -> None:
        check_fields(self)
        copies = self.augmented_copies
        require(
            copies is None or 0 <= copies <= 1000,
            f"augmented_copies is {copies}; allowed: 0 (new augmentation in every epoch), or up to 1000 copies",
        )
        active = not copies or bool(self.acting)
        require(active, f"augmented_copies is {copies}, but nothing is augmented; leave it out")
        require(0 < self.crop <= 1, f"crop is {self.crop}; allowed: above 0 up to 1 (the whole window)")
        flip = self.polarity_flip
        require(0 <= flip <= 1, f"polarity_flip is {flip}; allowed: 0 (off) to 1, a probability")
        for name in ("shift", "time_stretch", "gain", "lead_mask"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{name} is {value}; allowed: 0 (off) up to below 1")
        for name in ("wander", "noise"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; allowed: 0 (off) or more")

    @property
    def acting(self) -> tuple[str, ...]:
        """Names of the settings that change a window."""
        settings = (item for item in dataclasses.fields(self) if item.name != "augmented_copies")
        return tuple(item.name for item in settings if getattr(self, item.name) != item.default)
