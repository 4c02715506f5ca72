"""Load finished runs from their folders: one by itself, or several as an ensemble."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from ecgtune.config.base import choose
from ecgtune.data.positive import POSITIVE
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.tasks import Task
from ecgtune.deployment.int8 import int8_copy
from ecgtune.errors import EcgtuneError, RunError, SettingError
from ecgtune.evaluation.calibration.maps import Calibration
from ecgtune.evaluation.certainty import Certainty
from ecgtune.evaluation.decision import Decision, mean_decision
from ecgtune.evaluation.groups import Pooled
from ecgtune.evaluation.notes import preset_notes
from ecgtune.evaluation.novelty import Novelty
from ecgtune.methods.attach import attach
from ecgtune.methods.base import Method
from ecgtune.methods.registry import method_from_table
from ecgtune.methods.split import FrozenPrefix, WithFeatures
from ecgtune.methods.storage import load_weights, mapped_tensors
from ecgtune.models.classifier import Classifier
from ecgtune.models.description import build_model
from ecgtune.models.hub import download_folder, is_repository
from ecgtune.models.pooling import POOLINGS
from ecgtune.models.tensors import parameter_limit
from ecgtune.runtime.predictor import PredictionPrecision, Predictor
from ecgtune.text import printable, reason_of
from ecgtune.training.certainty import read_certainty, read_novelty
from ecgtune.training.inference import FEATURES, choose_device, logits_of, probability_of
from ecgtune.training.run_folder import RunFolder, chosen_on, read_recipe
from ecgtune.training.schemas import ModelMetrics, SavedModel
from ecgtune.utils import formatting
from ecgtune.utils.schema import check_schema
from ecgtune.utils.stored import ELSEWHERE, read_json

#: Folder of the encoder in a run from the hub, where it is a file of its own.
ENCODER = "encoder"
#: Files of a run on the hub that predictions need.
_PUBLISHED = ("recipe.toml", "metrics.json", "certainty.json", "novelty.npz", "best/*", f"{ENCODER}/*")

#: What the accuracy, F1 and AUROC of metrics.json are called for each task.
_SUMMARY: dict[Task, tuple[str, str, str]] = {
    "binary": ("accuracy", "f1", "auroc"),
    "multiclass": ("accuracy", "macro f1", "macro auroc"),
    "multilabel": ("macro accuracy", "macro f1", "macro auroc"),
}


@dataclass(frozen=True)
class Run(Predictor):
    """A finished run: `model` with the best epoch's weights, on the CPU and in evaluation mode, and what it reached.

    metrics: the content of metrics.json. own_certainty, novelty: as fitted on validation; None for a run without.
    """

    folder: Path
    model: Classifier
    preprocessing: Preprocessing
    sampling_rate: float
    decision: Decision
    calibration: Calibration
    metrics: dict[str, Any]
    own_certainty: Certainty | None = None
    novelty: Novelty | None = None

    @property
    def runs(self) -> tuple[Run, ...]:
        """Itself, as the runs of an `Ensemble`."""
        return (self,)

    @property
    def certainty(self) -> Certainty | None:
        return self.own_certainty

    @property
    def classes(self) -> tuple[str, ...]:
        return self.model.classes

    @property
    def leads(self) -> tuple[str, ...]:
        return self.model.leads

    @property
    def trained_on(self) -> dict[str, Any]:
        return self.metrics["data"]

    @property
    def recording_rule(self) -> Pooled:
        return self.metrics.get("evaluation", {}).get("recording", "mean")

    @property
    def amplitude_matters(self) -> bool:
        return self.preprocessing.amplitude_matters

    @property
    def trained_on_files(self) -> frozenset[str]:
        return frozenset([self.metrics["data"]["sha256"]])

    def known(self, names: Iterable[str]) -> list[str]:
        trained = chosen_on(RunFolder(self.folder))
        ends = {end for name in trained for end in _ends(name)}
        return [name for name in names if name in ends or trained.intersection(_ends(name))]

    def to(self, device: str) -> None:
        self.model.to(choose_device(device))

    def __repr__(self) -> str:
        accuracy = formatting.score(self.metrics["window"]["metrics"]["accuracy"]["value"])
        method = f"{self.metrics['method']} on {self.model.name}"
        return f"Run({str(self.folder)!r}: {method}, {len(self.classes)} classes, test accuracy {accuracy})"

    def summary(self) -> str:
        split = self.metrics["split"]
        lines = [f"weights: {self.metrics['weights']}", f"split: {split['origin']}"]
        lines += [f"warning: {warning}" for warning in (*preset_notes([self.metrics]), *split["warnings"])]
        for name, title in zip(("accuracy", "f1", "auroc"), _SUMMARY[self.task], strict=True):
            entry = self.metrics["window"]["metrics"][name]
            of = f" of {self.positive}" if name == "f1" and self.positive else ""
            interval = "" if entry["value"] is None else f" (95 % interval {formatting.interval(entry)})"
            lines.append(f"test {title}{of}: {formatting.score(entry['value'])}{interval}")
        return "\n".join(map(printable, lines))

    def predict_windows(
        self, windows: np.ndarray, sampling_rate: float, precision: PredictionPrecision = "auto"
    ) -> np.ndarray:
        return self._calibrated(self._outputs(lambda model: model, windows, sampling_rate, precision))

    def assess_windows(
        self, windows: np.ndarray, sampling_rate: float, precision: PredictionPrecision = "auto"
    ) -> tuple[np.ndarray, np.ndarray | None]:
        if self.novelty is None:
            return super().assess_windows(windows, sampling_rate, precision)
        found = self._outputs(WithFeatures, windows, sampling_rate, precision)
        classes = len(self.classes)
        return self._calibrated(found[:, :classes]), self.novelty(found[:, classes:])

    def _calibrated(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities (windows, classes)."""
        probability = probability_of(logits, self.task)
        if self.task != "binary" or not self.calibration.changes:
            return self.calibration(probability)
        positive = self.calibration(probability[:, POSITIVE])
        return np.stack([1 - positive, positive], axis=1)

    def embed(
        self,
        signal: np.ndarray | str | Path,
        sampling_rate: float | None = None,
        *,
        leads: Sequence[str] | None = None,
        precision: PredictionPrecision = "auto",
    ) -> np.ndarray:
        """Compute the features that the head reads: pooled tokens of the fine-tuned encoder.

        Parameters and errors are those of `predict`.

        Returns
        -------
        float32 (windows, features); features is the encoder's width, or a multiple of it for pooling "statistics".
        """
        windows, rate = self.checked_windows(signal, sampling_rate, leads)
        return self._outputs(lambda model: FrozenPrefix(model, FEATURES), windows, rate, precision)

    def _outputs(
        self,
        part: Callable[[Classifier], nn.Module],
        windows: np.ndarray,
        sampling_rate: float,
        precision: PredictionPrecision,
    ) -> np.ndarray:
        """What a part of the model gives for prepared windows."""
        choose(precision, get_args(PredictionPrecision), "precision")
        model = self._int8 if precision == "int8" else self.model
        if precision == "auto":
            precision = "bf16" if self.metrics["training"]["precision"] == "bf16" else "fp32"
        computed = "bf16" if precision == "int8" else precision
        return logits_of(part(model), self.preprocessing(windows, sampling_rate), precision=computed)

    @cached_property
    def _int8(self) -> Classifier:
        return int8_copy(self.model)


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

    @property
    def classes(self) -> tuple[str, ...]:
        return self.runs[0].classes

    @property
    def leads(self) -> tuple[str, ...]:
        return self.runs[0].leads

    @property
    def trained_on(self) -> dict[str, Any]:
        return self.runs[0].trained_on

    @property
    def recording_rule(self) -> Pooled:
        return self.runs[0].recording_rule

    @property
    def amplitude_matters(self) -> bool:
        return any(run.amplitude_matters for run in self.runs)

    def predict_windows(
        self, windows: np.ndarray, sampling_rate: float, precision: PredictionPrecision = "auto"
    ) -> np.ndarray:
        return np.mean([run.predict_windows(windows, sampling_rate, precision) for run in self.runs], axis=0)

    @property
    def trained_on_files(self) -> frozenset[str]:
        return frozenset().union(*(run.trained_on_files for run in self.runs))

    def known(self, names: Iterable[str]) -> list[str]:
        names = list(names)
        found = {name for run in self.runs for name in run.known(names)}
        return [name for name in names if name in found]

    def to(self, device: str) -> None:
        for run in self.runs:
            run.to(device)

    def summary(self) -> str:
        return "\n".join(f"{printable(str(run.folder))}\n{run.summary()}" for run in self.runs)


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
        "recordings pooled by": run.recording_rule,
    }


