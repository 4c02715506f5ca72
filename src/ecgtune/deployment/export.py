"""A finished run as one file that verifies itself: graph, metadata, and the proof that it predicts the same."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ecgtune.data.dataset import check_rate
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.deployment.graph import Graph, InferenceGraph, MeanGraph
from ecgtune.deployment.int8_graph import FORMATS
from ecgtune.deployment.onnx_graph import stripped, to_onnx
from ecgtune.deployment.program import Program, check_installed, to_program
from ecgtune.deployment.run import Ensemble, Run
from ecgtune.deployment.verification import (
    VerificationWindows,
    calibration_windows,
    original,
    original_seconds,
)
from ecgtune.errors import SettingError, VerificationError
from ecgtune.models.registry import licence_of
from ecgtune.runtime.exported_file import FORMAT, sealed
from ecgtune.runtime.model import INPUT, Model
from ecgtune.runtime.predictor import NOTICE
from ecgtune.runtime.verification import (
    Verified,
    figures,
    measured,
    measured_on,
    model_seconds,
    problems,
    seconds_per_window,
    simulated_windows,
)
from ecgtune.utils.files import file_sha256, finite, write_atomically, write_json

if TYPE_CHECKING:
    from onnx import ModelProto

#: Ending of a program of ExecuTorch.
PROGRAM = ".pte"
REFUSED = "the exported model does not predict as the run does, so nothing is written"


def export_run(
    run: Run | Ensemble,
    path: Path,
    windows: VerificationWindows,
    *,
    int8: bool = False,
    sampling_rate: float | None = None,
) -> Verified:
    """Write `run` as the file `path` and its verification as `<name>.verification.json` beside it.

    The file of an ensemble holds all its runs, and gives the mean of their probabilities.

    path: of an ONNX file; with the ending .pte, of a program of ExecuTorch. windows: to verify on. int8: weights of
    eight bits, of an ONNX file; of the formats that pass the verification the fastest is taken. sampling_rate: Hz of
    the graph's input; that of the training data when not given.

    Raises VerificationError, and leaves an earlier file as it was, where float32 probabilities differ by more than
    1e-5, or no format of eight bits changes at most 0.5 % of the decisions and loses at most 0.002 of AUROC, and
    SettingError for an ensemble that no single graph can hold.
    """
    first = run.runs[0]
    rate = first.sampling_rate if sampling_rate is None else float(sampling_rate)
    check_rate(rate, "the rate of the input,")
    data = run.trained_on
    samples = round(data["samples"] * rate / data["sampling_rate"])
    preprocessing = _before_graph(run)
    steps = preprocessing.steps
    prepared = preprocessing(windows.at(rate)[:1], rate).shape[2] if steps else samples
    inference = _graph(run, rate, with_novelty=path.suffix != PROGRAM)  # a program has one output
    shape = {"samples": samples, "sampling_rate": rate}
    if path.suffix == PROGRAM:
        check_installed()
        metadata = _metadata(run, shape | {"any_length": False}, ("executorch",))
        text = json.dumps(finite(metadata | {"precision": "float32"}), allow_nan=False)
        make = partial(_program, to_program(inference, len(run.leads), prepared, text), text)
    else:
        graph = to_onnx(inference, len(run.leads), prepared)
        metadata = _metadata(run, shape | {"any_length": graph.any_length}, ("onnx", "onnxruntime"))
        candidates = {"float32": graph.model}
        if int8:
            calibration = calibration_windows(first, rate)
            calibration = preprocessing.before_graph(calibration, rate) if steps else calibration
            candidates = {name: made for name, each in FORMATS.items() if (made := each(graph.model, calibration))}
        make = partial(_best, candidates, metadata)
    work = _Verification.of(run, windows, rate)
    reports: list[dict[str, Any]] = []
    write_atomically(path, lambda unfinished: reports.append(make(work, unfinished)))
    report = reports[0] if path.suffix != PROGRAM else reports[0] | {"sha256": file_sha256(path)}
    write_json(path.with_name(f"{path.stem}.verification.json"), report)
    return Verified(path, report)


def _before_graph(run: Run | Ensemble) -> Preprocessing:
    """The preprocessing whose steps the runtime computes. Raises SettingError for runs of an ensemble with others."""
    first, *others = run.runs
    for each in others:
        if each.preprocessing.steps != first.preprocessing.steps:
            raise SettingError(
                f"{each.folder} prepares windows by another preset than {first.folder}, so one file cannot hold both; "
                "export each run, or train with --preset none"
            )
    return first.preprocessing


def _graph(run: Run | Ensemble, rate: float, *, with_novelty: bool) -> Graph:
    """The graph of a run with its novelty score, if it has one, or of an ensemble; `rate` in Hz, of the input."""
    if isinstance(run, Run):
        novelty = run.novelty if with_novelty else None
        return InferenceGraph(run.model, run.preprocessing, run.task, rate, run.calibration, novelty)
    return MeanGraph([cast(InferenceGraph, _graph(each, rate, with_novelty=False)) for each in run.runs])


@dataclass(frozen=True, eq=False)
class _Verification:
    """What exported files are compared with: windows at the graph's rate, and what the run gives for them."""

    run: Run | Ensemble
    windows: VerificationWindows
    signal: np.ndarray
    probability: np.ndarray
    simulated: np.ndarray
    simulated_probability: np.ndarray
    novelty: np.ndarray | None
    simulated_novelty: np.ndarray | None
    rate: float
    seconds: float

    @classmethod
    def of(cls, run: Run | Ensemble, windows: VerificationWindows, rate: float) -> _Verification:
        signal = windows.at(rate)
        simulated = simulated_windows(len(run.leads), signal.shape[2], rate)
        probability, novelty = original(run, signal, rate)
        of_simulated, of_simulated_novelty = original(run, simulated, rate)
        seconds = original_seconds(run, signal, rate)
        return cls(
            run, windows, signal, probability, simulated, of_simulated, novelty, of_simulated_novelty, rate, seconds
        )

    def references(self) -> dict[str, str]:
        """What the file keeps of them, for `ecgtune verify`."""
        made = replace(self.windows, signal=self.simulated, label=None, recording=None)
        found = {"simulated": made.references(self.simulated_probability, self.simulated_novelty)}
        if self.windows.label is not None:
            found["test"] = self.windows.references(self.probability, self.novelty)
        return {name: each.packed() for name, each in found.items()}

    def figures(self, probability: np.ndarray) -> dict[str, Any]:
        """Compare what a file gives with what the run gives."""
        run, windows = self.run, self.windows
        return figures(
            self.probability, probability, run.decision, windows.label, windows.recording, run.recording_rule
        )

    def measured(self, path: Path) -> dict[str, Any]:
        """Figures of an exported file, and seconds beside the run's."""
        windows = self.windows
        found = measured(path, self.signal, self.probability, windows.label, windows.recording, self.novelty)
        return found | {"seconds_per_window": {"torch": self.seconds, **found["seconds_per_window"]}}


