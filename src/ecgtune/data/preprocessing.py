"""What happens to a signal between the file and the model: resampling, then normalisation.

`Preprocessing` is saved with every model and applied to everything the model sees. `ecg_fm_record` and `segments` are
the ECG-FM authors' own treatment of whole recordings.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ecgtune.data.dataset import Dataset, check_rate
from ecgtune.errors import DataError, SettingError

RESAMPLING = ("polyphase", "linear")
NORMALISATION = ("zscore", "global", "none")
_CHUNK_SAMPLES = 4 << 20  # resampled samples in work at once: 32 MiB as float64
_LARGEST_FACTOR = 10_000  # of the ratio of two rates; 360 to 500 Hz is 25/18
_FLAT = 1e-9  # a spread below this share of the largest sample is rounding, not signal


def resample(
    signal: NDArray[np.floating], from_rate: float, to_rate: float, method: str = "polyphase"
) -> NDArray[np.floating]:
    """Resample the last axis from `from_rate` to `to_rate` (Hz); dtype and unit stay.

    "polyphase" filters against aliasing (`scipy.signal.resample_poly`, Kaiser 5.0) what is left of the signal
    without the line through its end points; n samples become ceil(n * to / from). "linear" is what
    ECG-FM was pretrained with: linear interpolation with aligned end points, without a filter; n samples become
    int(n * to / from). Raises SettingError for another
    method or a rate that is not positive.
    """
    if method not in RESAMPLING:
        raise SettingError(f"resampling '{method}' is unknown; allowed are {', '.join(RESAMPLING)}")
    if not (0 < from_rate < np.inf and 0 < to_rate < np.inf):
        raise SettingError(f"cannot resample from {from_rate:g} to {to_rate:g} Hz; two positive rates are needed")
    if from_rate == to_rate:
        return signal
    if method == "linear":
        return _interpolate(signal, max(1, int(signal.shape[-1] * to_rate / from_rate)))
    ratio = (Fraction(to_rate) / Fraction(from_rate)).limit_denominator(_LARGEST_FACTOR)
    if ratio == 0 or ratio.numerator > _LARGEST_FACTOR:
        raise SettingError(
            f"cannot resample from {from_rate:g} to {to_rate:g} Hz; a ratio below {_LARGEST_FACTOR} is needed"
        )
    # The line through the end points goes around the filter: an offset makes neither steps at the edges nor ripple.
    start = signal[..., :1]
    slope = (signal[..., -1:] - start) / max(1, signal.shape[-1] - 1)
    level = signal - (start + slope * np.arange(signal.shape[-1]))
    values = resample_poly(level, ratio.numerator, ratio.denominator, axis=-1)
    values += start + slope * (np.arange(values.shape[-1]) * float(1 / ratio))
    return values.astype(signal.dtype, copy=False)


def _interpolate(signal: NDArray[np.floating], count: int) -> NDArray[np.floating]:
    """Linear interpolation of the last axis at `count` points, the first and last on the first and last sample."""
    position = np.linspace(0, signal.shape[-1] - 1, count)
    left = np.minimum(position.astype(np.int64), max(signal.shape[-1] - 2, 0))
    weight = (position - left).astype(signal.dtype)
    right = np.minimum(left + 1, signal.shape[-1] - 1)
    low = signal[..., left]
    return low + (signal[..., right] - low) * weight


def zscore(signal: NDArray[np.floating]) -> NDArray[np.floating]:
    """(x - mean) / standard deviation (n, not n - 1) over the last axis; where nothing varies the result is 0."""
    mean = signal.mean(axis=-1, keepdims=True)
    centred = signal - mean
    std = np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True))
    flat = std <= _FLAT * np.abs(signal).max(axis=-1, keepdims=True)
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, std)).astype(signal.dtype)


def segments(signal: NDArray[np.floating], samples: int) -> NDArray[np.floating]:
    """Cut (leads, n) into (n // samples, leads, samples) without overlap; the remainder is dropped."""
    count = signal.shape[-1] // samples
    cut = signal[:, : count * samples].reshape(signal.shape[0], count, samples)
    return np.ascontiguousarray(cut.transpose(1, 0, 2))


def ecg_fm_record(signal: NDArray[np.floating], sampling_rate: float, model_rate: float = 500.0) -> NDArray[np.float64]:
    """A whole recording (leads, n) as ECG-FM's authors prepare it, before segmenting: (leads, int(n * 500 / rate)).

    Linear interpolation to 500 Hz, then a z-score per lead over the whole recording; a flat or missing (not finite)
    lead becomes 0.
    """
    values = np.asarray(signal, dtype=np.float64)
    values = np.where(np.isfinite(values).all(axis=-1, keepdims=True), values, 0.0)
    return np.asarray(zscore(resample(values, sampling_rate, model_rate, "linear")), dtype=np.float64)


@dataclass(frozen=True)
class Preprocessing:
    """Resampling to the model's rate, then normalisation; a call gives what the model takes.

    `sampling_rate` (Hz) and `resampling` are the model's. `normalisation` is "zscore" (per window and lead), "global"
    (with `mean` and `std` per lead, taken from the training windows only, in the unit of the data) or "none".
    """

    sampling_rate: float
    resampling: str = "polyphase"
    normalisation: str = "zscore"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.resampling not in RESAMPLING:
            raise SettingError(f"resampling '{self.resampling}' is unknown; allowed are {', '.join(RESAMPLING)}")
        if self.normalisation not in NORMALISATION:
            raise SettingError(
                f"normalisation '{self.normalisation}' is unknown; allowed are {', '.join(NORMALISATION)}"
            )
        if (self.normalisation == "global") != (self.mean is not None and self.std is not None):
            raise SettingError("normalisation 'global' needs mean and std, the others take none; use Preprocessing.fit")

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        train_rows: NDArray[np.int64],
        *,
        sampling_rate: float,
        resampling: str = "polyphase",
        normalisation: str = "zscore",
    ) -> "Preprocessing":
        """The preprocessing for a model of `sampling_rate` Hz; global statistics come from `train_rows` alone.

        Raises DataError when the amplitude matters ("none") but its unit is unknown, or a lead never varies ("global").
        """
        if normalisation == "none" and dataset.unit == "unknown":
            raise DataError(
                f"{dataset.source.path}: without normalisation the amplitude matters, but the unit of the"
                " signals is unknown; give it, for example --unit uV"
            )
        if normalisation != "global":
            return cls(float(sampling_rate), resampling, normalisation)
        plain = Preprocessing(float(sampling_rate), resampling, "none")
        leads = len(dataset.leads)
        count, total, square = 0, np.zeros(leads), np.zeros(leads)
        centre = dataset.signal[train_rows[0]].mean(axis=-1, dtype=np.float64)  # keeps the squares small and exact
        for rows in plain._chunks(len(train_rows), dataset.samples * leads, dataset.sampling_rate):
            part = plain._apply(dataset.signal, train_rows[rows], dataset.sampling_rate).astype(np.float64)
            part -= centre[:, None]
            count += part.shape[0] * part.shape[2]
            total += part.sum(axis=(0, 2))
            square += np.einsum("wls,wls->l", part, part)
        mean = total / count
        std = np.sqrt(np.maximum(square / count - mean * mean, 0.0))
        if (std == 0).any():
            flat = dataset.leads[int(np.flatnonzero(std == 0)[0])]
            raise DataError(
                f"{dataset.source.path}: lead {flat} never varies in the training windows, so it has no"
                " global spread; use --normalisation zscore"
            )
        return cls(
            float(sampling_rate), resampling, normalisation, tuple((mean + centre).tolist()), tuple(std.tolist())
        )

    def __call__(self, signal: NDArray[np.floating], sampling_rate: float) -> NDArray[np.float32]:
        """Windows (windows, leads, samples) at `sampling_rate` Hz as the model takes them, in bounded memory.

        Raises DataError for another shape or number of leads, a rate that no ECG has, or samples that are not finite.
        """
        check_rate(sampling_rate, "a signal with the sampling rate")
        if signal.ndim != 3 or 0 in signal.shape[1:]:
            raise DataError(f"a signal of shape {signal.shape} cannot be used; (windows, leads, samples) is needed")
        if self.mean is not None and len(self.mean) != signal.shape[1]:
            raise DataError(f"a signal with {signal.shape[1]} leads cannot be used; the model's has {len(self.mean)}")
        one = np.zeros((1, *signal.shape[1:]), dtype=np.float32)  # tells how long the windows become, also of none
        shape = self._apply(one, slice(None), sampling_rate).shape[1:]
        result = np.empty((len(signal), *shape), dtype=np.float32)
        for rows in self._chunks(len(signal), signal.shape[1] * signal.shape[2], sampling_rate):
            result[rows] = self._apply(signal, rows, sampling_rate)
        return result

    def _apply(
        self, signal: NDArray[np.floating], rows: slice | NDArray[np.int64], sampling_rate: float
    ) -> NDArray[np.float32]:
        """The prepared windows `rows` of `signal`; raises DataError that names the first that is not finite."""
        with np.errstate(invalid="ignore", over="ignore"):  # infinite samples are refused below
            values = resample(
                np.asarray(signal[rows], dtype=np.float64), sampling_rate, self.sampling_rate, self.resampling
            )
            if self.normalisation == "zscore":
                values = zscore(values)
            elif self.mean is not None and self.std is not None:
                values = (values - np.array(self.mean)[:, None]) / np.array(self.std)[:, None]
            values = values.astype(np.float32)
        finite = np.isfinite(values).all(axis=(1, 2))
        if not finite.all():
            window = np.arange(len(signal))[rows][finite.argmin()]
            raise DataError(
                f"window {window} (counted from 0) holds NaN or infinite samples; leave it out or repair it"
            )
        return values

    def _chunks(self, windows: int, values: int, sampling_rate: float) -> list[slice]:
        """Slices over the windows, each within `_CHUNK_SAMPLES` after resampling."""
        step = max(1, int(_CHUNK_SAMPLES / max(1.0, values * max(1.0, self.sampling_rate / sampling_rate))))
        return [slice(first, first + step) for first in range(0, windows, step)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` gives the same object back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """From what `to_dict` gave, also after a way through JSON."""
        plain = dict(values)
        for name in ("mean", "std"):
            if plain.get(name) is not None:
                plain[name] = tuple(float(value) for value in plain[name])
        return cls(**plain)