def load_run(folder: str | Path | Iterable[str | Path], *others: str | Path) -> Run | Ensemble:
    """Load the run of a folder that `fine_tune` or `compare` wrote; of several folders, given one by one or as a list,
    an `Ensemble`. A text "user/name" that is no folder is a run on the Hugging Face hub (`push_to_hub`).

    A run of full fine-tuning holds all its weights; the others are loaded on top of the encoder that they were trained
    on, found by its name or path and checked against its sha256. Raises RunError for a folder without a finished run,
    CheckpointError when the encoder has changed or is gone, SettingError for runs that do not make an ensemble.
    """
    folders = [folder, *others] if isinstance(folder, (str, Path)) else [*folder, *others]
    if not folders:
        raise SettingError("no run folder is given; name one or more")
    if len({os.path.realpath(each) for each in folders}) < len(folders):
        raise SettingError("a run folder is given twice; name each run of an ensemble once")
    runs = tuple(read_run(_local(each)) for each in folders)
    return runs[0] if len(runs) == 1 else Ensemble(runs)


def share_weights(runs: Iterable[Predictor]) -> int:
    """Let runs on one device hold equal tensors once, as adapters of one encoder have; return the bytes saved.

    Runs are for predictions alone then: a change of a weight of one would change the others.
    """
    held: dict[bytes, Tensor] = {}
    saved = 0
    for run in runs:
        for each in run.runs if isinstance(run, (Run, Ensemble)) else ():
            for tensor in (*each.model.parameters(), *each.model.buffers()):
                content = tensor.detach().cpu().contiguous()
                facts = f"{tensor.shape} {tensor.dtype} {tensor.device}".encode()
                digest = hashlib.sha256(content.reshape(-1).view(torch.uint8).numpy().tobytes() + facts).digest()
                first = held.setdefault(digest, tensor)
                if first.data_ptr() != tensor.data_ptr():
                    tensor.data = first.data
                    saved += tensor.nbytes
    return saved