def _program(content: bytes, text: str, work: _Verification, path: Path) -> dict[str, Any]:
    """Write a program of ExecuTorch, and return its verification. Raises VerificationError where it is refused.

    text: the metadata that it returns.
    """
    windows, preprocessing = work.signal, work.run.runs[0].preprocessing
    path.write_bytes(content)
    program = Program(path)
    if preprocessing.steps:  # the graph begins behind them
        windows = preprocessing.before_graph(windows, work.rate)
    found = work.figures(program.predict(windows))
    if (wrong := problems(found, "float32")) or program.metadata != text:
        raise VerificationError(f"{REFUSED} ({'; '.join(wrong) or 'its metadata are not those of the run'})")
    seconds = {"torch": work.seconds, "executorch": seconds_per_window(program.predict, windows)}
    return {
        "precision": "float32",
        "weights": "float32",
        "windows": work.windows.origin,
        "kernels": {"usual": found},
        "seconds_per_window": seconds,
        **measured_on(f"executorch {version('executorch')}"),
    }


def _best(
    candidates: dict[str, ModelProto], metadata: dict[str, Any], work: _Verification, path: Path
) -> dict[str, Any]:
    """Write the fastest candidate that passes, and return its verification. Raises VerificationError for none."""
    timed: list[tuple[float, str, bytes]] = []
    for name, candidate in candidates.items():
        graph = stripped(candidate).SerializeToString()
        path.write_bytes(sealed(graph, metadata))
        timed.append((model_seconds(Model(path, threads=1), work.signal), name, graph))
    reasons = []
    for _, name, graph in sorted(timed):  # the exact kernels of a format may take minutes
        precision = "float32" if name == "float32" else "int8"
        facts = metadata | {"precision": precision, "format_of_weights": name}
        path.write_bytes(sealed(graph, facts))
        found = work.measured(path)
        wrong = [sentence for each in found["kernels"].values() for sentence in problems(each, precision)]
        if wrong:
            reasons.append(f"{name}: {wrong[0]}")
            continue
        report = {"precision": precision, "weights": name, "windows": work.windows.origin, **found}
        facts |= {"verification": report, "references": work.references()}
        path.write_bytes(sealed(graph, facts))
        return report
    raise VerificationError(f"{REFUSED} ({'; '.join(reasons)})")


def _metadata(run: Run | Ensemble, shape: dict[str, Any], libraries: tuple[str, ...]) -> dict[str, Any]:
    """All that the file says about itself but precision and verification.

    shape: rate, samples and whether other lengths are taken, of the input. libraries: that wrote it, besides torch.
    """
    first, path = run.runs[0], run.signal_path()
    novelty = first.novelty if isinstance(run, Run) and "onnx" in libraries else None
    facts = [_facts(each) for each in run.runs]
    return {
        "format": FORMAT,
        "notice": NOTICE,
        "task": run.task,
        "classes": list(run.classes),
        "decision": run.decision.to_dict(run.classes),
        **({"certainty": run.certainty.to_dict()} if run.certainty is not None else {}),
        **({"novelty": novelty.facts()} if novelty is not None else {}),
        "recording": run.recording_rule,
        "input": {
            "name": INPUT,
            "leads": list(run.leads),
            **shape,
            **({"prepared_by_runtime": True} if first.preprocessing.steps else {}),
            "unit": "mV" if run.amplitude_matters else "any (each window is normalised)",
        },
        "window": path.window,
        "step": path.step or path.window,
        **facts[0],
        **(_of_ensemble(facts) if len(facts) > 1 else {}),
        "versions": {name: version(name) for name in ("ecgtune", "torch", *libraries)},
    }


def _of_ensemble(facts: list[dict[str, Any]]) -> dict[str, Any]:
    """What the file of an ensemble has beside the facts of its first run."""
    summaries = [f"{each['run']['name']}, seed {each['run']['seed']}\n{each['summary']}" for each in facts]
    return {"members": facts, "summary": "\n".join(summaries)}


def _facts(run: Run) -> dict[str, Any]:
    """What the file says about one run."""
    data, model = run.metrics["data"], run.model
    files = sorted(each for each in (run.folder / "best").iterdir() if each.is_file())
    return {
        "calibration": run.calibration.to_dict(),
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
        "summary": run.summary(),
    }
