"""The [evaluation] table of a recipe: threshold and metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ecgtune.config.base import check_fields, require


@dataclass(frozen=True)
class Evaluation:
    """Decision threshold, and metrics of the test predictions."""

    threshold: str = "fixed"
    """Decision threshold, one per label: fixed (0.5), or fitted on validation: f1 or youden (highest F1 or Youden
    index), or sensitivity:0.95 (recall of at least 0.95)."""
    recording: Literal["mean", "maximum"] = "mean"
    """Probability of a recording: mean or maximum over its windows, for each class or label."""
    calibration: Literal["auto", "none", "temperature", "platt", "beta", "isotonic"] = "auto"
    """Calibration of the probabilities, fitted on validation: temperature, Platt, beta or isotonic scaling, none, or
    auto: the one with the lowest cross-validated log-loss there (none where validation is small)."""
    f1_over: tuple[str, ...] | None = None
    """Classes whose mean F1 is also reported; N, A and O in CinC 2017."""

    def __post_init__(self) -> None:
        check_fields(self)
        fitted = re.fullmatch(r"fixed|f1|youden|sensitivity:(0*\.\d*[1-9]\d*|1(\.0*)?)", self.threshold)
        require(
            fitted is not None,
            f"threshold is {self.threshold!r}; allowed: fixed, f1, youden, or sensitivity:0.95 (above 0 up to 1)",
        )
        over = self.f1_over
        require(over is None or len(over) > 0, "f1_over is empty; name one class or more, or leave it out")
        require(over is None or len(set(over)) == len(over), f"f1_over {over} names a class twice; name each once")
