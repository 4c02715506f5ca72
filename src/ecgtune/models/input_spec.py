"""Signals that the weights of an encoder expect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from ecgtune.data.signal.steps import Step
from ecgtune.errors import DataError


@dataclass(frozen=True)
class InputSpec:
    """Signals that an encoder's weights expect.

    leads: in the order of the channels. sampling_rate: Hz. samples: the one length that is allowed, in samples; None
    for any. multiple_of, minimum_samples, maximum_samples: allowed lengths where `samples` is None. unit: before
    normalisation. normalisation: "zscore" (per lead and window), "global" or "none". resampling: how signals of another
    rate reach `sampling_rate`, "linear" or "polyphase". band: pass band of the filter in Hz, None without a filter.
    seconds: usual length of a window in the pretraining, None if unknown.
    """

    leads: tuple[str, ...]
    sampling_rate: float
    samples: int | None = None
    multiple_of: int = 1
    minimum_samples: int = 1
    maximum_samples: int | None = None
    unit: str = "mV"
    normalisation: Literal["zscore", "global", "none"] = "zscore"
    resampling: Literal["linear", "polyphase"] = "polyphase"
    band: tuple[float, float] | None = None
    seconds: float | None = None
    presets: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)

    def check(self, signal: Tensor) -> None:
        """Raise DataError unless `signal` has the shape (batch, leads, samples) of this specification."""
        if signal.dim() != 3 or signal.shape[1] != len(self.leads):
            hint = ""
            if signal.dim() == 2 or (signal.dim() == 3 and signal.shape[1] == 1):
                in_a_row = f"leads in a row take signal.reshape(len(signal), {len(self.leads)}, -1)"
                hint = f"; of {in_a_row if len(self.leads) > 1 else 'one lead take signal[:, None]'}"
            raise DataError(
                f"the signal has shape {tuple(signal.shape)}; allowed: (batch, {len(self.leads)}, samples) "
                f"with the leads {', '.join(self.leads)}{hint}"
            )
        self.check_samples(signal.shape[2])

    @property
    def longest_seconds(self) -> float | None:
        """Longest window in seconds; None for any length."""
        samples = self.samples or self.maximum_samples
        return None if samples is None else samples // self.multiple_of * self.multiple_of / self.sampling_rate

    def check_samples(self, samples: int) -> None:
        """Raise DataError for a length, in samples at `sampling_rate`, that the encoder does not take."""
        if self.samples is not None and samples != self.samples:
            raise DataError(f"{samples} samples; allowed: {self.samples}")
        if samples < self.minimum_samples:
            raise DataError(f"{samples} samples are too few; allowed: {self.minimum_samples} or more")
        if self.maximum_samples is not None and samples > self.maximum_samples:
            raise DataError(f"{samples} samples are too many; allowed: up to {self.maximum_samples}")
        if samples % self.multiple_of:
            raise DataError(f"{samples} samples; allowed: a multiple of {self.multiple_of}")
