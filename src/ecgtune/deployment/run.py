"""Load a finished run again, from its folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ecgtune.config.base import choose
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.tasks import Task
from ecgtune.deployment.int8 import int8_copy
from ecgtune.errors import DataError, RunError, SettingError
from ecgtune.evaluation.decision import Decision
from ecgtune.methods.attach import attach
from ecgtune.methods.registry import method_from_table
from ecgtune.methods.storage import load_weights
from ecgtune.models.classifier import Classifier
from ecgtune.models.description import build_model
from ecgtune.training.inference import logits_of, probability_of
from ecgtune.training.run_folder import RunFolder, read_recipe
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


@dataclass(frozen=True)
class Run:
    """A finished run: `model` with the best epoch's weights, on the CPU and in evaluation mode, and what it reached.

    metrics: the content of metrics.json. decision: how probabilities become an answer, with its thresholds.
    """

    folder: Path
    model: Classifier
    preprocessing: Preprocessing
    sampling_rate: float
    decision: Decision
    metrics: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, or of the labels of which a window may have several."""
        return self.model.classes

    @property
    def task(self) -> Task:
        return self.decision.task

    @property
    def threshold(self) -> float:
        """Of two classes: at or above this probability of the second one a window is positive. Else SettingError."""
        if self.task != "binary":
            raise SettingError("one threshold belongs to two classes; read run.decision.thresholds, one for each label")
        return self.decision.thresholds[0].value

    def summary(self) -> str:
        """Weights, split and the headline of the test windows in a few lines: what `ecgtune train` prints."""
        split = self.metrics["split"]
        lines = [f"weights: {self.metrics['weights']}", f"split by {split['unit']}: {split['origin']}"]
        lines += [f"warning: {warning}" for warning in split["warnings"]]
        for name, title in zip(("accuracy", "f1", "auroc"), _SUMMARY[self.task], strict=True):
            value, low, high = (self.metrics["window"]["metrics"][name][key] for key in ("value", "ci_low", "ci_high"))
            known = None not in (value, low, high)
            lines.append(f"test {title}: " + (f"{value:.3f} (95 % {low:.3f} to {high:.3f})" if known else "n/a"))
        return "\n".join(lines)

    def predict(
        self, signal: np.ndarray, sampling_rate: float | None = None, *, precision: PredictionPrecision = "auto"
    ) -> np.ndarray:
        """Probabilities `(windows, classes)` of windows as they come from the recorder; of labels, each by itself.

        signal: `(samples,)`, `(windows, samples)` for one lead, or `(windows, leads, samples)`; in millivolts, or in
        the file's own unit if that of the training data was unknown. sampling_rate: Hz of `signal`; the rate of the
        training data when not given. Resampling and normalisation are the run's own. precision: "auto" is that of the
        run, so that its predictions come again; "bf16" and "int8" are faster where the processor computes in them, and
        rounded; see `deployment.int8`. Raises DataError for another shape, a rate or length that cannot be, NaN or
        infinite samples, SettingError where a precision cannot be had.
        """
        choose(precision, get_args(PredictionPrecision), "precision")
        windows = self._shaped(np.asarray(signal, np.float32))
        prepared = self.preprocessing(windows, self.sampling_rate if sampling_rate is None else sampling_rate)
        if precision == "int8":
            return probability_of(logits_of(self._int8, prepared, precision="bf16"), self.task)
        if precision == "auto":
            precision = "bf16" if self.metrics["training"]["precision"] == "bf16" else "fp32"
        return probability_of(logits_of(self.model, prepared, precision=precision), self.task)

    def classify(
        self, signal: np.ndarray, sampling_rate: float | None = None, *, precision: PredictionPrecision = "auto"
    ) -> list[str] | list[tuple[str, ...]]:
        """The answer for each window at the run's thresholds: its class, or the labels it has, by name.

        Arguments as in `predict`.
        """
        return answers(self.decision, self.classes, self.predict(signal, sampling_rate, precision=precision))

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


def answers(decision: Decision, classes: tuple[str, ...], probability: np.ndarray) -> list[str] | list[tuple[str, ...]]:
    """Probabilities `(windows, classes)` as names: one class per window, or a tuple of the labels that are there."""
    found = decision(probability[:, 1] if decision.task == "binary" else probability)
    if decision.task == "multilabel":
        return [tuple(name for name, there in zip(classes, row, strict=True) if there) for row in found]
    return [classes[int(value)] for value in found]


def load_run(folder: str | Path) -> Run:
    """The run of a folder that `fine_tune` or `compare` wrote.

    A run of full fine-tuning holds all its weights; the others are loaded on top of the encoder that they were trained
    on, found by its name or path and checked against its sha256. Raises RunError for a folder without a finished run,
    CheckpointError when the encoder has changed or is gone.
    """
    run = RunFolder(Path(folder))
    if not run.finished or not (run.best / "model.json").is_file():
        unfinished = run.recipe.is_file() and not run.finished
        state = "an unfinished run; continue it with --resume" if unfinished else "no run with a model"
        raise RunError(f"{folder} holds {state}; allowed: a folder with metrics.json and best/model.json")
    read_recipe(run)  # says so when the folder holds a pretraining
    saved, metrics = read_json(run.best / "model.json"), run.read_metrics()
    try:
        method = method_from_table(saved["method"], str(run.best / "model.json"))
        preprocessing = Preprocessing.from_dict(saved["preprocessing"])
        sampling_rate, decision = saved["input_sampling_rate"], Decision.from_dict(saved["threshold"])
        model = build_model(saved, load_base=method.needs_encoder_weights)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{run.best / 'model.json'} is not what a run writes ({error!r}); run it again") from None
    attach(model, method)
    load_weights(model, run.best)
    model.requires_grad_(False)
    return Run(run.path, model.eval(), preprocessing, sampling_rate, decision, metrics)
