"""Load finished runs from their folders: one by itself, or several as an ensemble."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np
from torch import nn

from ecgtune.config.base import choose
from ecgtune.data.dataset import check_rate
from ecgtune.data.positive import POSITIVE, positive_sentence, stored_positive
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.tasks import Task
from ecgtune.deployment.int8 import int8_copy
from ecgtune.errors import DataError, RunError, SettingError
from ecgtune.evaluation.decision import Decision, mean_decision
from ecgtune.evaluation.notes import preset_notes
from ecgtune.methods.attach import attach
from ecgtune.methods.registry import method_from_table
from ecgtune.methods.split import FrozenPrefix
from ecgtune.methods.storage import load_weights
from ecgtune.models.classifier import Classifier
from ecgtune.models.description import build_model
from ecgtune.training.inference import FEATURES, logits_of, probability_of
from ecgtune.training.run_folder import RunFolder, chosen_on, read_recipe
from ecgtune.utils import formatting
from ecgtune.utils.files import read_json

#: Number formats of predictions; "auto" is the one that the run was measured in (fp32 for a run in fp16), "int8"
#: multiplies whole numbers in the transformer layers and is bf16 elsewhere.
PredictionPrecision = Literal["auto", "fp32", "bf16", "int8"]

#: What the accuracy, F1 and AUROC of metrics.json are called for each task.
_SUMMARY: dict[Task, tuple[str, str, str]] = {
    "binary": ("accuracy", "f1", "auroc"),
    "multiclass": ("accuracy", "macro f1", "macro auroc"),
    "multilabel": ("macro accuracy", "macro f1", "macro auroc"),
}


class Predictor(ABC):
    """Probabilities and decisions for windows as they come from the recorder: of one run, or of several.

    runs: those whose probabilities are averaged. decision: how probabilities become a class or labels, with its
    thresholds.
    """

    runs: tuple[Run, ...]
    decision: Decision

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, or of the labels of which a window may have several."""
        return self.runs[0].model.classes

    @property
    def positive(self) -> str | None:
        """Name of the positive class of two, whose probability the tables hold; None for more classes, or labels."""
        return self.classes[POSITIVE] if self.task == "binary" else None

    @property
    def leads(self) -> tuple[str, ...]:
        """Leads of a window, in order."""
        return self.runs[0].model.leads

    @property
    def trained_on(self) -> dict[str, Any]:
        """The entry "data" of metrics.json: samples, sampling rate (Hz) and signal path of the windows."""
        return self.runs[0].metrics["data"]

    @property
    def task(self) -> Task:
        return self.decision.task

    @property
    def threshold(self) -> float:
        """Of two classes: at or above this probability of `positive` a window is positive. Else SettingError."""
        if self.task != "binary":
            raise SettingError("one threshold belongs to two classes; read run.decision.thresholds, one for each label")
        return self.decision.thresholds[0].value

    @abstractmethod
    def predict(
        self, signal: np.ndarray, sampling_rate: float | None = None, *, precision: PredictionPrecision = "auto"
    ) -> np.ndarray:
        """Predict probabilities `(windows, classes)`; of several labels, each one's own.

        signal: `(samples,)`, `(windows, samples)` for one lead, or `(windows, leads, samples)`; in millivolts, or in
        the file's own unit if that of the training data was unknown. sampling_rate: Hz of `signal`; the rate of the
        training data when not given. Resampling and normalisation are the run's own. precision: "auto" is that of the
        run, which reproduces its predictions; "bf16" and "int8" are faster where the processor computes in them, and
        rounded; see `deployment.int8`. Raises DataError for another shape or length than in the training, a rate that
        cannot be, NaN or infinite samples, SettingError for a precision that this machine does not have.
        """

    def classify(
        self, signal: np.ndarray, sampling_rate: float | None = None, *, precision: PredictionPrecision = "auto"
    ) -> list[str] | list[tuple[str, ...]]:
        """Predict the class of each window at the thresholds, or its labels, by name. Arguments as in `predict`."""
        return decided(self.decision, self.classes, self.predict(signal, sampling_rate, precision=precision))

    def known(self, names: Iterable[str]) -> list[str]:
        """Those of `names`, recordings or groups, that trained a run or chose its epoch.

        A name may have more leading folders than in the training, or fewer.
        """
        trained = {name for run in self.runs for name in chosen_on(RunFolder(run.folder))}
        ends = {end for name in trained for end in _ends(name)}
        return [name for name in names if name in ends or trained.intersection(_ends(name))]

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

    @abstractmethod
    def summary(self) -> str:
        """Weights, split and test metrics in a few lines."""


