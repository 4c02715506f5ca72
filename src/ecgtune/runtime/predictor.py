"""`Predictor`: probabilities and decisions for new signals, of a run, of several, or of an exported file. Without
torch.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ecgtune.config.base import from_table
from ecgtune.data.dataset import check_rate
from ecgtune.data.positive import POSITIVE
from ecgtune.data.signal.path import SignalPath
from ecgtune.data.tasks import Task
from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.certainty import Certainty
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.groups import Pooled
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.readers.registry import read_recording

logger = logging.getLogger(__name__)

NOTICE = "Research software: not a medical device."
#: Number formats of predictions; "auto" is the one that the run was measured in (fp32 for a run in fp16), "int8"
#: multiplies whole numbers in the transformer layers and is bf16 elsewhere. An exported file has its own alone.
PredictionPrecision = Literal["auto", "fp32", "bf16", "int8"]


class Predictor(ABC):
    """Probabilities and decisions for windows or recordings as they come from the recorder.

    classes: names of the classes, or of the labels of which a window may have several. leads: of a window, in order.
    decision: how probabilities become a class or labels, with its thresholds. trained_on: the entry "data" of
    metrics.json: samples, sampling rate (Hz) and signal path of the windows; trained_on_files: sha256 of their files.
    recording_rule: how the probabilities of windows become that of their recording. amplitude_matters: whether signals
    of another unit give other predictions.
    """

    decision: Decision

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]: ...

    @property
    @abstractmethod
    def leads(self) -> tuple[str, ...]: ...

    @property
    @abstractmethod
    def trained_on(self) -> dict[str, Any]: ...

    @property
    @abstractmethod
    def recording_rule(self) -> Pooled: ...

    @property
    @abstractmethod
    def amplitude_matters(self) -> bool: ...

    @property
    @abstractmethod
    def trained_on_files(self) -> frozenset[str]: ...

    @abstractmethod
    def known(self, names: Iterable[str]) -> list[str]:
        """Those of `names`, recordings or groups, that trained the model or chose its epoch.

        A name may have more leading folders than in the training, or fewer. An exported file knows none.
        """

    @abstractmethod
    def to(self, device: str) -> None:
        """Compute on `device`: "auto", "cpu", "cuda" or "mps". Raises SettingError where it is not here."""

    @abstractmethod
    def summary(self) -> str:
        """Weights, split and test metrics in a few lines."""

    @abstractmethod
    def predict_windows(self, windows: np.ndarray, sampling_rate: float, precision: PredictionPrecision) -> np.ndarray:
        """Probabilities (windows, classes) of checked windows, float32 (windows, leads, samples)."""

    @property
    def certainty(self) -> Certainty | None:
        """Prediction sets and abstention, fitted on validation; None where there are none."""
        return None

    def assess(self, signal: np.ndarray, sampling_rate: float | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Predict probabilities of windows, with their novelty `(windows,)`; None where there is no score for it.

        Above a novelty of 1 a window is less like those of the training than 99 of 100 validation windows are.
        Arguments and errors are those of `predict` for windows.
        """
        return self.assess_windows(*self.checked_windows(signal, sampling_rate))

    def assess_windows(
        self, windows: np.ndarray, sampling_rate: float, precision: PredictionPrecision = "auto"
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Probabilities (windows, classes) and novelty (windows,) of checked windows, None without the score."""
        return self.predict_windows(windows, sampling_rate, precision), None

    def rate_notes(self, sampling_rate: float) -> list[str]:
        """Sentences on what becomes of windows at `sampling_rate` Hz; none where they are resampled at most once."""
        return []

    @property
    def task(self) -> Task:
        return self.decision.task

    @property
    def positive(self) -> str | None:
        """Name of the positive class of two, whose probability the tables hold; None for more classes, or labels."""
        return self.classes[POSITIVE] if self.task == "binary" else None

    @property
    def threshold(self) -> float:
        """Of two classes: at or above this probability of `positive` a window is positive. Else SettingError."""
        if self.task != "binary":
            raise SettingError("one threshold belongs to two classes; read run.decision.thresholds, one for each label")
        return self.decision.thresholds[0].value

    def predict(
        self,
        signal: np.ndarray | str | Path,
        sampling_rate: float | None = None,
        *,
        leads: Sequence[str] | None = None,
        precision: PredictionPrecision = "auto",
    ) -> np.ndarray:
        """Predict probabilities `(windows, classes)`; of several labels, each one's own.

        Parameters
        ----------
        signal : windows `(windows, leads, samples)`, for one lead also `(windows, samples)` or `(samples,)`; in
            millivolts, or in the file's own unit if that of the training data was unknown. With `leads`: a recording
            `(leads, samples)` of any length, in millivolts, NaN in gaps. Or the path of a recording.
        sampling_rate : Hz of `signal`; the rate of the training data when not given. Of a file: needed where it states
            none.
        leads : names of the rows of a recording. Of a file: names of its channels, where it does not name them. A
            recording goes through the signal path of the training and is cut into windows.
        precision : "auto" is that of the run, which reproduces its predictions; "bf16" and "int8" are faster where the
            processor computes in them, and rounded; see `deployment.int8`. An exported file takes "auto" alone.

        Raises DataError for another shape or length than in the training, a rate that cannot be, NaN or infinite
        samples, SettingError for a precision that this machine does not have.
        """
        return self.predict_windows(*self.checked_windows(signal, sampling_rate, leads), precision)

    def classify(
        self,
        signal: np.ndarray | str | Path,
        sampling_rate: float | None = None,
        *,
        leads: Sequence[str] | None = None,
        precision: PredictionPrecision = "auto",
    ) -> list[str] | list[tuple[str, ...]]:
        """Predict the class of each window at the thresholds, or its labels, by name. Arguments as in `predict`."""
        probability = self.predict(signal, sampling_rate, leads=leads, precision=precision)
        return decided(self.decision, self.classes, probability)

    def checked_windows(
        self, signal: np.ndarray | str | Path, sampling_rate: float | None, leads: Sequence[str] | None = None
    ) -> tuple[np.ndarray, float]:
        """Windows, float32 (windows, leads, samples), and their rate (Hz); arguments and errors of `predict`."""
        if isinstance(signal, (str, Path)):
            names = None if leads is None else tuple(leads)
            found = read_recording(Path(signal), ReadOptions(sampling_rate=sampling_rate, lead_names=names))
            for note in found.notes:
                logger.warning("%s: %s", signal, note)
            return self._windows_of(found.signal, found.leads, found.sampling_rate, str(signal))
        rate = self._rate(sampling_rate)
        if leads is not None:
            return self._windows_of(np.atleast_2d(signal), tuple(leads), rate, "signal")
        windows = self._shaped(np.asarray(signal, np.float32))
        self.check_length(windows.shape[2], rate, "signal")
        return windows, rate

    def check_length(self, samples: int, sampling_rate: float, what: str) -> None:
        """Raise DataError unless windows of `samples` at `sampling_rate` Hz are as long as those of the training.

        what: the start of the message.
        """
        trained, rate = self.trained_on["samples"], self.trained_on["sampling_rate"]
        got, wanted = samples / sampling_rate, trained / rate
        if abs(got - wanted) > 1 / min(sampling_rate, rate):
            raise DataError(
                f"{what}: windows of {got:g} s, but the run was trained on windows of {wanted:g} s; cut them like"
                " those, or check the sampling rate"
            )

    def signal_path(
        self, lead: str | None = None, step: float | None = None, longest_gap: float | None = None
    ) -> SignalPath:
        """The signal path of the training, with windows of the same length. Raises SettingError.

        lead: taken in place of the one lead of the training. step: seconds from one window to the next. longest_gap:
        seconds that are interpolated at most. None: as in the training.
        """
        leads = self.leads
        if lead is not None:
            if len(leads) > 1:
                raise SettingError(f"--lead {lead} is for runs of one lead, but this one has {', '.join(leads)}")
            leads = (lead,)
        window = self.trained_on["samples"] / self.trained_on["sampling_rate"]
        stored = self.trained_on["signal_path"]
        if stored is None:
            made = SignalPath(self.trained_on["sampling_rate"], leads)
        else:
            made = from_table(SignalPath, stored, "the signal path of the run")
        gap = made.longest_gap if longest_gap is None else longest_gap
        return replace(made, leads=leads, window=window, step=step or made.step, longest_gap=gap)

    def _windows_of(
        self, signal: np.ndarray, leads: tuple[str, ...], rate: float, what: str
    ) -> tuple[np.ndarray, float]:
        """The windows of a recording (leads, samples), and their rate (Hz), by the signal path of the training."""
        if signal.ndim != 2 or len(signal) != len(leads):
            raise DataError(f"{what} has shape {signal.shape}; allowed: ({len(leads)}, samples), a row for each lead")
        path = self.signal_path()
        try:
            cut = path(signal, leads, rate)
        except DataError as error:
            raise DataError(f"{what}: {error}") from None
        if cut.zeroed:  # predictions from zeros in place of a lead would be worthless
            missing, needed = ", ".join(cut.zeroed), ", ".join(path.leads)
            raise DataError(f"{what}: has no lead {missing}, only {', '.join(leads)}; the run needs {needed}")
        return cut.windows, path.sampling_rate

    def _rate(self, sampling_rate: float | None) -> float:
        rate = self.trained_on["sampling_rate"] if sampling_rate is None else sampling_rate
        check_rate(rate, "a signal with the sampling rate")
        return rate

    def _shaped(self, signal: np.ndarray) -> np.ndarray:
        leads = self.leads
        if signal.ndim == 1:
            signal = signal[None]
        if signal.ndim == 2 and len(leads) == 1:
            signal = signal[:, None]
        if signal.ndim != 3 or signal.shape[1] != len(leads):
            raise DataError(
                f"signal has shape {signal.shape}; allowed: (windows, {len(leads)}, samples) with leads "
                f"{', '.join(leads)}" + (", (windows, samples) or (samples,)" if len(leads) == 1 else "")
            )
        if not np.isfinite(signal).all():
            raise DataError("signal holds NaN or infinite samples; leave those windows out or repair them")
        return signal


def decided(decision: Decision, classes: tuple[str, ...], probability: np.ndarray) -> list[str] | list[tuple[str, ...]]:
    """Probabilities `(windows, classes)` as names: one class per window, or a tuple of the labels that are there."""
    found = decision(probability[:, POSITIVE] if decision.task == "binary" else probability)
    if decision.task == "multilabel":
        return [tuple(name for name, there in zip(classes, row, strict=True) if there) for row in found]
    return [classes[int(value)] for value in found]
