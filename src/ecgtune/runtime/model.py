"""`Model`: an exported file that predicts without torch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.signal.filters import resample
from ecgtune.errors import DataError, ModelFileError, SettingError
from ecgtune.evaluation.certainty import Certainty
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.groups import Pooled
from ecgtune.runtime.exported_file import References, check_sealed, members, read_metadata
from ecgtune.runtime.predictor import PredictionPrecision, Predictor
from ecgtune.text import is_utf8, reason_of
from ecgtune.utils.files import open_file

#: Names in the graph; a run with a novelty score has a second output.
INPUT, OUTPUT, NOVELTY = "signal", "probability", "novelty"
_BATCH_VALUES = 1 << 18  # of the input in work at once: activations are many times as large
_LARGEST_BATCH = 4  # larger ones leave the caches: large encoders lose up to a tenth, the embedded one gains 3 % at 8


def load_onnxruntime() -> ModuleType:
    """Import onnxruntime without its telemetry; whatever needs it calls this first. Raises ImportError without it.

    Unless the variable is set before the first import, version 1.32 writes an identifier of the machine into the home
    folder and queues events about the process.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    if hasattr(onnxruntime, "disable_telemetry_events"):  # on Windows there are events that the variable leaves
        onnxruntime.disable_telemetry_events()
    return onnxruntime


