"""Preprocessing of windows for a model: resampling, then normalisation.

`Preprocessing` is saved with every model and applied to all of its inputs. Whole recordings are processed by
`data.signal` before they become windows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.reading import UNIT_NEEDED
from ecgtune.data.dataset import Dataset, check_rate
from ecgtune.data.signal.filters import RESAMPLING, resample, zscore
from ecgtune.data.signal.steps import Step, run_steps, steps_from_list, steps_to_list
from ecgtune.errors import DataError, QuestionError, SettingError
from ecgtune.utils.formatting import counted

NORMALISATION = ("zscore", "global", "none")
_CHUNK_SAMPLES = 4 << 20  # resampled samples in work at once: 32 MiB as float64


@dataclass(frozen=True)
class Preprocessing:
    """Resampling to the model's rate, then normalisation; a call returns the model's input.

    `sampling_rate` (Hz) and `resampling` are the model's. `normalisation` is "zscore" (per window and lead), "global"
    (with `mean` and `std` per lead, taken from the training windows only, in the unit of the data) or "none". With
    `steps`, the preset of an encoder, a call runs those instead.
    """

    sampling_rate: float
    resampling: str = "polyphase"
    normalisation: str = "zscore"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        if self.resampling not in RESAMPLING:
            raise SettingError(f"resampling '{self.resampling}' is unknown; allowed are {', '.join(RESAMPLING)}")
        if self.normalisation not in NORMALISATION:
            raise SettingError(
                f"normalisation '{self.normalisation}' is unknown; allowed are {', '.join(NORMALISATION)}"
            )
        if (self.normalisation == "global") != (self.mean is not None and self.std is not None):
            raise SettingError("normalisation 'global' needs mean and std, the others take none; use Preprocessing.fit")

    @property
    def amplitude_matters(self) -> bool:
        """Whether signals of another unit give other inputs."""
        return self.normalisation != "zscore" and not any(step.scale_free for step in self.steps)

    @property
    def before_graph(self) -> "Preprocessing":
        """The steps without the normalisation, which is in the graph of an exported file."""
        return replace(self, normalisation="none", mean=None, std=None)

    def at_scaling(self, samples: int, sampling_rate: float) -> tuple["Preprocessing", "Preprocessing | None", float]:
        """Divide it where the amplitude is scaled: what comes before, the rest, and the rate (Hz) in between.

        samples, sampling_rate: of the windows. In between, a signal of inverted electrodes is the negative one, and a
        lead without a signal is 0. Behind a preset that scales to 0 to 1, they are not. A z-score per window keeps
        both, so there is no rest of it.
        """
        if self.mean is not None:
            return self.before_graph, self, self.sampling_rate
        scaling = next((place for place, step in enumerate(self.steps) if step.scale_free), None)
        if scaling is None:
            return self, None, self.sampling_rate
        window, rate = np.zeros((1, 1, samples)), sampling_rate
        for step in self.steps[:scaling]:
            window, rate = step(window, rate)
        before, rest = self.steps[:scaling], self.steps[scaling:]
        return Preprocessing(rate, normalisation="none", steps=before), replace(self, steps=rest), rate

    @classmethod
    def preset(cls, dataset: Dataset, sampling_rate: float, steps: tuple[Step, ...]) -> "Preprocessing":
        """Return the preprocessing of an encoder's preset, which ends at `sampling_rate` Hz.

        Raises DataError where the amplitude matters but is unknown, or the recordings were z-scored already,
        SettingError for a rate of `dataset` from which the steps cannot start.
        """
        made = cls(float(sampling_rate), normalisation="none", steps=steps)
        if made.amplitude_matters and dataset.unit in ("unknown", "zscore"):
            unknown = "the unit of the signals is unknown; give it, for example --unit uV"
            scored = "its recordings are z-scored as a whole; leave --recording-zscore out"
            raise DataError(
                f"{dataset.source.path}: the encoder's preset needs millivolts, but "
                f"{unknown if dataset.unit == 'unknown' else scored}, or --preset none"
            )
        made(dataset.signal[:1], dataset.sampling_rate)
        return made

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
        """Return the preprocessing for a model of `sampling_rate` Hz; global statistics are of `train_rows` alone.

        Raises DataError when recordings were z-scored already, the amplitude matters ("none") but its unit is unknown,
        or a lead never varies ("global").
        """
        if normalisation != "none" and dataset.unit == "zscore":
            raise DataError(
                f"{dataset.source.path}: its recordings are z-scored as a whole, which '{normalisation}' would undo;"
                " give --normalisation none, or leave --recording-zscore out"
            )
        if normalisation == "none" and dataset.unit == "unknown":
            raise QuestionError(dataset.source.path, UNIT_NEEDED)
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
                " global standard deviation; use --normalisation zscore"
            )
        return cls(
            float(sampling_rate), resampling, normalisation, tuple((mean + centre).tolist()), tuple(std.tolist())
        )

    def __call__(self, signal: NDArray[np.floating], sampling_rate: float) -> NDArray[np.float32]:
        """Return windows (windows, leads, samples) at `sampling_rate` Hz as model inputs, in bounded memory.

        Raises DataError for another shape or number of leads, an impossible rate, or samples that are not finite.
        """
        check_rate(sampling_rate, "a signal with the sampling rate")
        if signal.ndim != 3 or 0 in signal.shape[1:]:
            raise DataError(f"a signal of shape {signal.shape} cannot be used; (windows, leads, samples) is needed")
        if self.mean is not None and len(self.mean) != signal.shape[1]:
            raise DataError(
                f"a signal with {counted(signal.shape[1], 'lead')} cannot be used; the model's has {len(self.mean)}"
            )
        one = np.zeros((1, *signal.shape[1:]), dtype=np.float32)  # for the length of the result, also of no windows
        shape = self._apply(one, slice(None), sampling_rate).shape[1:]
        result = np.empty((len(signal), *shape), dtype=np.float32)
        for rows in self._chunks(len(signal), signal.shape[1] * signal.shape[2], sampling_rate):
            result[rows] = self._apply(signal, rows, sampling_rate)
        return result

    def _apply(
        self, signal: NDArray[np.floating], rows: slice | NDArray[np.int64], sampling_rate: float
    ) -> NDArray[np.float32]:
        """Return the preprocessed windows `rows` of `signal`. Raises DataError for the first that is not finite."""
        with np.errstate(invalid="ignore", over="ignore"):  # infinite samples are refused below
            values = np.asarray(signal[rows], dtype=np.float64)
            if self.steps:
                values = run_steps(self.steps, values, sampling_rate)
            else:
                values = resample(values, sampling_rate, self.sampling_rate, self.resampling)
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
        """Return slices of windows, each within `_CHUNK_SAMPLES` after resampling."""
        step = max(1, int(_CHUNK_SAMPLES / max(1.0, values * max(1.0, self.sampling_rate / sampling_rate))))
        return [slice(first, first + step) for first in range(0, windows, step)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `from_dict` reverses it."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "steps"}
        return values | ({"steps": steps_to_list(self.steps)} if self.steps else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Build from the values of `to_dict`, also after a round trip through JSON."""
        plain: dict[str, Any] = dict(values)
        for name in ("mean", "std"):
            if plain.get(name) is not None:
                plain[name] = tuple(float(value) for value in plain[name])
        plain["steps"] = steps_from_list(plain.get("steps", ()))
        return cls(**plain)
