"""Steps that prepare windows as the authors of an encoder do; an encoder's presets are sequences of them.

A step takes windows (windows, leads, samples) as float64 and their rate in Hz, and returns both. `scipy.signal` takes a
second to import, so it is imported by the first call of a step that needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.signal.filters import band_pass, interpolate, mains_notch, resample
from ecgtune.errors import SettingError

Windows = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Step:
    """Base of the steps. `scale_free`: whether what comes out does not depend on the unit."""

    scale_free: ClassVar[bool] = False

    def __call__(self, windows: Windows, rate: float) -> tuple[Windows, float]:
        raise NotImplementedError


@dataclass(frozen=True)
class Resample(Step):
    """Change the rate to `rate` Hz: "linear" or "polyphase" as `filters.resample`, or "fourier" (scipy's resample)."""

    rate: float
    method: str = "polyphase"

    def __call__(self, windows: Windows, rate: float) -> tuple[Windows, float]:
        if self.method != "fourier":
            return resample(windows, rate, self.rate, self.method), self.rate
        from scipy.signal import resample as by_transform

        samples = max(1, int(windows.shape[-1] * self.rate / rate))
        return np.asarray(by_transform(windows, samples, axis=-1)), self.rate


@dataclass(frozen=True)
class Middle(Step):
    """Keep the middle `seconds` of each window."""

    seconds: float

    def __call__(self, windows: Windows, rate: float) -> tuple[Windows, float]:
        samples = min(round(self.seconds * rate), windows.shape[-1])
        first = (windows.shape[-1] - samples) // 2
        return windows[..., first : first + samples], rate


@dataclass(frozen=True)
class Stretch(Step):
    """Interpolate linearly at `samples` points, whatever the length is, and take them for `rate` Hz."""

    samples: int
    rate: float

    def __call__(self, windows: Windows, rate: float) -> tuple[Windows, float]:
        return interpolate(windows, self.samples), self.rate


@dataclass(frozen=True)
class Notch(Step):
    """Remove `frequency` (50 or 60 Hz), forward and backward; a rate too low for it is left as it is."""

    frequency: float = 50.0

    def __call__(self, windows: Windows, rate: float) -> tuple[Windows, float]:
        return mains_notch(windows, rate, self.frequency), rate


@dataclass(frozen=True)
class Butterworth(Step):
    """Keep `low` to `high` Hz, None for no edge, by a Butterworth filter of `order`, forward and backward."""

    low: float | None
    high: float | None
    order: int

    def __call__(self, windows: Windows, rate: float) -> tuple[Windows, float]:
        return band_pass(windows, rate, self.low, self.high, self.order), rate


@dataclass(frozen=True)
class WindowedSinc(Step):
    """Keep `low` to `high` Hz by a FIR filter (Hamming window) of about `seconds`, forward and backward."""

    low: float
    high: float
    seconds: float = 0.3

    def __call__(self, windows: Windows, rate: float) -> tuple[Windows, float]:
        if self.high >= rate / 2:
            raise SettingError(
                f"cannot keep {self.low:g} to {self.high:g} Hz of a signal of {rate:g} Hz; a rate above "
                f"{2 * self.high:g} Hz is needed"
            )
        from scipy.signal import filtfilt, firwin

        taps = int(self.seconds * rate)
        kernel = firwin(taps + 1 - taps % 2, [self.low, self.high], pass_zero=False, fs=rate)
        padding = min(3 * len(kernel), windows.shape[-1] - 1)
        return filtfilt(kernel, [1.0], windows, axis=-1, padlen=padding), rate


@dataclass(frozen=True)
class RunningMedian(Step):
    """Subtract the running median over about `seconds`; zeros continue the signal."""

    seconds: float = 0.4

    def __call__(self, windows: Windows, rate: float) -> tuple[Windows, float]:
        from scipy.ndimage import median_filter

        width = int(self.seconds * rate) + 1
        size = (1, 1, width + 1 - width % 2)
        return windows - median_filter(windows, size=size, mode="constant"), rate


@dataclass(frozen=True)
class StandardiseWindow(Step):
    """z-score with one mean and one standard deviation for all leads of a window."""

    scale_free: ClassVar[bool] = True

    def __call__(self, windows: Windows, rate: float) -> tuple[Windows, float]:
        mean, std = (of(windows, axis=(1, 2), keepdims=True) for of in (np.mean, np.std))
        return (windows - mean) / (std + 1e-8), rate


@dataclass(frozen=True)
class StandardiseLeads(Step):
    """z-score of each lead of a window; a constant lead becomes zeros."""

    scale_free: ClassVar[bool] = True

    def __call__(self, windows: Windows, rate: float) -> tuple[Windows, float]:
        mean, std = (of(windows, axis=-1, keepdims=True) for of in (np.mean, np.std))
        return (windows - mean) / (std + 1e-8), rate


@dataclass(frozen=True)
class ScaleLeads(Step):
    """Scale each lead of a window to -1 to 1; a constant lead becomes -1."""

    scale_free: ClassVar[bool] = True

    def __call__(self, windows: Windows, rate: float) -> tuple[Windows, float]:
        low, high = (of(windows, axis=-1, keepdims=True) for of in (np.min, np.max))
        return 2 * (windows - low) / (high - low + 1e-8) - 1, rate


@dataclass(frozen=True)
class ScaleWindow(Step):
    """Scale a window to 0 to 1, with one minimum and one maximum for all leads; a constant window becomes 0."""

    scale_free: ClassVar[bool] = True

    def __call__(self, windows: Windows, rate: float) -> tuple[Windows, float]:
        low, high = (of(windows, axis=(1, 2), keepdims=True) for of in (np.min, np.max))
        return (windows - low) / (high - low + 1e-8), rate


@dataclass(frozen=True)
class Ranks(Step):
    """Ranks of the samples of each lead, from -1 to 1; equal samples have their mean rank, a constant lead zeros."""

    scale_free: ClassVar[bool] = True

    def __call__(self, windows: Windows, rate: float) -> tuple[Windows, float]:
        from scipy.stats import rankdata

        return 2 * (rankdata(windows, axis=-1) - 1) / max(1, windows.shape[-1] - 1) - 1, rate


@dataclass(frozen=True)
class Decimate(Step):
    """Keep one sample of `factor` behind a Chebyshev low-pass of order 8, forward and backward.

    leads_in_a_row: filter the leads of a window as one signal, so that each runs into its neighbours.
    """

    factor: int
    leads_in_a_row: bool = False

    def __call__(self, windows: Windows, rate: float) -> tuple[Windows, float]:
        from scipy.signal import decimate

        kept = windows[..., : windows.shape[-1] // self.factor * self.factor]
        signal = kept.reshape(len(kept), -1) if self.leads_in_a_row else kept
        values = decimate(signal, self.factor, axis=-1)
        return values.reshape(*kept.shape[:2], -1), rate / self.factor


STEPS: dict[str, type[Step]] = {
    step.__name__: step
    for step in (
        *(Middle, Resample, Stretch, Notch, Butterworth, WindowedSinc, RunningMedian),
        *(StandardiseWindow, StandardiseLeads, ScaleLeads, ScaleWindow, Ranks, Decimate),
    )
}


def run_steps(steps: Sequence[Step], windows: Windows, rate: float) -> Windows:
    """Windows (windows, leads, samples) at `rate` Hz behind all steps."""
    for step in steps:
        windows, rate = step(windows, rate)
    return windows


def steps_to_list(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """As plain values for JSON."""
    return [{"step": type(step).__name__, **asdict(step)} for step in steps]


def steps_from_list(values: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """The inverse of `steps_to_list`. Raises KeyError or TypeError for what it did not write."""
    tables = [dict(value) for value in values]
    return tuple(STEPS[table.pop("step")](**table) for table in tables)