class Model(Predictor):
    """An exported file, opened: `Model("model.onnx").predict(signal_or_path)`.

    path: a file of `ecgtune export`. threads: of the computation; the value of OMP_NUM_THREADS or all cores when not
    given. exact: use the slow kernels for whole numbers that are exact on every x86 processor (`ecgtune verify`
    compares them with the usual ones). Raises ModelFileError for a file that is not whole or not ecgtune's,
    SettingError where onnxruntime is not installed.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None, exact: bool = False) -> None:
        self.path = Path(path)
        try:
            onnxruntime = load_onnxruntime()
        except ImportError:
            raise SettingError(
                f"{path}: exported files need onnxruntime, which is not installed; pip install 'ecgtune[runtime]'"
            ) from None
        check_sealed(self.path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0")) if threads is None else threads
        options.log_severity_level = 4  # its failures are raised as one line
        if exact:
            options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            with open_file(self.path) as file:
                model = str(path) if is_utf8(str(path)) else file.read()
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes, one for each kind of failure
            raise ModelFileError(
                f"{path}: onnxruntime {onnxruntime.__version__} cannot open it ({reason_of(error)})"
            ) from None
        self._outputs = [each.name for each in self._session.get_outputs()]
        #: All that the file says about itself: labels, input, run, versions, verification; see docs/export.md.
        self.metadata: dict[str, Any] = read_metadata(self.path, self._session.get_modelmeta().custom_metadata_map)
        try:
            self.decision = Decision.from_dict(self.metadata["decision"])
            self._preprocessing = Preprocessing.from_dict(self.metadata["preprocessing"])
            #: Of each run of an ensemble.
            self._every = [Preprocessing.from_dict(each["preprocessing"]) for each in members(self.metadata)]
            self._certainty = Certainty.from_dict(self.metadata.get("certainty"), len(self.decision.thresholds) or 1)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = reason_of(error)
            raise ModelFileError(f"{path}: its metadata do not fit ({reason}); export it again") from None

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.metadata["classes"])

    @property
    def leads(self) -> tuple[str, ...]:
        return tuple(self.metadata["input"]["leads"])

    @property
    def trained_on(self) -> dict[str, Any]:
        return self.metadata["data"]

    @property
    def recording_rule(self) -> Pooled:
        return self.metadata["recording"]

    @property
    def amplitude_matters(self) -> bool:
        return any(each.amplitude_matters for each in self._every)

    @property
    def trained_on_files(self) -> frozenset[str]:
        return frozenset(each["data"]["sha256"] for each in members(self.metadata))

    def known(self, names: Iterable[str]) -> list[str]:
        return []

    @property
    def certainty(self) -> Certainty | None:
        return self._certainty

    @property
    def sampling_rate(self) -> float:
        """Hz of the graph's input."""
        return self.metadata["input"]["sampling_rate"]

    def to(self, device: str) -> None:
        if device not in ("auto", "cpu"):
            raise SettingError(f"device is {device!r}, but exported files compute on the CPU; give the run's folder")

    def summary(self) -> str:
        return self.metadata["summary"]

    def predict_windows(
        self, windows: np.ndarray, sampling_rate: float, precision: PredictionPrecision = "auto"
    ) -> np.ndarray:
        self._check(precision)
        return self._answers(windows, sampling_rate, [OUTPUT])[0]

    def rate_notes(self, sampling_rate: float) -> list[str]:
        own, encoders = self.sampling_rate, {each.sampling_rate for each in self._every}
        if self._preprocessing.steps or sampling_rate == own or encoders == {own}:
            return []
        then = " and ".join(f"{rate:g} Hz" for rate in sorted(encoders - {own}))
        return [
            f"{self.path} resamples {sampling_rate:g} Hz to {own:g} Hz and then to {then}, a run directly: "
            f"probabilities differ by up to some hundredths; export with --rate {sampling_rate:g} for the same"
        ]

    @property
    def has_novelty(self) -> bool:
        """Whether the file has a novelty score."""
        return NOVELTY in self._outputs

    def references(self, of: Literal["test", "simulated"]) -> References | None:
        """What the run gave for these windows; None where the file does not hold it.

        Raises ModelFileError where it cannot be read, or is not of this file.
        """
        text = self.metadata.get("references", {}).get(of)
        if text is None:
            return None
        found = References.unpacked(text, self.path, len(self.classes))
        if found.novelty is not None and not self.has_novelty:
            raise ModelFileError(
                f"{self.path}: its reference novelty has no score to compare with; export the run again"
            )
        return found

    def assess_windows(
        self, windows: np.ndarray, sampling_rate: float, precision: PredictionPrecision = "auto"
    ) -> tuple[np.ndarray, np.ndarray | None]:
        if not self.has_novelty:
            return super().assess_windows(windows, sampling_rate, precision)
        self._check(precision)
        probability, novelty = self._answers(windows, sampling_rate, [OUTPUT, NOVELTY])
        return probability, novelty.astype(np.float64)

    def _check(self, precision: PredictionPrecision) -> None:
        if precision != "auto":
            raise SettingError(
                f"precision is {precision!r}, but an exported file has one, {self.metadata.get('precision')}; leave it"
                " out"
            )

    def _answers(self, windows: np.ndarray, sampling_rate: float, outputs: list[str]) -> list[np.ndarray]:
        """Outputs of the graph for windows (windows, leads, samples) at `sampling_rate` Hz."""
        if self._preprocessing.steps:  # the graph begins behind them
            windows = self._preprocessing.before_graph(windows, sampling_rate)
        else:
            windows = self.at_input_rate(windows, sampling_rate)
        rows = max(1, min(_LARGEST_BATCH, _BATCH_VALUES // (windows.shape[1] * windows.shape[2])))
        parts = [self._run(windows[start : start + rows], outputs) for start in range(0, len(windows), rows)]
        if not parts:
            return [np.zeros((0, len(self.classes)), np.float32), np.zeros(0, np.float32)][: len(outputs)]
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def at_input_rate(self, windows: np.ndarray, sampling_rate: float) -> np.ndarray:
        """Windows (windows, leads, samples) at `sampling_rate` Hz as the graph takes them."""
        if sampling_rate != self.sampling_rate:
            windows = resample(np.asarray(windows, np.float64), sampling_rate, self.sampling_rate)
        return np.asarray(windows, np.float32)

    def _run(self, windows: np.ndarray, outputs: list[str]) -> list[np.ndarray]:
        try:
            found = [np.asarray(each) for each in self._session.run(outputs, {INPUT: np.ascontiguousarray(windows)})]
            wanted = [(len(windows), len(self.classes)), (len(windows),)]
            for name, each, shape in zip(outputs, found, wanted, strict=False):
                if each.shape != shape:
                    raise ValueError(f"{name} of shape {each.shape} for {len(self.classes)} classes")
            return found
        except Exception as error:
            raise DataError(
                f"{self.path}: cannot predict windows of {windows.shape[2]} samples at {self.sampling_rate:g} Hz"
                f" ({reason_of(error)})"
            ) from None
