"""`SignalPath`: the processing of a recording into windows, as one value that is part of the cache key."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import check_fields, choose, require
from ecgtune.data.leads import FROM_LIMBS, STANDARD_LEADS, arrange_leads, lead_argument
from ecgtune.data.signal.filters import band_pass, mains_notch, resample, zscore
from ecgtune.data.signal.quality import LONGEST_GAP, between_gaps, fill_gaps, saturated_leads
from ecgtune.errors import DataError
from ecgtune.utils.formatting import counted

Short = Literal["repeat", "refuse"]
SHORTEST_FRACTION = 0.5  # of a window, below which a recording is too short to be repeated


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Findings about one recording.

    derived, zeroed, constant, saturated: names of leads. filled: seconds of interpolated gaps, over all leads.
    interrupted: seconds that no window covers because of gaps too long to be interpolated. repeated: whether the
    recording is shorter than the window. still: windows that were dropped because all of their leads are constant.
    """

    derived: tuple[str, ...] = ()
    zeroed: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    saturated: tuple[str, ...] = ()
    filled: float = 0.0
    interrupted: float = 0.0
    repeated: bool = False
    still: int = 0


@dataclass(frozen=True, eq=False)
class ProcessedRecording(Findings):
    """Windows float32 (windows, leads, samples) of one recording, and findings about it.

    start: first sample of each window, at the rate of the windows, from the start of the recording.
    """

    windows: NDArray[np.float32]
    start: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SignalSteps:
    """Settings of a `SignalPath` that have a default; all but rate and leads."""

    resampling: Literal["polyphase", "linear"] = "polyphase"
    """With a filter against aliasing, or the linear interpolation of ECG-FM's pretraining."""
    window: float | None = None
    """Seconds of a window; the whole recording when None."""
    step: float | None = None
    """Seconds from one window to the next; the window when None."""
    short: Short = "repeat"
    """Treatment of a recording shorter than the window: repeat it from its start, or refuse it."""
    band: tuple[float, float] | None = None
    """Band to keep, in Hz; all when None."""
    mains: float | None = None
    """Mains frequency to remove, 50 or 60 Hz; none when None."""
    longest_gap: float = 0.1
    """Longest gap (invalid samples, seconds) that is interpolated. Windows are cut from the parts between longer ones;
    a recording without such a part, or without `window`, is refused."""
    zscore: bool = False
    """Apply a z-score per lead over the whole recording, as in ECG-FM's training."""