@dataclass(frozen=True)
class Run(Predictor):
    """A finished run: `model` with the best epoch's weights, on the CPU and in evaluation mode, and what it reached.

    metrics: the content of metrics.json.
    """

    folder: Path
    model: Classifier
    preprocessing: Preprocessing
    sampling_rate: float
    decision: Decision
    metrics: dict[str, Any]

    @property
    def runs(self) -> tuple[Run, ...]:  # type: ignore[override]
        return (self,)

    def __repr__(self) -> str:
        accuracy = self.metrics["window"]["metrics"]["accuracy"]["value"]
        method = f"{self.metrics['method']} on {self.model.name}"
        return f"Run({str(self.folder)!r}: {method}, {len(self.classes)} classes, test accuracy {accuracy:.3f})"

    def summary(self) -> str:
        split = self.metrics["split"]
        lines = [f"weights: {self.metrics['weights']}", f"split by {split['unit']}: {split['origin']}"]
        lines += [f"warning: {warning}" for warning in (*preset_notes([self.metrics]), *split["warnings"])]
        lines += [positive_sentence(*stored_positive(self.metrics))] if self.task == "binary" else []
        for name, title in zip(("accuracy", "f1", "auroc"), _SUMMARY[self.task], strict=True):
            entry = self.metrics["window"]["metrics"][name]
            interval = "" if entry["value"] is None else f" (95 % {formatting.interval(entry)})"
            lines.append(f"test {title}: {formatting.score(entry['value'])}{interval}")
        return "\n".join(lines)

    def predict(
        self, signal: np.ndarray, sampling_rate: float | None = None, *, precision: PredictionPrecision = "auto"
    ) -> np.ndarray:
        return probability_of(self._answers(lambda model: model, signal, sampling_rate, precision), self.task)

    def embed(
        self, signal: np.ndarray, sampling_rate: float | None = None, *, precision: PredictionPrecision = "auto"
    ) -> np.ndarray:
        """Compute the features that the head reads: pooled tokens of the fine-tuned encoder.

        Parameters and errors are those of `predict`.

        Returns
        -------
        float32 (windows, features); features is the encoder's width, or a multiple of it for pooling "statistics".
        """
        return self._answers(lambda model: FrozenPrefix(model, FEATURES), signal, sampling_rate, precision)

    def _answers(
        self,
        part: Callable[[Classifier], nn.Module],
        signal: np.ndarray,
        sampling_rate: float | None,
        precision: PredictionPrecision,
    ) -> np.ndarray:
        """What a part of the model gives for prepared windows."""
        choose(precision, get_args(PredictionPrecision), "precision")
        windows = self._shaped(np.asarray(signal, np.float32))
        rate = self.sampling_rate if sampling_rate is None else sampling_rate
        check_rate(rate, "a signal with the sampling rate")
        self.check_length(windows.shape[2], rate, "signal")
        model = self._int8 if precision == "int8" else self.model
        if precision == "auto":
            precision = "bf16" if self.metrics["training"]["precision"] == "bf16" else "fp32"
        computed = "bf16" if precision == "int8" else precision
        return logits_of(part(model), self.preprocessing(windows, rate), precision=computed)

    @cached_property
    def _int8(self) -> Classifier:
        return int8_copy(self.model)

    def _shaped(self, signal: np.ndarray) -> np.ndarray:
        leads = self.model.leads
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


