"""How a run is measured, beside the decision threshold of its training settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ecgtune.config.base import check_fields, require


@dataclass(frozen=True)
class Evaluation:
    """What is made of the test predictions; the same for every arm of a comparison."""

    recording: Literal["mean", "maximum"] = "mean"
    """A recording's probability: the mean or the maximum over its windows, for each class or label."""
    f1_over: tuple[str, ...] | None = None
    """Classes over which a challenge's F1 is a mean, beside the other metrics; CinC 2017 takes N, A and O."""

    def __post_init__(self) -> None:
        check_fields(self)
        over = self.f1_over
        require(over is None or len(over) > 0, "f1_over is empty; name one class or more, or leave it out")
        require(over is None or len(set(over)) == len(over), f"f1_over {over} names a class twice; name each once")
