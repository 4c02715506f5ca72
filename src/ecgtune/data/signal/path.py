"""`SignalPath`: what happens to a recording before it becomes windows, as one value that decides what is cached."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import check_fields, choose, require
from ecgtune.data.leads import STANDARD_LEADS, arrange_leads, lead_argument
from ecgtune.data.signal.filters import band_pass, mains_notch, resample, zscore
from ecgtune.data.signal.quality import fill_gaps, saturated_leads
from ecgtune.errors import DataError

Short = Literal["repeat", "refuse"]
SHORTEST_SHARE = 0.5  # of a window, below which a recording is too short to be repeated


@dataclass(frozen=True, eq=False)
class Prepared:
    """Windows float32 (windows, leads, samples) of one recording, and what was met on the way.

    derived, zeroed, constant, saturated: names of leads. filled: seconds of gaps that were closed, over all leads.
    repeated: whether the recording was shorter than the window. still: windows that were dropped because no lead
    changes in them.
    """

    windows: NDArray[np.float32]
    derived: tuple[str, ...]
    zeroed: tuple[str, ...]
    constant: tuple[str, ...]
    saturated: tuple[str, ...]
    filled: float
    repeated: bool
    still: int


@dataclass(frozen=True)
class SignalPath:
    """From a recording to windows, in this order: gaps, leads, filters, resampling, constant leads, z-score, windows.

    What a model and its results must remember of how their windows were made; a call does it. Raises SettingError.
    """

    sampling_rate: float
    """Rate of the windows in Hz."""
    leads: tuple[str, ...] = STANDARD_LEADS
    """Leads of the windows; one that was not recorded is derived from I and II where physics gives it, else zeros."""
    resampling: Literal["polyphase", "linear"] = "polyphase"
    """With a filter against aliasing, or ECG-FM's own (linear)."""
    window: float | None = None
    """Seconds of a window; the whole recording when None, which then has to be as long as the others."""
    step: float | None = None
    """Seconds from one window to the next; side by side when None."""
    short: Short = "repeat"
    """What becomes of a recording shorter than the window: repeated from its start, or refused."""
    band: tuple[float, float] | None = None
    """Band to keep, in Hz; all when None."""
    mains: float | None = None
    """Frequency of the mains to take out, 50 or 60 Hz; none when None."""
    longest_gap: float = 0.1
    """Seconds of invalid samples that are interpolated; a recording with more of them in a row is refused."""
    zscore: bool = False
    """A z-score per lead over the whole recording, as ECG-FM was trained with."""

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "leads", tuple(lead_argument(lead) for lead in self.leads))
        for name in ("sampling_rate", "window", "step", "mains", "longest_gap"):  # 100 and 100.0 are one setting
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else float(value))
        require(0 < self.sampling_rate < np.inf, f"sampling_rate {self.sampling_rate:g} Hz; above 0 is needed")
        require(len(set(self.leads)) == len(self.leads) > 0, f"leads {' '.join(self.leads)}; each once is needed")
        for name in ("window", "step"):
            value = getattr(self, name)
            need = f"{name} {value} s is not allowed; at least two samples are needed"
            require(value is None or round(value * self.sampling_rate) >= 2, need)
        require(self.step is None or self.window is not None, "step needs a window; give both, such as 10 and 5 (s)")
        band = self.band is None or (len(self.band) == 2 and 0 < self.band[0] < self.band[1])
        require(band, f"band {self.band} is not allowed; two edges in Hz with 0 < low < high are, such as 0.5 40")
        require(self.longest_gap >= 0, f"longest_gap {self.longest_gap} s is not allowed; 0 or more is")
        require(self.mains in (None, 50, 60), f"mains {self.mains} Hz is not allowed; 50 or 60 is")

    def __call__(self, signal: NDArray[np.floating], leads: tuple[str, ...], sampling_rate: float) -> Prepared:
        """The windows of a recording `signal` (leads, samples) in millivolts.

        Raises DataError, without the file's name.
        """
        if signal.shape[1] < 2:
            raise DataError(f"{signal.shape[1]} samples; at least two are needed")
        values, filled, missing = fill_gaps(signal, sampling_rate, self.longest_gap)
        saturated = tuple(lead for lead, cut in zip(leads, saturated_leads(values, sampling_rate), strict=True) if cut)
        if missing.any():
            values = values[~missing]
            leads = tuple(lead for lead, gone in zip(leads, missing, strict=True) if not gone)
        values, derived, zeroed = arrange_leads(values, leads, self.leads)
        if len(zeroed) == len(self.leads):
            raise DataError(f"has none of the leads {', '.join(self.leads)}, only {', '.join(leads) or 'empty ones'}")
        flat = values.max(axis=1) == values.min(axis=1)  # before a filter turns a constant into rounding noise
        constant = tuple(lead for lead, is_flat in zip(self.leads, flat, strict=True) if is_flat and lead not in zeroed)
        if flat.all():
            raise DataError("no lead ever changes; a recording without signal cannot be used")
        if constant:
            values = np.where(flat[:, None], 0, values)
        if self.resampling == "linear" or self.zscore:  # ECG-FM's own way is in float64; the filter needs no more bits
            values = values.astype(np.float64)
        if self.band is not None:
            values = band_pass(values, sampling_rate, *self.band)
        if self.mains is not None:
            values = mains_notch(values, sampling_rate, self.mains)
        values = resample(values, sampling_rate, self.sampling_rate, self.resampling)
        if self.zscore:
            values = zscore(values)
        samples = values.shape[1] if self.window is None else round(self.window * self.sampling_rate)
        step = None if self.step is None else round(self.step * self.sampling_rate)
        windows = cut_windows(values.astype(np.float32, copy=False), samples, step, self.short)
        still = (windows.max(axis=2) == windows.min(axis=2)).all(axis=1)
        if still.any():
            windows = windows[~still]
        if not len(windows):
            raise DataError("no window in it in which a lead changes; a recording without signal cannot be used")
        repeated = values.shape[1] < samples
        return Prepared(windows, derived, zeroed, constant, saturated, filled, repeated, int(still.sum()))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def cut_windows(
    signal: NDArray[np.floating], samples: int, step: int | None = None, short: Short = "repeat"
) -> NDArray[np.floating]:
    """Windows (windows, leads, samples) of a recording (leads, n), a view where it can be.

    One starts every `step` samples (default: `samples`, side by side; less overlaps) as long as it fits; the remainder
    is dropped. A recording shorter than a window gives one, in which it is repeated from its start, when it is at
    least half a window long. Repetition keeps amplitudes and rhythm as they are over the window, where zeros would
    change ECG-FM's answer even under a mask: its first norm runs over time.

    Raises DataError for a recording that is too short for that, or short at all with `short` "refuse".
    """
    choose(short, get_args(Short), "short")
    length = signal.shape[-1]
    if length < samples:
        if short == "refuse" or length < SHORTEST_SHARE * samples:
            allowed = "" if short == "refuse" else f", nor half of one ({int(np.ceil(SHORTEST_SHARE * samples))})"
            raise DataError(f"{length} samples do not fill a window of {samples}{allowed}; choose a shorter window")
        return np.pad(signal, ((0, 0), (0, samples - length)), mode="wrap")[None]
    view = np.lib.stride_tricks.sliding_window_view(signal, samples, axis=-1)[:, :: step or samples]
    return view.transpose(1, 0, 2)