@dataclass(frozen=True)
class Ensemble(Predictor):
    """Finished runs on the same kind of windows, whose probabilities are averaged with equal weights.

    Each threshold is the mean of the runs' thresholds: no validation windows are read again, so it is not fitted to the
    averaged probabilities. Raises SettingError for runs that differ in task, classes, leads or windows.
    """

    runs: tuple[Run, ...]

    def __repr__(self) -> str:
        return f"Ensemble({', '.join(str(run.folder) for run in self.runs)})"

    def __post_init__(self) -> None:
        first, *others = self.runs
        for run in others:
            for name, value in _compared(run).items():
                if value != _compared(first)[name]:
                    raise SettingError(
                        f"{run.folder} has {name} {value}, but {first.folder} has {_compared(first)[name]}; an "
                        "ensemble needs runs on the same windows and classes"
                    )

    @cached_property
    def decision(self) -> Decision:  # type: ignore[override]
        return mean_decision([run.decision for run in self.runs])

    def predict(
        self, signal: np.ndarray, sampling_rate: float | None = None, *, precision: PredictionPrecision = "auto"
    ) -> np.ndarray:
        return np.mean([run.predict(signal, sampling_rate, precision=precision) for run in self.runs], axis=0)

    def summary(self) -> str:
        return "\n".join(f"{run.folder}\n{run.summary()}" for run in self.runs)


def _ends(name: str) -> list[str]:
    """The path `name` without 0, 1, ... of its first folders."""
    parts = PurePosixPath(name).parts
    return ["/".join(parts[first:]) for first in range(len(parts))]


def _compared(run: Run) -> dict[str, Any]:
    """What the runs of an ensemble must have in common."""
    data = run.metrics["data"]
    return {
        "task": run.task,
        "classes": run.classes,
        "leads": run.leads,
        "windows of": f"{data['samples']} samples at {run.sampling_rate:g} Hz",
        "signal path": data["signal_path"],
    }


def decided(decision: Decision, classes: tuple[str, ...], probability: np.ndarray) -> list[str] | list[tuple[str, ...]]:
    """Probabilities `(windows, classes)` as names: one class per window, or a tuple of the labels that are there."""
    found = decision(probability[:, POSITIVE] if decision.task == "binary" else probability)
    if decision.task == "multilabel":
        return [tuple(name for name, there in zip(classes, row, strict=True) if there) for row in found]
    return [classes[int(value)] for value in found]


def load_run(folder: str | Path | Iterable[str | Path], *others: str | Path) -> Run | Ensemble:
    """Load the run of a folder that `fine_tune` or `compare` wrote; of several folders, given one by one or as a list,
    an `Ensemble`.

    A run of full fine-tuning holds all its weights; the others are loaded on top of the encoder that they were trained
    on, found by its name or path and checked against its sha256. Raises RunError for a folder without a finished run,
    CheckpointError when the encoder has changed or is gone, SettingError for runs that do not make an ensemble.
    """
    folders = [folder, *others] if isinstance(folder, (str, Path)) else [*folder, *others]
    if not folders:
        raise SettingError("no run folder is given; name one or more")
    if len({Path(each).resolve() for each in folders}) < len(folders):
        raise SettingError("a run folder is given twice; name each run of an ensemble once")
    runs = tuple(read_run(Path(each)) for each in folders)
    return runs[0] if len(runs) == 1 else Ensemble(runs)


def read_run(folder: Path) -> Run:
    """The run of one folder; raises what `load_run` raises."""
    run = RunFolder(folder)
    run.check_finished()
    read_recipe(run)  # says so when the folder holds a pretraining
    saved, metrics = read_json(run.best / "model.json"), run.read_metrics()
    try:
        method = method_from_table(saved["method"], str(run.best / "model.json"))
        preprocessing = Preprocessing.from_dict(saved["preprocessing"])
        sampling_rate, decision = saved["input_sampling_rate"], Decision.from_dict(saved["threshold"])
        model = build_model(saved, load_base=method.needs_encoder_weights)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{run.best / 'model.json'} is not a file of a run ({error!r}); run it again") from None
    attach(model, method)
    load_weights(model, run.best)
    model.requires_grad_(False)
    return Run(run.path, model.eval(), preprocessing, sampling_rate, decision, metrics)
