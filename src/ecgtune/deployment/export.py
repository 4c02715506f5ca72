"""A finished run as one ONNX file that verifies itself: graph, metadata, and the proof that it predicts the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgtune.data.dataset import check_rate
from ecgtune.deployment.graph import InferenceGraph
from ecgtune.deployment.int8_graph import FORMATS
from ecgtune.deployment.onnx_graph import OnnxGraph, stripped, to_onnx
from ecgtune.deployment.run import Run
from ecgtune.deployment.verification import (
    VerificationWindows,
    calibration_windows,
    original_probability,
    original_seconds,
    verification_windows,
)
from ecgtune.errors import VerificationError
from ecgtune.models.registry import licence_of
from ecgtune.runtime.exported_file import FORMAT, sealed
from ecgtune.runtime.model import INPUT, Model
from ecgtune.runtime.verification import Verified, measured, model_seconds, problems, simulated_windows
from ecgtune.utils.files import file_sha256, write_atomically, write_json

if TYPE_CHECKING:
    from onnx import ModelProto

NOTICE = "Research software: not a medical device."


def export_run(
    run: Run, path: Path, *, int8: bool = False, sampling_rate: float | None = None, verify: Path | None = None
) -> Verified:
    """Write `run` as the ONNX file `path` and its verification as `<name>.verification.json` beside it.

    int8: weights of eight bits; of the formats that pass the verification the fastest is taken. sampling_rate: Hz of
    the graph's input; that of the training data when not given. verify: file of labelled windows to verify on, instead
    of the run's test windows.

    Raises VerificationError, and leaves an earlier file as it was, where float32 probabilities differ by more than
    1e-5, or no format of eight bits changes at most 0.5 % of the decisions and loses at most 0.002 of AUROC.
    """
    rate = run.sampling_rate if sampling_rate is None else float(sampling_rate)
    check_rate(rate, "the rate of the input,")
    windows = verification_windows(run, verify)
    data = run.metrics["data"]
    samples = round(data["samples"] * rate / data["sampling_rate"])
    steps = run.preprocessing.steps
    prepared = run.preprocessing(windows.at(rate)[:1], rate).shape[2] if steps else samples
    inference = InferenceGraph(run.model, run.preprocessing, run.task, rate, run.calibration)
    graph = to_onnx(inference, len(run.leads), prepared)
    work = _Verification.of(run, windows, rate)
    metadata = _metadata(run, graph, rate, samples, work)
    candidates = {"float32": graph.model}
    if int8:
        calibration = calibration_windows(run, rate)
        calibration = run.preprocessing(calibration, rate) if steps else calibration
        candidates = {name: made for name, make in FORMATS.items() if (made := make(graph.model, calibration))}
    written: list[dict[str, Any]] = []

    def write(partial: Path) -> None:
        written.append(_best(partial, candidates, metadata, work))

    write_atomically(path, write)
    write_json(path.with_name(f"{path.stem}.verification.json"), written[0])
    return Verified(path, written[0])


@dataclass(frozen=True, eq=False)
class _Verification:
    """What exported files are compared with: windows at the graph's rate, and what the run gives for them."""

    run: Run
    windows: VerificationWindows
    signal: np.ndarray
    probability: np.ndarray
    simulated: np.ndarray
    simulated_probability: np.ndarray
    seconds: float

    @classmethod
    def of(cls, run: Run, windows: VerificationWindows, rate: float) -> _Verification:
        signal = windows.at(rate)
        simulated = simulated_windows(len(run.leads), signal.shape[2], rate)
        probability, of_simulated = (original_probability(run, each, rate) for each in (signal, simulated))
        return cls(run, windows, signal, probability, simulated, of_simulated, original_seconds(run, signal, rate))

    def references(self) -> dict[str, str]:
        """What the file keeps of them, for `ecgtune verify`."""
        made = replace(self.windows, signal=self.simulated, label=None, recording=None)
        found = {"simulated": made.references(self.simulated_probability)}
        if self.windows.label is not None:
            found["test"] = self.windows.references(self.probability)
        return {name: each.packed() for name, each in found.items()}

    def measured(self, path: Path) -> dict[str, Any]:
        """Figures of an exported file, and seconds beside the run's."""
        found = measured(path, self.signal, self.probability, self.windows.label, self.windows.recording)
        return found | {"seconds_per_window": {"torch": self.seconds, **found["seconds_per_window"]}}


def _best(
    partial: Path, candidates: dict[str, ModelProto], metadata: dict[str, Any], work: _Verification
) -> dict[str, Any]:
    """Write the fastest candidate that passes, and return its verification. Raises VerificationError for none."""
    timed: list[tuple[float, str, bytes]] = []
    for name, candidate in candidates.items():
        graph = stripped(candidate).SerializeToString()
        partial.write_bytes(sealed(graph, metadata))
        timed.append((model_seconds(Model(partial, threads=1), work.signal), name, graph))
    reasons = []
    for _, name, graph in sorted(timed):  # the exact kernels of a format may take minutes
        precision = "float32" if name == "float32" else "int8"
        facts = metadata | {"precision": precision, "format_of_weights": name}
        partial.write_bytes(sealed(graph, facts))
        found = work.measured(partial)
        wrong = [sentence for each in found["kernels"].values() for sentence in problems(each, precision)]
        if wrong:
            reasons.append(f"{name}: {wrong[0]}")
            continue
        report = {"precision": precision, "weights": name, "windows": work.windows.origin, **found}
        facts |= {"verification": report, "references": work.references()}
        partial.write_bytes(sealed(graph, facts))
        return report
    raise VerificationError(
        f"the exported model does not predict as the run does, so nothing is written ({'; '.join(reasons)})"
    )


def _metadata(run: Run, graph: OnnxGraph, rate: float, samples: int, work: _Verification) -> dict[str, Any]:
    """All that the file says about itself but precision and verification."""
    data, model = run.metrics["data"], run.model
    path = run.signal_path()
    files = sorted(each for each in (run.folder / "best").iterdir() if each.is_file())
    return {
        "format": FORMAT,
        "notice": NOTICE,
        "task": run.task,
        "classes": list(run.classes),
        "decision": run.decision.to_dict(run.classes),
        "calibration": run.calibration.to_dict(),
        **({"certainty": run.certainty.to_dict()} if run.certainty is not None else {}),
        "recording": run.recording_rule,
        "input": {
            "name": INPUT,
            "leads": list(run.leads),
            "sampling_rate": rate,
            "samples": samples,
            "any_length": graph.any_length,
            **({"prepared_by_runtime": True} if run.preprocessing.steps else {}),
            "unit": "mV" if run.amplitude_matters else "any (each window is normalised)",
        },
        "window": path.window,
        "step": path.step or path.window,
        "preprocessing": run.preprocessing.to_dict(),
        "data": {name: data[name] for name in ("sha256", "sampling_rate", "samples", "leads", "signal_path")},
        "run": {
            "name": run.metrics["name"],
            "seed": run.metrics["seed"],
            "model": Path(model.name).name if Path(model.name).is_absolute() else model.name,
            "method": run.metrics["method"],
            "weights": run.metrics["weights"],
            "sha256": file_sha256(run.folder / "metrics.json"),
            "files": {each.name: file_sha256(each) for each in files},
        },
        "encoder": {
            "architecture": model.base_encoder.architecture,
            "sha256": model.weights.sha256,
            "licence": model.weights.licence or licence_of(model.name),
            "terms": model.weights.terms,
        },
        "versions": {name: version(name) for name in ("ecgtune", "torch", "onnx", "onnxruntime")},
        "summary": run.summary(),
    }