def _local(name: str | Path) -> Path:
    """The folder of a run, downloaded where `name` is one of the hub."""
    if isinstance(name, str) and not Path(name).exists() and is_repository(name):
        return download_folder(name, _PUBLISHED)
    return Path(name)


def read_run(folder: Path) -> Run:
    """The run of one folder; raises what `load_run` raises."""
    run = RunFolder(folder)
    run.check_finished()
    file = run.best / "model.json"
    saved = read_json(file, dict[str, Any])
    if isinstance(saved.get("method"), dict) and "imports" in saved:
        method_from_table(saved["method"], str(file), saved["imports"])  # says what to import; the recipe cannot
    read_recipe(run)  # says so when the folder holds a pretraining
    metrics = run.read_metrics()
    check_schema(metrics, ModelMetrics, str(run.metrics), RunError, ELSEWHERE)
    check_schema(saved, SavedModel, str(file), RunError, ELSEWHERE)
    if saved["classes"] != metrics["classes"]:
        raise RunError(f"{file} and {run.metrics} have different classes; the folder was put together from two runs")
    try:
        method = method_from_table(saved["method"], str(file))
        preprocessing = Preprocessing.from_dict(saved["preprocessing"])
        sampling_rate, decision = saved["input_sampling_rate"], Decision.from_dict(saved["threshold"])
        calibration = Calibration.from_dict(saved.get("calibration"), decision.task)
        model = _built(run, saved, method)
    except EcgtuneError as error:
        raise error if str(folder) in str(error) else type(error)(f"{file}: {error}") from None
    except Exception as error:  # sizes that do not fit together fail in torch and peft, in many ways
        raise RunError(f"{file} is not a file of a run ({reason_of(error)}); run it again") from None
    load_weights(model, run.best)
    model.requires_grad_(False)
    features = POOLINGS[model.pooling] * model.base_encoder.head_width
    found = read_certainty(run, len(decision.thresholds) or 1), read_novelty(run, features)
    return Run(run.path, model.eval(), preprocessing, sampling_rate, decision, calibration, metrics, *found)


def _built(run: RunFolder, saved: Mapping[str, Any], method: Method) -> Classifier:
    """The model that model.json describes, with its method, no larger than what the folder stores of it."""
    stored = [tensor for file in run.best.glob("*.safetensors") for tensor in mapped_tensors(file).values()]
    if method.needs_encoder_weights:
        return attach(build_model(_with_encoder(saved, run.path / ENCODER)), method)
    with parameter_limit(stored):
        return attach(build_model(saved, load_base=False), method)


def _with_encoder(saved: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """The description of a model, whose encoder is in the run's own folder where that is there."""
    files = list(folder.iterdir()) if folder.is_dir() else []
    if not files:
        return saved
    return {**saved, "name": os.path.realpath(files[0] if len(files) == 1 else folder)}