@dataclass(frozen=True)
class SignalPath(SignalSteps):
    """From a recording to windows, in this order: gaps, leads, filters, resampling, constant leads, z-score, windows.

    A call processes a recording. Runs store these settings and apply them to new recordings. Raises SettingError.
    """

    sampling_rate: float
    """Rate of the windows in Hz."""
    leads: tuple[str, ...] = STANDARD_LEADS
    """Leads of the windows; one that was not recorded is derived from I and II where possible, else zeros."""

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
        require(
            0 <= self.longest_gap <= LONGEST_GAP,
            f"longest_gap {self.longest_gap:g} s is not allowed; 0 to {LONGEST_GAP:g} s are, since a line over several"
            " beats is no ECG: windows are cut between longer gaps, or of leads without them",
        )
        require(self.mains in (None, 50, 60), f"mains {self.mains} Hz is not allowed; 50 or 60 is")

    def __call__(
        self, signal: NDArray[np.floating], leads: tuple[str, ...], sampling_rate: float
    ) -> ProcessedRecording:
        """Process a recording `signal` (leads, samples) in millivolts.

        Raises DataError, without the file's name.
        """
        if signal.shape[1] < 2:
            raise DataError(f"{counted(signal.shape[1], 'sample')}; at least two are needed")
        signal, leads = self._taken(signal, leads)
        parts = self._parts(signal, sampling_rate)
        if parts[0] == slice(0, signal.shape[1]):
            return self._processed(signal, leads, sampling_rate)
        processed, errors = [], []
        for part in parts:
            try:
                before = round(part.start * self.sampling_rate / sampling_rate)
                found = self._processed(signal[:, part], leads, sampling_rate)
                processed.append(replace(found, start=found.start + before))
            except DataError as error:  # such as a part in which no lead changes
                errors.append(error)
        if not processed:
            raise errors[0]
        interrupted = (signal.shape[1] - sum(part.stop - part.start for part in parts)) / sampling_rate
        windows, start = (np.concatenate([getattr(each, name) for each in processed]) for name in ("windows", "start"))
        return ProcessedRecording(windows, start, **joined_findings(processed, interrupted))

    def _parts(self, signal: NDArray[np.floating], sampling_rate: float) -> list[slice]:
        """Return the parts between gaps that are too long to be interpolated; the whole where there is no choice."""
        whole = [slice(0, signal.shape[1])]
        if self.window is None or np.isfinite(signal).all() or np.isinf(signal).any():
            return whole
        shortest = round(self.window * sampling_rate)
        bounds = zip(*between_gaps(signal, sampling_rate, self.longest_gap), strict=True)
        return [slice(start, stop) for start, stop in bounds if stop - start >= shortest] or whole

    def _processed(
        self, signal: NDArray[np.floating], leads: tuple[str, ...], sampling_rate: float
    ) -> ProcessedRecording:
        values, filled, missing = fill_gaps(signal, sampling_rate, self.longest_gap, leads)
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
        if self.resampling == "linear" or self.zscore:  # ECG-FM's preprocessing is in float64
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
        start = np.arange(len(windows)) * (step or samples)
        still = (windows.max(axis=2) == windows.min(axis=2)).all(axis=1)
        if still.any():
            windows, start = windows[~still], start[~still]
        if not len(windows):
            raise DataError("no window in it in which a lead changes; a recording without signal cannot be used")
        repeated = values.shape[1] < samples
        return ProcessedRecording(
            windows,
            start,
            derived=derived,
            zeroed=zeroed,
            constant=constant,
            saturated=saturated,
            filled=filled,
            repeated=repeated,
            still=int(still.sum()),
        )

    def _taken(
        self, signal: NDArray[np.floating], leads: tuple[str, ...]
    ) -> tuple[NDArray[np.floating], tuple[str, ...]]:
        """Return the leads that are wanted, and I and II where another is derived from them."""
        recorded = np.isfinite(signal)
        there = {lead: recorded[channel] for channel, lead in enumerate(leads) if recorded[channel].any()}
        limbs = "I" in there and "II" in there
        derived = [lead for lead in self.leads if lead not in there and lead in FROM_LIMBS and limbs]
        if derived and not (there["I"] & there["II"]).any():
            raise DataError(
                f"lead {derived[0]} cannot be derived: I and II were not recorded together; train without it (--leads)"
            )
        taken = {*self.leads, *(("I", "II") if derived else ())}
        chosen = [channel for channel, lead in enumerate(leads) if lead in taken]
        if len(chosen) in (0, len(leads)):
            return signal, leads
        return signal[chosen], tuple(leads[channel] for channel in chosen)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def joined_findings(parts: Sequence[Findings], interrupted: float) -> dict[str, Any]:
    """Return the findings about the parts of one recording, by name, which are not repeated to fill a window."""

    def leads(name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(lead for part in parts for lead in getattr(part, name)))

    found: dict[str, Any] = {name: leads(name) for name in ("derived", "zeroed", "constant", "saturated")}
    found |= {name: sum(getattr(part, name) for part in parts) for name in ("filled", "still")}
    return found | {"interrupted": interrupted + sum(part.interrupted for part in parts)}


def cut_windows(
    signal: NDArray[np.floating], samples: int, step: int | None = None, short: Short = "repeat"
) -> NDArray[np.floating]:
    """Return windows (windows, leads, samples) of a recording (leads, n), a view where possible.

    One starts every `step` samples (default: `samples`; less overlaps) as long as it fits; the remainder is dropped. A
    recording of at least half a window gives one window, in which it is repeated from its start. Repetition keeps
    amplitudes and rhythm; zeros would change ECG-FM's output even under a mask, because its first norm runs over time.

    Raises DataError for a recording that is too short for that, or short at all with `short` "refuse".
    """
    choose(short, get_args(Short), "short")
    length = signal.shape[-1]
    if length < samples:
        if short == "refuse" or length < SHORTEST_FRACTION * samples:
            allowed = "" if short == "refuse" else f", nor half of one ({int(np.ceil(SHORTEST_FRACTION * samples))})"
            raise DataError(f"too short: {length} samples do not fill a window of {samples}{allowed}")
        return np.pad(signal, ((0, 0), (0, samples - length)), mode="wrap")[None]
    view = np.lib.stride_tricks.sliding_window_view(signal, samples, axis=-1)[:, :: step or samples]
    return view.transpose(1, 0, 2)
